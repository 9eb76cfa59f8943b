"""What one operation is: its parameters, its answers, its problems, who may call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.web.problem_table import Problem

JSON = "application/json"
HEALTH_JSON = "application/health+json"
PLAIN = "text/plain"
HTML = "text/html"
OPENMETRICS = "application/openmetrics-text"
ANY_TYPE = "*/*"

#: What an operation answers with a status that is not its own choice.
ANY_STATUS = "default"


class Access(StrEnum):
    """What the bearer token is for; with ``own`` a blueprint decides by itself who may call it."""

    OPEN = "open"
    DETAILS = "details"
    CHANGE = "change"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the path or the query, or a header; ``kind`` is the type of its value."""

    place: str
    name: str
    description: str = ""
    kind: Any = str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries: anything, or an object of one of these classes.

    Members that its class does not have are ignored.
    """

    description: str
    kinds: tuple[Any, ...] = ()
    media_type: str = JSON
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One status that is no problem: types of its bodies by media type, names of its headers.

    A tuple stands for one of several types. A name that ends with a question mark is that of a
    header which may be missing.
    """

    description: str
    content: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[str, ...] = ("Cache-Control",)
    status: str = "200"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, ``path`` written as OpenAPI writes it.

    ``name`` is its ``operationId``. The problems are codes of the table, or rows of it: its own
    ones, to which what any request may meet is added.
    """

    path: str
    name: str
    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    method: str = "get"
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[str | Problem, ...] = ()
    access: Access = Access.OPEN


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one blueprint, under one heading.

    ``blueprint`` None is what serves whatever becomes of those that are described here.
    """

    blueprint: str | None
    title: str
    description: str
    operations: tuple[Operation, ...]


def json_read(
    path: str,
    name: str,
    summary: str,
    body: Any,  # noqa: ANN401 - a type
    description: str = "",
    **more: Any,  # noqa: ANN401 - members of Operation
) -> Operation:
    """One that answers with JSON of this moment, in which details need the token."""
    answers = (Answer("As of now.", {JSON: body}),)
    return Operation(path, name, summary, answers, description, access=Access.DETAILS, **more)


def unchanged(*headers: str) -> Answer:
    """304 for a caller that has the newest."""
    return Answer("What the caller has is the newest.", headers=headers, status="304")


#: For what has an ETag.
IF_NONE_MATCH = Parameter("header", "If-None-Match", "The ETag that the caller has.")
#: What a body that is read may be guilty of, whatever it says.
BODY_PROBLEMS = ("content_too_large", "incomplete_body", "request_timeout")

"""What one operation is: its parameters, its answers, its faults, who may call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.description.faults import Fault
from app.description.schemas import Schema, text

JSON = "application/json"
HEALTH_JSON = "application/health+json"
PLAIN = "text/plain"
HTML = "text/html"


class Access(StrEnum):
    """What the bearer token is for (DESIGN section 4)."""

    OPEN = "open"
    DETAILS = "details"
    CHANGE = "change"


#: The security requirement of each, as OpenAPI says it.
REQUIREMENTS: Mapping[Access, list[Schema]] = {
    Access.OPEN: [],
    Access.DETAILS: [{}, {"bearer": []}],
    Access.CHANGE: [{"bearer": []}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One status that is no problem: its bodies by media type, and the names of its headers."""

    status: str = "200"
    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, ``path`` written as OpenAPI writes it.

    ``name`` is its ``operationId``. The faults are those of its own: what any request may meet is
    added to them.
    """

    path: str
    name: str
    summary: str
    description: str = ""
    method: str = "get"
    parameters: tuple[Schema, ...] = ()
    body: Schema | None = None
    answers: tuple[Answer, ...]
    faults: tuple[Fault, ...] = ()
    access: Access = Access.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The operations of one blueprint, under one heading.

    ``blueprint`` None is what the framework itself serves.
    """

    blueprint: str | None
    title: str
    description: str
    operations: tuple[Operation, ...]
    schemas: Mapping[str, Schema] = field(default_factory=dict)


def _parameter(
    place: str, name: str, description: str, schema: Schema, *, required: bool
) -> Schema:
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": required,
        "schema": schema,
    }


def query(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """A parameter of the query string."""
    return _parameter("query", name, description, schema, required=required)


def path_part(name: str, description: str, schema: Schema) -> Schema:
    """A part of the path."""
    return _parameter("path", name, description, schema, required=True)


def header(name: str, description: str, schema: Schema) -> Schema:
    """A request header that may be left out."""
    return _parameter("header", name, description, schema, required=False)


#: For what has an ETag.
IF_NONE_MATCH = header("If-None-Match", "The ETag that the caller has.", text())


def unchanged(*headers: str) -> Answer:
    """304 for a caller that has the newest."""
    said = "What the caller has is the newest."
    return Answer(status="304", description=said, headers=headers)


def json_body(description: str, schema: Schema) -> Schema:
    """A JSON body that has to be there."""
    return {"description": description, "required": True, "content": {JSON: {"schema": schema}}}

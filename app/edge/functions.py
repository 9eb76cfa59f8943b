"""What can be registered: edge functions, and how the value of each of their keys is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from app.edge.errors import RegistryError

MEBIBYTE = 1024 * 1024
LONGEST_TIMEOUT = 120.0
MOST_RETRIES = 5
MOST_CONCURRENCY = 512
LARGEST_BODY = 1024 * MEBIBYTE
MAX_TEXT = 1000
MAX_LIST = 20
MAX_HEADERS = 30
#: Methods that a caller may repeat without doing twice what it asked for (RFC 9110, 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
METHODS = IDEMPOTENT | {"POST", "PATCH"}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?P<path>/.*)?", re.ASCII
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_HEADER_VALUE = re.compile(r"[!-~]([ -~\t]{0,4094}[!-~])?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
#: What the connection itself, or the service, decides (RFC 9110, 7.6.1).
_FORBIDDEN_HEADER = re.compile(
    "connection|content-length|expect|host|keep-alive|proxy-authorization|proxy-connection"
    "|te|traceparent|tracestate|trailer|transfer-encoding|upgrade"
)


class Priority(StrEnum):
    """How much a function matters to the operator."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFunction:
    """A remote HTTP function.

    ``timeout`` is the seconds that a whole call may take, its retries included; ``max_request`` and
    ``max_response`` are bytes. ``method`` None means the caller's, ``concurrency`` None the share
    of the worker. ``health_status`` empty means any status from 200 to 299. With ``stream`` the
    answer is passed on as it comes. The values of ``headers`` may be secret and are never shown.
    """

    name: str
    url: str
    category: str = "general"
    priority: Priority = Priority.NORMAL
    description: str = ""
    tags: tuple[str, ...] = ()
    health_path: str = "/health"
    health_status: tuple[int, ...] = ()
    method: str | None = None
    timeout: float = 5.0
    retries: int = 0
    concurrency: int | None = None
    max_request: int = MEBIBYTE
    max_response: int = MEBIBYTE
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRegistry:
    """What the file registers, in its order.

    ``error`` is there when the file, or a function of it, cannot be used as it is now: those are
    served then as they were last good. ``unset`` has the functions, by name, that lack a variable.
    ``configured`` is false when no file is named.
    """

    functions: tuple[EdgeFunction, ...] = ()
    error: RegistryError | None = None
    unset: Mapping[str, str] = field(default_factory=dict)
    configured: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """How a key's value is read; ``read`` raises ValueError or TypeError for a wrong one."""

    expected: str
    read: Callable[[Any], object]


class UnsetVariable(ValueError):
    """A header's value names an environment variable that is not set."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        super().__init__(f"the environment variable {variable} is not set")


def read_headers(value: object, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Header fields, with ``${NAME}`` in their values taken from the environment.

    Raises:
        UnsetVariable: a variable that is named is not set.
        ValueError: they are no headers that may be set.
        TypeError: they are no table of texts.
    """
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        raise TypeError

    def variable(match: re.Match[str]) -> str:
        if not environ.get(match[1]):
            raise UnsetVariable(match[1])
        return environ[match[1]]

    fields = tuple((name, _VARIABLE.sub(variable, text)) for name, text in value.items())
    names = {name.lower() for name in value}
    if len(names) < len(value) or any(map(_FORBIDDEN_HEADER.fullmatch, names)):
        raise ValueError
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(v) for name, v in fields):
        raise ValueError
    return fields


def _valid(check: Callable[[Any], object], *types: type) -> Callable[[object], Any]:
    """Reads a value of exactly these types (a flag is no number) that passes the check."""

    def read(value: object) -> object:
        if type(value) not in types or not check(value):
            raise ValueError
        return value

    return read


def _whole(lowest: int, highest: int) -> Callable[[object], Any]:
    return _valid(lambda number: lowest <= number <= highest, int)


def _list(read: Callable[[object], object], fewest: int) -> Callable[[object], object]:
    some = _valid(lambda values: fewest <= len(values) <= MAX_LIST, list)
    return lambda values: tuple(map(read, some(values)))


def _is_path(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _is_url(url: str) -> bool:
    """Whether it is http or https, without credentials, query or fragment.

    ``urlsplit`` raises ValueError for an address in brackets that is none, and for a port beyond
    65535.
    """
    match = _URL.fullmatch(url)
    return match is not None and urlsplit(url).port != 0 and _is_path(match["path"] or "/")


_read_name = _valid(NAME.fullmatch, str)
_read_text = _valid(
    lambda text: len(text) <= MAX_TEXT and all(c.isprintable() or c in "\n\t" for c in text), str
)
_read_url = _valid(_is_url, str)
_read_seconds = _valid(lambda seconds: 0 < seconds <= LONGEST_TIMEOUT, int, float)
_read_statuses = _list(_whole(200, 599), 1)
_TEXT = "printable text of at most 1000 characters"
_BYTES = "a number of bytes from 0 to 1073741824"


def rules(environ: Mapping[str, str]) -> dict[str, Rule]:
    """Every key of a function's table; headers take their values from the environment."""
    return {
        "name": Rule(
            "1 to 64 letters, digits, dots, dashes or underscores, a letter first", _read_name
        ),
        "url": Rule(
            "an http or https URL without credentials, query or fragment",
            # Paths are added to it, so a closing slash goes.
            lambda url: _read_url(url).rstrip("/"),
        ),
        "category": Rule(_TEXT, _read_text),
        "priority": Rule("high, normal or low", Priority),
        "description": Rule(_TEXT, _read_text),
        "tags": Rule("a list of at most 20 names", _list(_read_name, 0)),
        "health_path": Rule(
            'a path that begins with "/" and has no dot segments', _valid(_is_path, str)
        ),
        "health_status": Rule(
            "a status from 200 to 599, or a list of them",
            lambda given: _read_statuses(given if isinstance(given, list) else [given]),
        ),
        "method": Rule(
            "GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE", _valid(METHODS.__contains__, str)
        ),
        "timeout": Rule(
            "a number of seconds above 0 and up to 120", lambda given: float(_read_seconds(given))
        ),
        "retries": Rule("a whole number from 0 to 5", _whole(0, MOST_RETRIES)),
        "concurrency": Rule("a whole number from 1 to 512", _whole(1, MOST_CONCURRENCY)),
        "max_request": Rule(_BYTES, _whole(0, LARGEST_BODY)),
        "max_response": Rule(_BYTES, _whole(0, LARGEST_BODY)),
        "stream": Rule("true or false", _valid(lambda _: True, bool)),
        "headers": Rule(
            "a table of at most 30 header names and texts, none of which is the connection's own",
            lambda given: read_headers(given, environ),
        ),
    }

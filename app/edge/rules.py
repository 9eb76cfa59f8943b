"""How the value of each key of the registry is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from app.edge.functions import IDEMPOTENT, MEBIBYTE, Priority

LONGEST_TIMEOUT = 120.0
MOST_RETRIES = 5
MOST_CONCURRENCY = 512
LARGEST_BODY = 1024 * MEBIBYTE
MAX_TEXT = 1000
MAX_TAGS = 20
MAX_HEADERS = 30

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?P<path>/.*)?", re.ASCII
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_HEADER_VALUE = re.compile(r"[!-~]([ -~\t]{0,4094}[!-~])?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
#: What the connection itself, or the service, decides (RFC 9110, 7.6.1).
_FORBIDDEN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_METHODS = IDEMPOTENT | {"POST", "PATCH"}


@dataclass(frozen=True, slots=True)
class Rule:
    """How a key's value is read; ``read`` raises ValueError or TypeError for a wrong one."""

    read: Callable[[object], object]
    expected: str


class UnsetVariable(Exception):
    """A header's value names an environment variable that is not set."""

    def __init__(self, variable: str) -> None:
        super().__init__(variable)
        self.variable = variable


def read_headers(value: object, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Header fields, with ``${NAME}`` in their values taken from the environment.

    Raises:
        UnsetVariable: when a variable that is named is not set.
        ValueError: when they are no headers that may be set.
        TypeError: when they are no table of texts.
    """
    if not isinstance(value, dict) or len(value) > MAX_HEADERS:
        raise TypeError
    names = {name.lower() for name in value}
    if len(names) < len(value) or names & _FORBIDDEN_HEADERS:
        raise ValueError
    return tuple((_header_name(name), _header_value(text, environ)) for name, text in value.items())


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError
    return name


def _header_value(text: object, environ: Mapping[str, str]) -> str:
    if not isinstance(text, str):
        raise TypeError

    def value_of(match: re.Match[str]) -> str:
        if not environ.get(match[1]):
            raise UnsetVariable(match[1])
        return environ[match[1]]

    value = _VARIABLE.sub(value_of, text)
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError
    return value


def _url(value: object) -> str:
    """An http or https URL without credentials, query or fragment, and without a closing slash."""
    if not isinstance(value, str):
        raise TypeError
    match = _URL.fullmatch(value)
    # urlsplit raises ValueError for an address in brackets that is none, and for a port beyond
    # 65535.
    if not match or urlsplit(value).port == 0 or not _is_path(match["path"] or "/"):
        raise ValueError
    return value.rstrip("/")


def _is_path(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _health_path(value: object) -> str:
    if not isinstance(value, str) or not _is_path(value):
        raise ValueError
    return value


def _line_of_text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError
    if not all(character.isprintable() or character in "\n\t" for character in value):
        raise ValueError
    return value


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise TypeError
    return tuple(_name(tag) for tag in value)


def _method(value: object) -> str:
    if not isinstance(value, str) or value not in _METHODS:
        raise ValueError
    return value


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value <= LONGEST_TIMEOUT:
        raise ValueError
    return float(value)


def _whole_number(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError
        if not lowest <= value <= highest:
            raise ValueError
        return value

    return read


def _statuses(value: object) -> tuple[int, ...]:
    """One status, or a list of them."""
    read = _whole_number(200, 599)
    given = value if isinstance(value, list) else [value]
    if not 0 < len(given) <= MAX_TAGS:
        raise ValueError
    return tuple(read(status) for status in given)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


REQUIRED = ("name", "url")
HEADERS_EXPECTED = (
    "a table of at most 30 header names and texts, none of which is the connection's own"
)
_TEXT = "printable text of at most 1000 characters"
_BYTES = "a number of bytes from 0 to 1073741824"
#: Every key but ``headers``, which needs the environment too.
RULES = {
    "name": Rule(_name, "1 to 64 letters, digits, dots, dashes or underscores, a letter first"),
    "url": Rule(_url, "an http or https URL without credentials, query or fragment"),
    "category": Rule(_line_of_text, _TEXT),
    "priority": Rule(lambda value: Priority(cast(str, value)), "high, normal or low"),
    "description": Rule(_line_of_text, _TEXT),
    "tags": Rule(_tags, "a list of at most 20 names"),
    "health_path": Rule(_health_path, 'a path that begins with "/" and has no dot segments'),
    "health_status": Rule(_statuses, "a status from 200 to 599, or a list of them"),
    "method": Rule(_method, "GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE"),
    "timeout": Rule(_timeout, "a number of seconds above 0 and up to 120"),
    "retries": Rule(_whole_number(0, MOST_RETRIES), "a whole number from 0 to 5"),
    "concurrency": Rule(_whole_number(1, MOST_CONCURRENCY), "a whole number from 1 to 512"),
    "max_request": Rule(_whole_number(0, LARGEST_BODY), _BYTES),
    "max_response": Rule(_whole_number(0, LARGEST_BODY), _BYTES),
    "stream": Rule(_flag, "true or false"),
}

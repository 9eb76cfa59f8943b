"""What passes between a caller and a function: addresses and header fields, by allow-list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from app.edge.errors import InvalidPath, MethodRefused
from app.edge.functions import READING, EdgeFunction
from app.telemetry.context import REQUEST_ID_HEADER, Trace

#: The request headers that reach a function. Authorization is the operator's and stays here; what
#: a function needs of that kind is registered with it.
FORWARDED_HEADERS = (
    "Accept",
    "Accept-Language",
    "Content-Type",
    "Idempotency-Key",
    "If-Modified-Since",
    "If-None-Match",
)
#: The response headers that come back. Cookies and redirects stay there.
RETURNED_HEADERS = frozenset(
    {
        "age",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "retry-after",
        "vary",
    }
)
#: Those of them whose lines make up one list (RFC 9110, 5.3). Of any other the last line counts.
_LISTS = frozenset({"cache-control", "content-encoding", "content-language", "vary"})
#: How many seconds a caller gives a call, and a function is told that it has.
TIMEOUT_HEADER = "X-Request-Timeout"
_CLEAN_VALUE = re.compile(r"[ -~\t]{0,4096}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
# What RFC 3986 allows in a path and in a query; the rest is percent-encoded.
_PATH_SAFE = "/~!$&'()*+,;=:@-._"
_QUERY_SAFE = _PATH_SAFE + "?%"


def address(url: str, path: str, query: str) -> str:
    """The function's URL with a path below it, percent-encoded once more.

    Raises:
        InvalidPath: when the path could mean another place than one below the URL.
    """
    unsafe = "\\" in path or any(character < " " or character == "\x7f" for character in path)
    if unsafe or {".", ".."} & set(path.split("/")):
        raise InvalidPath
    whole = f"{url}/{quote(path, safe=_PATH_SAFE)}" if path else url
    return f"{whole}?{quote(query, safe=_QUERY_SAFE)}" if query else whole


def method_for(function: EdgeFunction, method: str) -> str:
    """The method that the function is called with.

    A caller's GET only becomes a method that reads, so that no GET changes anything there. A HEAD
    is a GET whose body nobody wants (RFC 9110, 9.3.2), there as here.

    Raises:
        MethodRefused: when the caller's method is not the one to use for this function.
    """
    if function.method is None:
        return method
    wanted = "GET" if function.method in READING else "POST"
    if wanted != ("GET" if method == "HEAD" else method):
        raise MethodRefused(wanted)
    return "HEAD" if method == "HEAD" and function.method == "GET" else function.method


def forwarded(
    function: EdgeFunction, given: Iterable[tuple[str, str]], request_id: str, trace: Trace
) -> dict[str, str]:
    """What reaches the function: the caller's allowed fields, trace context, what is registered."""
    lower = {name.lower(): value for name, value in given}
    passed = {
        name: lower[name.lower()]
        for name in FORWARDED_HEADERS
        if _CLEAN_VALUE.fullmatch(lower.get(name.lower(), "\0"))
    }
    ours = {REQUEST_ID_HEADER: request_id, **trace.headers()}
    registered = {name.lower() for name, _ in function.headers}
    headers = {n: v for n, v in {**passed, **ours}.items() if n.lower() not in registered}
    return {**headers, **dict(function.headers)}


def returned(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The fields of a function's answer that the caller may see, each of them once."""
    fields: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        key = name.lower()
        if key not in RETURNED_HEADERS or not _CLEAN_VALUE.fullmatch(value):
            continue
        listed = key in _LISTS and key in fields
        fields[key] = name, f"{fields[key][1]}, {value}" if listed else value
    yield from fields.values()


def length(headers: Iterable[tuple[str, str]]) -> int | None:
    """The bytes that a body has by its Content-Length; None when it does not say.

    A body that comes in a transfer coding says nothing (RFC 9112, 6.3).
    """
    lower = {name.lower(): value for name, value in headers}
    text = "" if "transfer-encoding" in lower else lower.get("content-length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def patience(given: str) -> float | None:
    """The seconds of a TIMEOUT_HEADER; None when it does not say, or nonsense."""
    return float(given) if _SECONDS.fullmatch(given) and float(given) > 0 else None

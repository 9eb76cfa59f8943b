"""One call as every transport makes it: what is sent, what comes back, and the bounds of both."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from app.edge.errors import ErrorKind
from app.edge.functions import MEBIBYTE

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
#: An answer of at most so many bytes is passed on when it is whole, so that its status is the
#: truth about all of it.
HOLD_BYTES = MEBIBYTE
#: What a call carries unless it brings its own. An encoded body could grow beyond the limit when
#: it is decoded, so none is asked for.
DEFAULT_HEADERS = {
    "User-Agent": "royal-equips-orchestrator",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: What a call may end with. A connection that switched protocols is of no use to anybody here.
FINAL_STATUSES = range(200, 600)
_BODILESS = frozenset({204, 304})
#: Added to the timeout of a call before its caller gives up on a transport that does not answer.
GRACE_SECONDS = 1.0
#: An error's text may quote what the function sent.
MAX_LOGGED = 300
#: Seconds for which the environment's proxies are remembered.
PROXY_SECONDS = 5.0
_FIELD = re.compile("[^\x00-\x08\x0a-\x1f\x7f]*")
_EVENT_STREAM = "text/event-stream"


class Body(Protocol):
    """A request's body that is read while it is sent, once."""

    @property
    def length(self) -> int | None:
        """Its bytes, when they are known beforehand."""

    def read(self) -> bytes:
        """Some more of it; nothing at its end.

        Raises:
            CallerFault: when the caller does not bring it within the limits.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRequest:
    """One call. ``timeout`` is the seconds that all of it may take, reading the body included.

    ``id`` is what its log lines and its response have in common. ``max_bytes`` bounds the answer's
    body. With ``stream`` the answer is not held back until it is whole.
    """

    name: str
    url: str
    timeout: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    max_bytes: int = MEBIBYTE
    stream: bool = False

    def all_headers(self) -> dict[str, str]:
        """What is sent: the defaults under the request's own."""
        own = {name.lower() for name in self.headers}
        defaults = {n: value for n, value in DEFAULT_HEADERS.items() if n.lower() not in own}
        length = None if isinstance(self.body, bytes | None) else self.body.length
        known = {} if length is None else {"Content-Length": str(length)}
        return {**defaults, **self.headers, **known}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeResponse:
    """How a call ended: with a status, or with ``error``.

    ``status`` is there beside an error when the function got as far as sending one.
    """

    name: str
    id: str
    seconds: float
    status: int | None = None
    error: ErrorKind | None = None


class CallFailed(Exception):
    """A call ended with an error kind."""

    def __init__(self, kind: ErrorKind, status: int | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status


class Reply:
    """A function's answer: its head, what of its body is here already, and the rest.

    The body is as the function sent it (content encodings are not undone). Close it, whether all
    of it was read or not.

    Args:
        status: the status.
        headers: all of its headers, in order.
        start: the bytes that have come so far.
        rest: gives the bytes that follow; None when ``start`` is all. Raises CallFailed.
        close: gives the connection back.
    """

    def __init__(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...],
        start: bytes,
        rest: Iterator[bytes] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.start = start
        self.rest = rest
        self._close = close

    @property
    def whole(self) -> bool:
        """Whether nothing is left to come."""
        return self.rest is None

    def close(self) -> None:
        """Give the connection back; closing twice is closing once."""
        close, self._close = self._close, None
        if close is not None:
            close()


class Collector:
    """The first part of an answer's body, as it is held back, and the count of all of it."""

    def __init__(self, request: EdgeRequest, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self._limit = request.max_bytes
        # RFC 9110, 6.4.1: whatever the head says of a body, none follows.
        self._bodiless = request.method == "HEAD" or status in _BODILESS
        self.held = bytearray()
        self._length = _length(headers.get("Content-Length"))
        self._seen = 0
        kind = headers.get("Content-Type", "").lower()
        streams = request.stream or kind.startswith(_EVENT_STREAM)
        large = self._length is not None and self._length > HOLD_BYTES
        self._hold = -1 if (streams or large) and not self._bodiless else HOLD_BYTES
        self._check_head(headers)

    @property
    def holds(self) -> bool:
        """Whether more is to be held back before the answer is passed on."""
        return len(self.held) <= self._hold

    def count(self, chunk: bytes) -> bytes:
        """The chunk, counted.

        Raises:
            CallFailed: when the body is larger than the limit.
        """
        self._seen += len(chunk)
        if self._seen > self._limit:
            raise CallFailed(ErrorKind.TOO_LARGE, self._status)
        return chunk

    def _check_head(self, headers: Mapping[str, str]) -> None:
        """Refuse an answer by what its head says.

        Raises:
            CallFailed: for a status that ends no call (101 among them), header fields that are none
                (RFC 9110, 5.5), a redirect, or a body that says it is larger than the limit.
        """
        final = self._status in FINAL_STATUSES
        if not final or not all(map(_FIELD.fullmatch, headers.values())):
            raise CallFailed(ErrorKind.PROTOCOL, self._status)
        if self._status in REDIRECTS:
            raise CallFailed(ErrorKind.REDIRECT, self._status)
        too_large = self._length is not None and self._length > self._limit
        if too_large and not self._bodiless:
            raise CallFailed(ErrorKind.TOO_LARGE, self._status)


def _length(text: str | None) -> int | None:
    return int(text[:20]) if text and text.isascii() and text.isdecimal() else None


def told(request: EdgeRequest, error: Exception, kind: ErrorKind, seconds: float) -> CallFailed:
    """The failure of a call that ``error`` ended; the log gets the error's text."""
    unexpected = kind is ErrorKind.INTERNAL
    logger.log(
        logging.ERROR if unexpected else logging.WARNING,
        "edge call failed",
        exc_info=error if unexpected else None,
        extra={
            "fields": {
                "function": request.name,
                "id": request.id,
                "kind": str(kind),
                "seconds": round(seconds, 3),
                "error": f"{type(error).__name__}: {error}"[:MAX_LOGGED],
            }
        },
    )
    return CallFailed(kind, error.status if isinstance(error, CallFailed) else None)


def failed(request: EdgeRequest, failure: CallFailed, seconds: float) -> EdgeResponse:
    """The response that says so."""
    return EdgeResponse(
        name=request.name,
        id=request.id,
        seconds=seconds,
        status=failure.status,
        error=failure.kind,
    )


@lru_cache(maxsize=1)
def _proxies(_moment: int) -> dict[str, str]:
    """What the environment says; looking through all of it costs more than the rest of a call."""
    return getproxies()


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL (``https_proxy``, ``no_proxy`` ...)."""
    proxies = _proxies(int(time.monotonic() / PROXY_SECONDS))
    if not proxies:
        return None
    parts = urlsplit(url)
    with suppress(OSError):
        if proxy_bypass(parts.netloc):
            return None
    return proxies.get(parts.scheme)

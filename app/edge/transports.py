"""What every transport takes and brings, within which bounds, and which of them makes a call.

The choice is made at each call, so a heal changes it without a restart. The libraries are imported
by nobody before that.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Protocol, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from app.edge.errors import BodyTooLarge, CallFailed, ErrorKind, NoTransport
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
_LENGTH = re.compile(r"[0-9]{1,20}", re.ASCII)

#: Why calls do not go through aiohttp.
AIOHTTP_UNAVAILABLE = "aiohttp_unavailable"
EVENTLET_WORKER = "eventlet_worker"


class CallerBody:
    """A caller's body, whose bytes are counted as they are read.

    Args:
        length: its bytes, when the caller said so.
        reader: gives at most so many bytes, some as soon as there are any, and nothing at the end.
            Raises CallerFault when they do not come by the time given (of ``time.monotonic``).
    """

    def __init__(self, length: int | None, reader: Callable[[int, float], bytes]) -> None:
        self.length = length
        self._reader = reader
        self._seen = 0
        self._held = b""
        self._limit, self._until = 0, 0.0
        self._waiting: Callable[[], AbstractContextManager[None]] = nullcontext

    def admit(
        self,
        limit: int,
        until: float,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> bytes | CallerBody:
        """The body, to be sent: whole when it is small, so that a call can be repeated.

        Whenever the caller is waited for, now or while it is sent, it is within ``waiting()``.

        Raises:
            CallerFault: when it is too large, or does not come in time.
        """
        self._limit, self._until, self._waiting = limit, until, waiting
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        hold = CHUNK_BYTES if self.length is not None else HOLD_BYTES
        if self.length is not None and self.length > hold:
            return self
        held = bytearray()
        while len(held) <= hold:
            chunk = self.read()
            if not chunk:
                return bytes(held)
            held += chunk
        self._held = bytes(held)
        return self

    def read(self) -> bytes:
        """Some more of it, what was held first; nothing at its end.

        Raises:
            CallerFault: when the caller does not bring it within the limits.
        """
        if held := self._held:
            self._held = b""
            return held
        with self._waiting():
            chunk = self._reader(CHUNK_BYTES, self._until)
        self._seen += len(chunk)
        if self._seen > self._limit:
            raise BodyTooLarge(self._limit)
        return chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRequest:
    """One call. ``timeout`` is the seconds that all of it may take, reading the body included.

    ``id`` stands in its log lines. ``max_bytes`` bounds the answer's body. With ``stream`` the
    answer is not held back until it is whole.
    """

    name: str
    url: str
    timeout: float
    id: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | CallerBody | None = None
    max_bytes: int = MEBIBYTE
    stream: bool = False

    def all_headers(self) -> dict[str, str]:
        """What is sent: the defaults under the request's own."""
        own = {name.lower() for name in self.headers}
        defaults = {n: value for n, value in DEFAULT_HEADERS.items() if n.lower() not in own}
        length = None if isinstance(self.body, bytes | None) else self.body.length
        known = {} if length is None else {"Content-Length": str(length)}
        return {**defaults, **self.headers, **known}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a health check's call ended: with a status, or with ``error``.

    ``status`` is there beside an error when the function got as far as sending one.
    """

    seconds: float
    status: int | None
    error: ErrorKind | None = None


@dataclass(slots=True)
class Reply:
    """A function's answer: its head, what of its body is here already, and the rest.

    The body is as the function sent it (content encodings are not undone). ``rest`` gives the bytes
    that follow ``start``, or raises CallFailed; it is None when ``start`` is all. ``release`` gives
    the connection back.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    start: bytes
    rest: Iterator[bytes] | None = None
    release: Callable[[], None] | None = None

    def close(self) -> None:
        """Give the connection back, whether all was read or not; closing twice is closing once."""
        release, self.release = self.release, None
        if release is not None:
            release()


class Collector:
    """The first part of an answer's body, as it is held back, and the count of all of it.

    Raises:
        CallFailed: for a status that ends no call (101 among them), header fields that are none
            (RFC 9110, 5.5), a redirect, or a body that says it is larger than the limit.
    """

    def __init__(self, request: EdgeRequest, status: int, headers: Mapping[str, str]) -> None:
        if status not in FINAL_STATUSES or not all(map(_FIELD.fullmatch, headers.values())):
            raise CallFailed(ErrorKind.PROTOCOL, status)
        if status in REDIRECTS:
            raise CallFailed(ErrorKind.REDIRECT, status)
        # RFC 9110, 6.4.1: whatever the head says of a body, none follows.
        bodiless = request.method == "HEAD" or status in _BODILESS
        length = 0 if bodiless else content_length(headers.items()) or 0
        if length > request.max_bytes:
            raise CallFailed(ErrorKind.TOO_LARGE, status)
        events = headers.get("Content-Type", "").lower().startswith("text/event-stream")
        at_once = not bodiless and (request.stream or events or length > HOLD_BYTES)
        self.held = bytearray()
        self.whole = False
        self._hold = -1 if at_once else HOLD_BYTES
        self._status, self._limit, self._seen = status, request.max_bytes, 0

    @property
    def holds(self) -> bool:
        """Whether more is to be held back before the answer is passed on."""
        return not self.whole and len(self.held) <= self._hold

    def add(self, chunk: bytes) -> None:
        """Hold a chunk back; an empty one ends the body.

        Raises:
            CallFailed: when the body is larger than the limit.
        """
        self.held += self.count(chunk)
        self.whole = not chunk

    def count(self, chunk: bytes) -> bytes:
        """The chunk, counted.

        Raises:
            CallFailed: when the body is larger than the limit.
        """
        self._seen += len(chunk)
        if self._seen > self._limit:
            raise CallFailed(ErrorKind.TOO_LARGE, self._status)
        return chunk


def content_length(headers: Iterable[tuple[str, str]]) -> int | None:
    """The bytes that a body has by its Content-Length; None when it does not say.

    A body that comes in a transfer coding says nothing (RFC 9112, 6.3).
    """
    lower = {name.lower(): value for name, value in headers}
    text = "" if "transfer-encoding" in lower else lower.get("content-length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def call_failed(
    request: EdgeRequest, error: Exception, kind: ErrorKind, seconds: float
) -> CallFailed:
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


class Transport(Protocol):
    """Sends requests. No redirect is followed, no cookie kept, no answer above its limit read."""

    @property
    def name(self) -> str:
        """What carries the calls."""

    def open(self, request: EdgeRequest) -> Reply:
        """Call, and come back with the answer or with its beginning.

        Raises:
            CallFailed: when no usable answer came within the request's time and limits.
            CallerFault: what reading the request's body raised.
        """

    def send(self, batch: Sequence[EdgeRequest]) -> list[Outcome]:
        """Send one or more concurrently; the outcomes come in the order of the requests."""

    def close(self) -> None:
        """Give back threads and connections. The transport sends nothing afterwards."""


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """The transport in use, and when it is not the first choice, why."""

    transport: Transport
    fallback_reason: str | None = None


def monkey_patched() -> bool:
    """Whether eventlet has made this process's sockets and threads green; imports nothing."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


def _candidates() -> Mapping[str, str | None]:
    """The libraries in the order of their preference, and why calls do not go through a better."""
    if monkey_patched():
        return {"requests": EVENTLET_WORKER}
    return {"aiohttp": None, "requests": AIOHTTP_UNAVAILABLE}


class Transports:
    """Chooses aiohttp when it is importable, else requests; keeps one instance of each.

    In a process that eventlet has patched it is requests on green threads. A process that was
    forked gets instances of its own.

    Args:
        load: gives the module of a name, or None when it cannot be imported.
        installed: whether the module of a name is there, without importing it.
    """

    def __init__(
        self,
        load: Callable[[str], ModuleType | None],
        installed: Callable[[str], bool] | None = None,
    ) -> None:
        self._load = load
        self._installed = installed or (lambda library: load(library) is not None)
        self._pid = os.getpid()
        self._made: dict[str, Transport] = {}
        self._fallback: str | None = None

    def choose(self) -> TransportChoice:
        """The transport for a call made now; the log has it when it is another than before.

        Raises:
            NoTransport: when neither library can be imported.
        """
        for library, reason in _candidates().items():
            if self._load(library) is None or (transport := self._instance(library)) is None:
                continue
            if reason != self._fallback:
                self._fallback = reason
                fields = {"transport": transport.name, "fallback_reason": reason}
                logger.log(
                    logging.WARNING if reason else logging.INFO,
                    "edge functions changed their transport",
                    extra={"fields": fields},
                )
            return TransportChoice(transport, reason)
        raise NoTransport

    def expected(self) -> tuple[str, str | None]:
        """The name of the transport that a call would use, and why it is not the first choice.

        Imports neither library: aiohttp costs a worker 11 MiB, whether it makes calls or not.

        Raises:
            NoTransport: when neither library is installed.
        """
        for library, reason in _candidates().items():
            if self._installed(library):
                return library, reason
        raise NoTransport

    def close(self) -> None:
        """Close every transport that was made; the next call makes a new one."""
        made, self._made = self._made, {}
        if self._pid == os.getpid():
            for transport in made.values():
                transport.close()

    def _instance(self, library: str) -> Transport | None:
        """This process's transport over the library; None when its module cannot be imported."""
        if self._pid != os.getpid():
            # Threads and sockets of the parent are not this process's to use or to close.
            self._pid, self._made = os.getpid(), {}
        if library not in self._made:
            try:
                module = importlib.import_module(f"app.edge.over_{library}")
            except ImportError:
                fields = {"transport": library}
                logger.warning(
                    "edge transport cannot be used", exc_info=True, extra={"fields": fields}
                )
                return None
            # Of two threads that come first together, both use what one of them stored.
            self._made.setdefault(library, cast(Transport, module.TRANSPORT()))
        return self._made[library]

"""What every transport does, and the choice between them.

The choice is made at each call, so that a heal changes it without a restart. The libraries are
imported by nobody before that.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from app.edge.errors import ErrorKind, NoTransport

logger = logging.getLogger(__name__)

#: The largest answer that is read, in bytes.
MAX_BODY_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
#: What a call carries unless it brings its own. An encoded body could grow beyond the limit when
#: it is decoded, so none is asked for.
DEFAULT_HEADERS = {
    "User-Agent": "royal-equips-orchestrator",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Added to the timeout of a call before its caller gives up on a transport that does not answer.
GRACE_SECONDS = 1.0

Importer = Callable[[str], ModuleType | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRequest:
    """One call. ``timeout`` is the seconds that all of it may take, reading the body included.

    ``id`` is what its log lines and its response have in common.
    """

    name: str
    url: str
    timeout: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeResponse:
    """How a call ended: with a status and a body, or with ``error``.

    The body is as the function sent it (content encodings are not undone). ``status`` is there
    beside an error when the function got as far as sending one.
    """

    name: str
    id: str
    seconds: float
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    error: ErrorKind | None = None


class Transport(Protocol):
    """Sends requests. No redirect is followed, no cookie kept, no answer above the limit read."""

    @property
    def name(self) -> str:
        """The library's name."""

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""

    def close(self) -> None:
        """Give back threads and connections. The transport sends nothing afterwards."""


class CallFailed(Exception):
    """A call ended with an error kind; transports raise it inside and return it as a response."""

    def __init__(self, kind: ErrorKind, status: int | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status


def check_head(status: int, content_length: str | None) -> None:
    """Refuse an answer by what its head says.

    Raises:
        CallFailed: for a redirect, or a body that says it is larger than the limit.
    """
    if status in REDIRECTS:
        raise CallFailed(ErrorKind.REDIRECT, status)
    if content_length and content_length.isdecimal() and int(content_length[:20]) > MAX_BODY_BYTES:
        raise CallFailed(ErrorKind.TOO_LARGE, status)


def patience(batch: Sequence[EdgeRequest], at_once: int) -> float:
    """The seconds after which a transport that sends ``at_once`` calls at a time is given up."""
    rounds = math.ceil(len(batch) / at_once)
    return rounds * max(request.timeout for request in batch) + GRACE_SECONDS


def failed(request: EdgeRequest, error: Exception, kind: ErrorKind, seconds: float) -> EdgeResponse:
    """The response of a call that ``error`` ended; the log gets the error's text."""
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
                "error": f"{type(error).__name__}: {error}",
            }
        },
    )
    status = error.status if isinstance(error, CallFailed) else None
    return EdgeResponse(
        name=request.name, id=request.id, seconds=seconds, status=status, error=kind
    )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL (``https_proxy``, ``no_proxy`` ...)."""
    parts = urlsplit(url)
    proxies = getproxies()
    if not proxies or proxy_bypass(parts.netloc):
        return None
    return proxies.get(parts.scheme)


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """The transport in use, and when it is not the first choice, why."""

    transport: Transport
    fallback_reason: str | None = None


class Transports:
    """Chooses aiohttp when it is importable, else requests; keeps one instance of each.

    A process that was forked gets instances of its own.

    Args:
        importer: gives the module of a name, or None when it cannot be imported.
    """

    def __init__(self, importer: Importer) -> None:
        self._importer = importer
        self._pid = os.getpid()
        self._made: dict[str, Transport] = {}
        self._fallback: str | None = None

    def choose(self) -> TransportChoice:
        """The transport for a call made now.

        Raises:
            NoTransport: when neither library can be imported.
        """
        if (transport := self._transport("aiohttp")) is not None:
            return self._chosen(TransportChoice(transport))
        if (transport := self._transport("requests")) is not None:
            return self._chosen(TransportChoice(transport, "aiohttp_unavailable"))
        raise NoTransport

    def _chosen(self, choice: TransportChoice) -> TransportChoice:
        """The choice, told when it is another one than before."""
        reason = choice.fallback_reason
        if reason != self._fallback:
            self._fallback = reason
            logger.log(
                logging.WARNING if reason else logging.INFO,
                "edge functions changed their transport",
                extra={"fields": {"transport": choice.transport.name, "fallback_reason": reason}},
            )
        return choice

    def close(self) -> None:
        """Close every transport that was made; the next call makes a new one."""
        made, self._made = self._made, {}
        if self._pid == os.getpid():
            for transport in made.values():
                transport.close()

    def _transport(self, library: str) -> Transport | None:
        if self._importer(library) is None:
            return None
        if self._pid != os.getpid():
            # Threads and sockets of the parent are not this process's to use or to close.
            self._pid, self._made = os.getpid(), {}
        if library not in self._made:
            made = _load(library)
            if made is None:
                return None
            # Of two threads that come first together, both use what one of them stored.
            self._made.setdefault(library, made)
        return self._made[library]


def _load(library: str) -> Transport | None:
    try:
        module = importlib.import_module(f"app.edge.over_{library}")
    except ImportError:
        logger.warning(
            "edge transport cannot be used", exc_info=True, extra={"fields": {"library": library}}
        )
        return None
    return cast(Transport, module.TRANSPORT())

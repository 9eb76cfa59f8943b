"""The choice between the transports, made at each call.

So a heal changes it without a restart. The libraries are imported by nobody before that.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol, cast

from app.edge.errors import NoTransport
from app.edge.exchange import EdgeRequest, EdgeResponse, Reply

logger = logging.getLogger(__name__)

#: Why calls do not go through aiohttp.
AIOHTTP_UNAVAILABLE = "aiohttp_unavailable"
EVENTLET_WORKER = "eventlet_worker"

Importer = Callable[[str], ModuleType | None]


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

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""

    def close(self) -> None:
        """Give back threads and connections. The transport sends nothing afterwards."""


def monkey_patched() -> bool:
    """Whether eventlet has made this process's sockets and threads green; imports nothing."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """The transport in use, and when it is not the first choice, why."""

    transport: Transport
    fallback_reason: str | None = None


class Transports:
    """Chooses aiohttp when it is importable, else requests; keeps one instance of each.

    In a process that eventlet has patched it is requests on green threads. A process that was
    forked gets instances of its own.

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
        for library, name, reason in _candidates():
            if (transport := self._transport(library, name)) is not None:
                return self._chosen(TransportChoice(transport, reason))
        raise NoTransport

    def close(self) -> None:
        """Close every transport that was made; the next call makes a new one."""
        made, self._made = self._made, {}
        if self._pid == os.getpid():
            for transport in made.values():
                transport.close()

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

    def _transport(self, library: str, name: str) -> Transport | None:
        if self._importer(library) is None:
            return None
        if self._pid != os.getpid():
            # Threads and sockets of the parent are not this process's to use or to close.
            self._pid, self._made = os.getpid(), {}
        if name not in self._made:
            made = _load(name)
            if made is None:
                return None
            # Of two threads that come first together, both use what one of them stored.
            self._made.setdefault(name, made)
        return self._made[name]


def _candidates() -> tuple[tuple[str, str, str | None], ...]:
    """The library, the module and the reason of each transport, the best one first."""
    if monkey_patched():
        return (("requests", "eventlet", EVENTLET_WORKER),)
    return (("aiohttp", "aiohttp", None), ("requests", "requests", AIOHTTP_UNAVAILABLE))


def _load(name: str) -> Transport | None:
    try:
        module = importlib.import_module(f"app.edge.over_{name}")
    except ImportError:
        logger.warning(
            "edge transport cannot be used", exc_info=True, extra={"fields": {"transport": name}}
        )
        return None
    return cast(Transport, module.TRANSPORT())

"""requests' adapter with connections that can be cut from another thread at a deadline.

The library's own timeout is for each read, so a function that drips would hold a call for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

#: Hosts whose idle connections are kept, and how many for each.
HOSTS, CONNECTIONS = 512, 256
_current = threading.local()


class Guard:
    """Knows the connection of one call."""

    def __init__(self) -> None:
        self.connection: HTTPConnection | None = None

    def cut(self) -> None:
        """End whatever the connection is waiting for."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _report(connection: HTTPConnection) -> None:
    guard: Guard | None = getattr(_current, "guard", None)
    if guard is not None:
        guard.connection = connection


class _Connection(HTTPConnection):
    def connect(self) -> None:
        _report(self)
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        _report(self)
        super().request(*args, **kwargs)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        _report(self)
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        _report(self)
        super().request(*args, **kwargs)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class GuardedAdapter(HTTPAdapter):
    """One pool of connections for any number of threads."""

    def __init__(self) -> None:
        super().__init__(pool_connections=HOSTS, pool_maxsize=CONNECTIONS)

    @contextlib.contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        """Let ``guard`` know the connection that this thread uses within the block."""
        _current.guard = guard
        try:
            yield
        finally:
            _current.guard = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        """Make the pools whose connections report themselves."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed on
        """The same behind a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

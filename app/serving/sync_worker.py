"""gunicorn's synchronous worker, which a slow client holds for a bounded time.

It serves one connection at a time, so a slow client still keeps the others waiting: it belongs
behind a proxy that buffers requests.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from gunicorn.workers import sync

from app.serving.requests import HeadTooSlow, Strict, close_listener
from app.settings.declarations import Settings


class HeadSocket(socket.socket):
    """A connection whose bytes have to come by a time, until ``until`` is None."""

    def __init__(self, taken: socket.socket, until: float) -> None:
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())
        self.until: float | None = until

    def recv(self, *args: Any) -> bytes:  # noqa: ANN401 - the socket's own
        """What has come.

        Raises:
            HeadTooSlow: it is too late.
        """
        if self.until is None:
            return super().recv(*args)
        # Zero would mean not to wait at all.
        self.settimeout(max(self.until - time.monotonic(), 0.001))
        try:
            return super().recv(*args)
        except TimeoutError:
            raise HeadTooSlow from None

    def without_limit(self) -> None:
        """The head is here, or is waited for no longer."""
        self.until = None
        self.settimeout(None)


class PatientSyncWorker(Strict, sync.SyncWorker):  # type: ignore[misc] # gunicorn has no type hints
    """Answers 408 to a head that is not whole ``request_timeout`` seconds after its connection.

    A body or an answer that drips ends with gunicorn's own ``timeout``, and the worker with it.
    """

    request_timeout: float = Settings().request_timeout

    def wait(self, timeout: float) -> Any:  # noqa: ANN401 - gunicorn's own
        """Wait for connections."""
        return super().wait(self.round_seconds(timeout))

    def run(self) -> None:
        """Serve until a signal, and then what has connected by then."""
        super().run()
        for listener in self.sockets:
            for connection in close_listener(listener.sock):
                self.notify()
                self.handle(*connection)

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:  # noqa: ANN401
        """Serve one connection."""
        until = time.monotonic() + self.request_timeout
        super().handle(listener, HeadSocket(client, until), addr)

    def handle_request(self, listener: Any, req: Any, client: HeadSocket, addr: Any) -> None:  # noqa: ANN401
        """Let the application answer."""
        client.without_limit()
        super().handle_request(listener, req, client, addr)

    def handle_error(self, req: Any, client: HeadSocket, addr: Any, exc: BaseException) -> None:  # noqa: ANN401
        """Answer in the place of the application."""
        client.without_limit()
        super().handle_error(req, client, addr, exc)

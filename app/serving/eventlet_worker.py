"""gunicorn's eventlet worker, which gunicorn 26 removed, for deployments that still ask for it.

It patches the process after the fork, so the master process stays as it is.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.base_async import AsyncWorker

from app.serving.requests import Strict, close_listener
from app.settings.declarations import Settings

with warnings.catch_warnings():
    # The worker itself says that it is deprecated, in one line of the log.
    warnings.simplefilter("ignore")
    import eventlet
    import eventlet.greenpool
    import eventlet.greenthread
    import eventlet.hubs

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

#: Seconds between two signs of life, and between two looks at what is still to be answered.
TICK, LOOK = 0.25, 0.05
#: Seconds for which a stopping worker still takes a request on an open connection.
LINGER = 0.5
#: Seconds before accepting is tried again when it failed, for want of descriptors above all.
ACCEPT_PAUSE = 0.1


class EventletWorker(Strict, AsyncWorker):  # type: ignore[misc] # gunicorn ships no type hints
    """Serves each connection on a green thread of one patched process."""

    request_timeout: float = Settings().request_timeout

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args, **kwargs)
        self.waiting: set[WaitingConnection] = set()

    def init_process(self) -> None:
        """Patch the standard library, then load the application."""
        eventlet.hubs.use_hub()
        eventlet.monkey_patch()
        logger.warning(
            "the eventlet worker is deprecated, use gthread",
            extra={"fields": {"setting": "WORKER_CLASS=gthread"}},
        )
        super().init_process()

    def timeout_ctx(self) -> WaitingConnection:
        """The wait for a connection's next request, which ends quietly."""
        return WaitingConnection(self)

    def run(self) -> None:
        """Serve until a signal; then answer what was begun within the graceful timeout, and end."""
        pool = eventlet.greenpool.GreenPool(self.worker_connections)
        # The same listening sockets, taken over by the patched standard library.
        listeners = [
            socket.socket(one.FAMILY, socket.SOCK_STREAM, fileno=one.sock.detach())
            for one in self.sockets
        ]
        acceptors = [eventlet.spawn(self._accept, listener, pool) for listener in listeners]
        while self.alive:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                break
            eventlet.sleep(TICK)
        for acceptor, listener in zip(acceptors, listeners, strict=True):
            acceptor.kill()
            for accepted in close_listener(listener):
                pool.spawn_n(self.handle, *accepted)
        stopped = time.monotonic()
        while pool.running() and time.monotonic() - stopped < self.cfg.graceful_timeout:
            self.notify()
            if time.monotonic() - stopped >= LINGER:
                for connection in tuple(self.waiting):
                    connection.end()
            eventlet.sleep(LOOK)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:  # noqa: ANN401 - gunicorn's own
        """Serve one connection."""
        if self.cfg.is_ssl:
            client = ssl_wrap_socket(client, self.cfg)
        client.send = partial(self._send, client.send, addr)
        super().handle(listener, client, addr)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """End at once, from a green thread: a signal handler must not wait."""
        eventlet.spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """Open the log files anew, likewise."""
        eventlet.spawn(super().handle_usr1, sig, frame)

    def _send(
        self,
        send: Callable[..., int],
        addr: Any,  # noqa: ANN401 - gunicorn's own
        *data: Any,  # noqa: ANN401 - the socket's own
    ) -> int:
        """Give the client up that takes nothing for ``request_timeout`` seconds.

        Raises:
            BrokenPipeError: as if it had gone.
        """
        taken = eventlet.Timeout(self.request_timeout)
        try:
            return send(*data)
        except eventlet.Timeout as over:
            if over is not taken:
                raise
            fields = {"peer": addr[0] if addr else ""}
            logger.info("answer not taken", extra={"fields": fields})
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        finally:
            taken.cancel()

    def _accept(self, listener: socket.socket, pool: eventlet.greenpool.GreenPool) -> None:
        """Hand each connection to a green thread; with none free, connections wait."""
        listener.settimeout(None)
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                self.log.exception("Connection cannot be accepted")
                eventlet.sleep(ACCEPT_PAUSE)
            else:
                pool.spawn_n(self.handle, listener, client, address)


class WaitingConnection:
    """A green thread that waits for the next request of its connection, and for how long."""

    def __init__(self, worker: EventletWorker) -> None:
        self._worker = worker
        self._thread = eventlet.getcurrent()
        # With False it ends the block without raising.
        self._timeout = eventlet.Timeout(worker.cfg.keepalive or None, False)  # noqa: FBT003

    def __enter__(self) -> None:
        """Begin to wait."""
        self._worker.waiting.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """A request is here, or none came."""
        self._worker.waiting.discard(self)
        self._timeout.cancel()
        return error is self._timeout

    def end(self) -> None:
        """Wait no longer."""
        eventlet.greenthread.kill(self._thread, self._timeout)

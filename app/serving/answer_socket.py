"""A connection that keeps the end of an answer for a client that does not take it at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Bytes that are kept for one connection. Every answer of this service that is not streamed is
#: smaller, the description of the API (230 kB) being the largest.
KEPT_BYTES = 1 << 20
#: Closing resets the connection: what the kernel still holds for a client that does not read would
#: stay there for minutes.
_ABORT = struct.pack("ii", 1, 0)


class Pushed(NamedTuple):
    """How many bytes the client took, and how many are still kept for it."""

    taken: int
    left: int


class AnswerSocket(socket.socket):
    """Sends from a thread without waiting for the client, as long as little is left to send.

    One thread at a time sends; another one, the poller's, calls :meth:`push`. What is sent stays
    in order. Nothing is kept, and no lock taken, while the client takes everything.

    Args:
        taken: the connection, which this socket takes over.
        patience: seconds without progress after which a thread that does wait gives up.
        on_kept: called in the thread when something is kept and nothing was before.
    """

    __slots__ = ("_changed", "_on_kept", "_patience", "kept")

    def __init__(
        self, taken: socket.socket, patience: float, on_kept: Callable[[AnswerSocket], object]
    ) -> None:
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(patience), 0))
        self.kept = bytearray()
        self._patience, self._on_kept = patience, on_kept
        self._changed = threading.Condition()

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send, or keep what the client does not take at once.

        With more than ``KEPT_BYTES`` to keep it waits for the client.

        Raises:
            BlockingIOError: the client took nothing for ``patience`` seconds.
        """
        rest = data if isinstance(data, bytes) else memoryview(data).cast("B")
        if self.kept and len(self.kept) + len(rest) > KEPT_BYTES:
            self.flush()
        # Only this thread adds to what is kept.
        if not self.kept:
            sent = self._send_now(rest, flags)
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]
            while len(rest) > KEPT_BYTES:
                rest = rest[super().send(rest, flags) :]
        with self._changed:
            begins = not self.kept
            self.kept += rest
        if begins:
            self._on_kept(self)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """All of the data, like ``sendall``: it must not overtake what is kept."""
        self.sendall(data, flags)
        return memoryview(data).nbytes

    def sendfile(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the socket's own
        """Send from a file, when everything before it is sent; waits for the client."""
        self.flush()
        return super().sendfile(*args, **kwargs)

    def flush(self) -> None:
        """Wait until nothing is kept.

        Raises:
            BlockingIOError: the client took nothing for ``patience`` seconds.
        """
        with self._changed:
            while self.kept:
                if not self._changed.wait(self._patience):
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def push(self) -> Pushed:
        """Send what the client takes now of what is kept.

        Raises:
            OSError: the client is gone, and nothing is kept for it any more.
        """
        with self._changed:
            try:
                sent = self._send_now(self.kept, 0)
            except OSError:
                self._forget(len(self.kept))
                raise
            self._forget(sent)
            return Pushed(sent, len(self.kept))

    def close(self) -> None:
        """Close, unless something is kept: the poller has this socket, and closes it then."""
        if not self.kept:
            super().close()

    def abort(self) -> None:
        """Close at once; what is kept, and what the kernel has not sent, is lost."""
        with self._changed:
            self._forget(len(self.kept))
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.close()

    def _forget(self, size: int) -> None:
        if size:
            del self.kept[:size]
            self._changed.notify_all()

    def _send_now(self, data: ReadableBuffer, flags: int) -> int:
        try:
            return super().send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

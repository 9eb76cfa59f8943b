"""Connections that hold no thread while a client is slow to send a head or to take an answer."""

from __future__ import annotations

import contextlib
import enum
import errno
import math
import os
import re
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn.workers.gthread import TConn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Bytes of an answer that may wait for one client. Every answer of this service that is not
#: streamed is smaller, the description of the API (230 kB) being the largest.
UNSENT_BYTES = 1 << 20
#: Closing resets the connection: what the kernel still holds for a client that does not read would
#: stay there for minutes.
_ABORT = struct.pack("ii", 1, 0)
#: Bytes of a request's head, and what is asked of a socket at once. nginx takes 32 KiB by default.
HEAD_BYTES, RECEIVE_BYTES = 32 * 1024, 8 * 1024
#: Bytes that are still read on a connection after its last answer; gunicorn's own number.
LINGER_BYTES = 64 * 1024
#: Bytes of a body that is gathered as the head is; what is larger is read by who wants it.
BODY_BYTES = 16 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,5})[ \t]*(?=\r)", re.IGNORECASE)
#: The body has another end, or waits for 100 Continue.
_FRAMED_OTHERWISE = re.compile(rb"\r\n(?:transfer-encoding|expect):", re.IGNORECASE)
_END = b"\r\n\r\n"


class Pushed(NamedTuple):
    """How many bytes the client took, and how many are still to be sent."""

    taken: int
    left: int


class AnswerSocket(socket.socket):
    """Sends from a thread without waiting for the client, as long as little is left to send.

    One thread at a time sends; another one, the poller's, calls :meth:`push`. What is sent stays
    in order. Nothing waits, and no lock is taken, while the client takes everything.

    Args:
        taken: the connection, which this socket takes over.
        patience: seconds without progress after which a thread that does wait gives up.
        on_unsent: called in the thread when something is left to send and nothing was before.
    """

    __slots__ = ("_changed", "_on_unsent", "_patience", "unsent")

    def __init__(
        self, taken: socket.socket, patience: float, on_unsent: Callable[[AnswerSocket], object]
    ) -> None:
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(patience), 0))
        self.unsent = bytearray()
        self._patience, self._on_unsent = patience, on_unsent
        self._changed = threading.Condition()

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send, and leave to ``push`` what the client does not take at once.

        With more than ``UNSENT_BYTES`` left it waits for the client.

        Raises:
            BlockingIOError: the client took nothing for ``patience`` seconds.
        """
        rest = data if isinstance(data, bytes) else memoryview(data).cast("B")
        if self.unsent and len(self.unsent) + len(rest) > UNSENT_BYTES:
            self.flush()
        # Only this thread adds to what is unsent.
        if not self.unsent:
            sent = self._send_now(rest, flags)
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]
            while len(rest) > UNSENT_BYTES:
                rest = rest[super().send(rest, flags) :]
        with self._changed:
            begins = not self.unsent
            self.unsent += rest
        if begins:
            self._on_unsent(self)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """All of the data, like ``sendall``: it must not overtake what is unsent."""
        self.sendall(data, flags)
        return memoryview(data).nbytes

    def sendfile(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the socket's own
        """Send from a file, when everything before it is sent; waits for the client."""
        self.flush()
        return super().sendfile(*args, **kwargs)

    def flush(self) -> None:
        """Wait until everything is sent.

        Raises:
            BlockingIOError: the client took nothing for ``patience`` seconds.
        """
        with self._changed:
            while self.unsent:
                if not self._changed.wait(self._patience):
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def push(self) -> Pushed:
        """Send what the client takes now of what is unsent.

        Raises:
            OSError: the client is gone, and what was unsent is lost.
        """
        with self._changed:
            try:
                sent = self._send_now(self.unsent, 0)
            except OSError:
                self._forget(len(self.unsent))
                raise
            self._forget(sent)
            return Pushed(sent, len(self.unsent))

    def close(self) -> None:
        """Close, unless something is unsent: the poller has this socket, and closes it then."""
        if not self.unsent:
            super().close()

    def abort(self) -> None:
        """Close at once; what is unsent, and what the kernel has not sent, is lost."""
        with self._changed:
            self._forget(len(self.unsent))
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.close()

    def _forget(self, size: int) -> None:
        if size:
            del self.unsent[:size]
            self._changed.notify_all()

    def _send_now(self, data: ReadableBuffer, flags: int) -> int:
        try:
            return super().send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0


class Head(enum.Enum):
    """How much of a request's head is here, and of its body when that is small."""

    PARTIAL = enum.auto()
    #: The head is whole with these bytes, the body is not.
    BODY_IS_LEFT = enum.auto()
    WHOLE = enum.auto()
    TOO_LARGE = enum.auto()
    #: The client ended the connection.
    NEVER = enum.auto()


def small_body(head: bytes) -> int:
    """How long a request's body is; 0 where it is not small, or a thread has to find that out."""
    if _FRAMED_OTHERWISE.search(head):
        return 0
    lengths = _LENGTH.findall(head)
    length = int(lengths[0]) if len(lengths) == 1 else 0
    return length if length <= BODY_BYTES else 0


class Connection(TConn):  # type: ignore[misc] # gunicorn ships no type hints
    """A connection whose requests' heads are gathered without waiting."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args)
        #: The head, and a small body behind it.
        self.head = bytearray()
        #: How long both are, when that is known.
        self.length: int | None = None
        self.drained = 0
        #: What serving the last request came to; None when it was refused.
        self.served: Future[object] | None = None
        #: When the whole of an answer has to be taken.
        self.taken_until = math.inf
        self.given_up = False
        # gunicorn's handler must not wait for bytes in its thread.
        self.data_ready = True

    def gather(self, came: bytes) -> Head:
        """Add bytes; the head is whole too when it cannot become a valid one."""
        if self.length is not None:
            self.head += came
            return Head.WHOLE if len(self.head) >= self.length else Head.PARTIAL
        # The end may have begun in what was here before.
        searched = max(0, len(self.head) - len(_END))
        self.head += came
        if (end := self.head.find(_END, searched)) >= 0:
            self.length = end + len(_END) + small_body(bytes(self.head[: end + 2]))
            return Head.WHOLE if len(self.head) >= self.length else Head.BODY_IS_LEFT
        if len(self.head) > HEAD_BYTES:
            return Head.TOO_LARGE
        # gunicorn's parser refuses a bare line feed as soon as it sees one, and reads no further.
        bare = self.head.count(b"\n") != self.head.count(b"\r\n")
        return Head.WHOLE if bare else Head.PARTIAL

    def receive(self) -> Head:
        """Gather what has come."""
        try:
            came = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return Head.PARTIAL
        except OSError:
            return Head.NEVER
        if came:
            return self.gather(came)
        # It is the application that says what is wrong with a part of a body.
        return Head.NEVER if self.length is None else Head.WHOLE

    def hand_over(self) -> None:
        """Give the parser what was gathered."""
        self.init()
        self.parser.unreader.unread(bytes(self.head))
        self.head.clear()
        self.length = None

    def drain(self) -> bool:
        """Whether there may be more to read after the last answer."""
        try:
            came = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.drained += len(came)
        return bool(came) and self.drained < LINGER_BYTES

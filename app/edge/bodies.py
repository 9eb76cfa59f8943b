"""A caller's body on its way to a function: read at once when it is small, else as it is sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from app.edge.errors import BodyTooLarge
from app.edge.exchange import CHUNK_BYTES, HOLD_BYTES, Body

#: Gives at most so many bytes of a body, some as soon as there are any; nothing at its end.
#: Raises CallerFault when they do not come by the time given (of ``time.monotonic``).
Reader = Callable[[int, float], bytes]
#: What each wait for a caller is done in.
Turn = Callable[[], AbstractContextManager[None]]


class CallerBody:
    """A caller's body, whose bytes are counted as they are read.

    Args:
        length: its bytes, when the caller said so.
        reader: where they come from.
    """

    def __init__(self, length: int | None, reader: Reader) -> None:
        self.length = length
        self._reader = reader

    def admit(self, limit: int, until: float, turn: Turn = nullcontext) -> bytes | Body:
        """The body, to be sent: whole when it is small, so that a call can be repeated.

        Whenever the caller is waited for, now or while it is sent, it is within a ``turn``.

        Raises:
            CallerFault: when it is too large, or does not come in time.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        counted = _Counted(self._reader, self.length, limit, until, turn)
        hold = CHUNK_BYTES if self.length is not None else HOLD_BYTES
        if self.length is not None and self.length > hold:
            return counted
        return counted.start(hold)


class _Counted:
    """Reads within a limit and a time."""

    def __init__(
        self, reader: Reader, length: int | None, limit: int, until: float, turn: Turn
    ) -> None:
        self.length = length
        self._reader = reader
        self._limit = limit
        self._until = until
        self._turn = turn
        self._seen = 0
        self._held = b""

    def start(self, hold: int) -> bytes | Body:
        """All of it when it ends within ``hold`` bytes, else itself with what was read."""
        held = bytearray()
        while len(held) <= hold:
            chunk = self._next()
            if not chunk:
                return bytes(held)
            held += chunk
        self._held = bytes(held)
        return self

    def read(self) -> bytes:
        held, self._held = self._held, b""
        return held or self._next()

    def _next(self) -> bytes:
        with self._turn():
            chunk = self._reader(CHUNK_BYTES, self._until)
        self._seen += len(chunk)
        if self._seen > self._limit:
            raise BodyTooLarge(self._limit)
        return chunk

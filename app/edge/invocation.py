"""What a call came to, for the one who passes it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from app.edge.errors import ErrorKind
from app.edge.exchange import CHUNK_BYTES, CallFailed, Reply
from app.edge.lane import Passage
from app.edge.transports import TransportChoice
from app.telemetry.tracing import Span


@dataclass(slots=True)
class Invocation:
    """A function's answer, or why there is none, and what carried the call.

    Read ``chunks`` and then close it; an answer that is ``whole`` is all in ``body``. ``id`` is the
    X-Request-ID of the call, ``seconds`` what it took until there was an answer or its beginning,
    without what the caller took to bring its body.
    """

    function: str
    id: str
    choice: TransportChoice
    passage: Passage
    span: Span
    seconds: float = 0.0
    reply: Reply | None = None
    error: ErrorKind | None = None
    failed_status: int | None = None

    @property
    def status(self) -> int | None:
        """The status that the function sent, if it got that far."""
        return self.reply.status if self.reply else self.failed_status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All header fields of the answer."""
        return self.reply.headers if self.reply else ()

    @property
    def whole(self) -> bool:
        """Whether the body is all there."""
        return self.reply is None or self.reply.whole

    @property
    def body(self) -> bytes:
        """What has come of the body so far."""
        return self.reply.start if self.reply else b""

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes.

        Raises:
            CallFailed: when it breaks off, exceeds the function's limit or takes too long. What was
                passed on already is then not all of it.
        """
        if self.reply is None:
            return
        start = (self.reply.start,) if self.reply.start else ()
        try:
            for chunk in chain(start, self.reply.rest or ()):
                with self.passage.callers_turn():
                    yield chunk
        except CallFailed as failure:
            self.passage.ended(failure.kind)
            self.error = failure.kind
            raise
        self.passage.answered(self.reply.status)

    def settle(self) -> None:
        """Report a call that is over, and make room where nothing is left to be waited for.

        A small body fits into the connection's buffer; a larger one keeps its place until the
        caller has taken it.
        """
        if self.error is not None:
            self.passage.ended(self.error)
        elif self.reply is not None and self.whole:
            self.passage.answered(self.reply.status)
        if self.whole and len(self.body) <= CHUNK_BYTES:
            self.close()

    def close(self, error: str | None = None) -> None:
        """Give back the connection and the place; closing twice is closing once.

        Args:
            error: what ended the call, when that was not the function.
        """
        if self.reply is not None:
            self.reply.close()
        self.passage.leave()
        self.span.end(status=self.status, error=error or self.error)

"""The body of the request that is being answered, on its way to an edge function."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any

from flask import Request

from app.edge import BodyBroken, BodyTooSlow, CallerBody
from app.edge.deadlines import Deadlines, Watch

#: Where servers put the connection into a request's environment.
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


class CallerStream:
    """Reads a request's body, and ends the connection's receiving side when that takes too long.

    A server reads until it has what it was asked for, so a caller that drips would hold the thread
    for ever otherwise.
    """

    def __init__(self, request: Request, deadlines: Deadlines) -> None:
        self._stream = request.stream
        self._length = request.content_length
        self._socket = _connection(request.environ)
        self._deadlines = deadlines
        self._watch: Watch | None = None
        self._seen = 0

    def body(self) -> CallerBody:
        """The body, to be handed on."""
        return CallerBody(self._length, self._read)

    def close(self) -> None:
        """Watch no longer: the connection's next request has its own time."""
        if self._watch is not None:
            self._watch.cancel()

    def _read(self, size: int, until: float) -> bytes:
        if self._watch is None:
            self._watch = self._deadlines.watch(until, self._end)
        try:
            chunk = self._stream.read(size)
        except Exception as error:
            # Each server has errors of its own for a caller that breaks off.
            raise self._fault() from error
        self._seen += len(chunk)
        if not chunk and (self._watch.expired or self._seen < (self._length or 0)):
            raise self._fault()
        return chunk

    def _fault(self) -> BodyTooSlow | BodyBroken:
        late = self._watch is not None and self._watch.expired
        return BodyTooSlow() if late else BodyBroken()

    def _end(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)


def _connection(environ: Mapping[str, Any]) -> socket.socket | None:
    return next((environ[name] for name in _SOCKETS if name in environ), None)

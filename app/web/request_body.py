"""Reading the body of the request that is being answered, within bounds."""

from __future__ import annotations

import contextlib
import json
import socket
import time

from flask import Request, abort, current_app, request
from werkzeug.wsgi import get_input_stream

from app.edge.errors import BodyBroken, BodyTooLarge, BodyTooSlow
from app.edge.protection import Deadlines, Watch
from app.edge.transports import CallerBody
from app.services import Services
from app.web.problems import problem

#: Where servers put the connection into a request's environment.
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


class CallerStream:
    """Reads a request's body, and ends the connection's receiving side when that takes too long.

    A server reads until it has what it was asked for, so a caller that drips would hold the thread
    for ever otherwise.
    """

    def __init__(self, request: Request, deadlines: Deadlines) -> None:
        # Not the request's own stream: that one ends at the bound of this service's bodies, and a
        # function has a bound of its own.
        self._stream = get_input_stream(request.environ)
        self._length = request.content_length
        self._socket: socket.socket | None = next(
            (request.environ[name] for name in _SOCKETS if name in request.environ), None
        )
        self._deadlines = deadlines
        self._watch: Watch | None = None
        self._seen = 0

    def body(self) -> CallerBody:
        """The body, to be handed on."""
        return CallerBody(self._length, self.read)

    def whole(self, limit: int, until: float) -> bytes:
        """All of it.

        Raises:
            CallerFault: it is larger than ``limit`` bytes, announced or not, or does not come.
        """
        if (self._length or 0) > limit:
            raise BodyTooLarge(limit)
        body = bytearray()
        while len(body) <= limit and (chunk := self.read(limit + 1 - len(body), until)):
            body += chunk
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return bytes(body)

    def close(self) -> None:
        """Watch no longer: the connection's next request has its own time."""
        if self._watch is not None:
            self._watch.cancel()

    def read(self, size: int, until: float) -> bytes:
        """At most ``size`` bytes, and nothing at the end; ``until`` counts at the first call.

        Raises:
            CallerFault: the body does not come by ``until`` (of ``time.monotonic``), or breaks off.
        """
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


def read_object(limit: int) -> dict[str, object]:
    """The JSON object that is the request's body; who names no content type means JSON.

    Raises:
        CallerFault: it is larger than ``limit`` bytes, announced or not, or does not arrive within
            the time that a request has.
        HTTPException: 415 when it is of another type, 400 when it is no JSON object.
    """
    kind = request.mimetype
    # A type may be JSON by its suffix, too (RFC 6839).
    by_suffix = kind.startswith("application/") and kind.endswith("+json")
    if kind not in {"", "application/json"} and not by_suffix:
        refusal = problem("unsupported_media_type")
        refusal.headers["Accept"] = "application/json"
        abort(refusal)
    services: Services = current_app.extensions["services"]
    caller = CallerStream(request, services.edge.deadlines)
    try:
        found = json.loads(
            caller.whole(limit, time.monotonic() + services.settings.request_timeout)
        )
    except (ValueError, RecursionError):
        found = None
    finally:
        caller.close()
    if not isinstance(found, dict):
        abort(problem("invalid_json"))
    return found

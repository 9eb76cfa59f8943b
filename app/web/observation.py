"""What is noted of each request: its ids, how long it took, what it came to.

The layer stands around Flask, so that what Flask's own error handlers, the quarantine and the
limits answer is noted like anything else. Each request passes here: what it costs is measured in
``benchmarks/observation.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.services import Services
from app.telemetry import structured
from app.telemetry.context import REQUEST_ID_HEADER, continued, enter, leave, request_id
from app.telemetry.methods import METHODS
from app.telemetry.notes import Note

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Request
    from werkzeug.routing import Map, Rule

UNMATCHED, OTHER_METHOD = "unmatched", "other"
#: They are asked every few seconds, and their success says nothing.
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_FIRST_ERROR, _UNEXPECTED = 400, 500
_METHOD_NOT_ALLOWED = "405"
#: Under this key werkzeug leaves the request that it makes of the environ, and Flask takes it away
#: when the answer has begun.
_WERKZEUG_REQUEST = "werkzeug.request"
#: Under this key is the route of a request for who answers it before it is matched with a rule.
ROUTE = "orchestrator.route"


def init_app(app: Flask) -> None:
    """Note every request of the application, and give each response its X-Request-ID."""
    services: Services = app.extensions["services"]
    app.wsgi_app = Observation(app.wsgi_app, services, app.url_map)  # type: ignore[method-assign]


class Observation:
    """A WSGI application around another one."""

    def __init__(self, wsgi_app: WSGIApplication, services: Services, url_map: Map) -> None:
        self.wsgi_app = wsgi_app
        self.url_map = url_map
        self.tracing = services.tracing
        self.notes = services.notes
        self.load = services.load
        self._access_log = services.settings.access_log

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; it is over when the server closes the answer."""
        observed = _Request(self, environ, start_response)
        observed.answer()
        return observed

    def is_told(self, route: str, status: int, *, whole: bool) -> bool:
        """Whether a request gets an access line."""
        if status >= _FIRST_ERROR or not whole:
            return self._access_log != "off"
        return self._access_log == "all" and route not in QUIET_ROUTES


class _Request:
    """One request, and its answer as the server reads it."""

    __slots__ = (
        "_began", "_chunks", "_closed", "_environ", "_error", "_id", "_method",
        "_observation", "_route", "_sent", "_span", "_start_response", "_status", "_whole", "_work",
    )  # fmt: skip

    def __init__(
        self, observation: Observation, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._began = time.perf_counter()
        self._closed = False
        self._observation, self._environ = observation, environ
        self._start_response = start_response
        self._chunks: Iterable[bytes] = ()
        self._status, self._sent = _UNEXPECTED, 0
        self._error: str | None = None
        self._route = UNMATCHED
        self._whole = False
        method = environ["REQUEST_METHOD"]
        self._method: str = method if method in METHODS else OTHER_METHOD
        self._id = request_id(environ.get("HTTP_X_REQUEST_ID"))
        parent = continued(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))
        self._span = observation.tracing.tracer.request(
            parent, self._method, environ["PATH_INFO"], environ["wsgi.url_scheme"]
        )
        self._work = enter(self._id, self._span.trace)
        structured.forget_bound()

    def answer(self) -> None:
        """Have the request answered.

        What the application raises is raised again, and is an error of the request.
        """
        self._observation.load.enter()
        try:
            self._chunks = self._observation.wsgi_app(self._environ, self._start)
        except BaseException as error:
            self._error = type(error).__name__
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        """The body, counted."""
        try:
            for chunk in self._chunks:
                self._sent += len(chunk)
                yield chunk
        except Exception as error:
            self._error = type(error).__name__
            raise
        self._whole = True

    def close(self) -> None:
        """It is over; closing twice is closing once."""
        if self._closed:
            return
        self._closed = True
        try:
            close: Callable[[], None] | None = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self._note()
            leave(self._work)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ANN401 - WSGI's own
        self._status = int(status[:3])
        self._route = self._matched(status)
        headers.append((REQUEST_ID_HEADER, self._id))
        return self._start_response(status, headers, exc_info)

    def _matched(self, status: str) -> str:
        """The rule that the request matched, but for its method perhaps, or what answered says."""
        asked: Request | None = self._environ.get(_WERKZEUG_REQUEST)
        rule = None if asked is None else asked.url_rule
        if rule is None and asked is not None and status.startswith(_METHOD_NOT_ALLOWED):
            rule = self._of_another_method(asked)
        return str(self._environ.get(ROUTE, UNMATCHED)) if rule is None else rule.rule

    def _of_another_method(self, asked: Request) -> Rule | None:
        error = asked.routing_exception
        if not isinstance(error, MethodNotAllowed) or not error.valid_methods:
            return None
        method = next(iter(error.valid_methods))
        with suppress(HTTPException):
            return self._observation.url_map.bind("").match(
                asked.path, method=method, return_rule=True
            )[0]
        return None

    def _note(self) -> None:
        """Have the request counted and told, and end its span."""
        seconds = time.perf_counter() - self._began
        observation, status = self._observation, self._status
        observation.load.leave()
        route = self._route
        known = None if route is UNMATCHED else route
        self._span.end(status=status, error=self._error, route=known)
        note = Note(
            self._environ.get("REMOTE_ADDR", ""),
            route,
            self._method,
            self._environ["PATH_INFO"],
            status,
            seconds,
            self._sent,
            None if self._whole else self._error or "client",
            self._id,
            self._span.trace.trace_id,
            time.time(),
            observation.is_told(route, status, whole=self._whole),
        )
        observation.notes.add(note)

"""What is noted of each request: its ids, how long it took, what it came to.

Its answer gets the security headers and its id here as well: a list takes them at less cost than
Flask's headers do, and what answers in Flask's place gets them too. The layer stands around Flask,
so that what Flask's own error handlers, the quarantine and the limits answer is noted like anything
else. Each request passes here: what it costs is measured in ``benchmarks/observation.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.manifest import PROBES
from app.services import Services
from app.telemetry.context import REQUEST_ID_HEADER, continued, enter, leave, request_id
from app.telemetry.metrics import METHODS
from app.telemetry.notes import Note
from app.web.headers import SECURITY_HEADERS, TLS_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Request
    from werkzeug.routing import Map, Rule

UNMATCHED, OTHER_METHOD = "unmatched", "other"
#: They are asked every few seconds, and their success says nothing.
QUIET_ROUTES = frozenset({*PROBES, "/metrics"})
_FIRST_ERROR, _UNEXPECTED = 400, 500
_METHOD_NOT_ALLOWED = "405"
#: Under this key werkzeug leaves the request that it makes of the environ, and Flask takes it away
#: when the answer has begun.
_WERKZEUG_REQUEST = "werkzeug.request"
#: Under this key is the route of a request for who answers it before it is matched with a rule.
ROUTE = "orchestrator.route"
_PLAIN = tuple((name.lower(), (name, value)) for name, value in SECURITY_HEADERS.items())
#: What is added, by the scheme of the request.
_ADDED = {
    "http": _PLAIN,
    "https": (*_PLAIN, *((name.lower(), (name, value)) for name, value in TLS_HEADERS.items())),
}


class Observation:
    """A WSGI application around another one, which notes each request of it."""

    def __init__(self, wsgi_app: WSGIApplication, services: Services, url_map: Map) -> None:
        self.wsgi_app = wsgi_app
        self.url_map = url_map
        self.tracing = services.tracing
        self.notes = services.notes
        self.load = services.load
        self.access_log = services.settings.access_log

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; it is over when the server closes the answer.

        What the application raises is raised again, and is an error of the request.
        """
        observed = _Request(self, environ, start_response)
        self.load.enter()
        try:
            observed.chunks = self.wsgi_app(environ, observed.start)
        except BaseException as error:
            observed.error = type(error).__name__
            observed.close()
            raise
        return observed


class _Request:
    """One request, and its answer as the server reads it."""

    __slots__ = (
        "_began", "_closed", "_environ", "_id", "_method", "_observation", "_route", "_sent",
        "_span", "_start_response", "_status", "_whole", "_work", "chunks", "error",
    )  # fmt: skip

    def __init__(
        self, observation: Observation, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._began = time.perf_counter()
        self._closed = False
        self._observation, self._environ = observation, environ
        self._start_response = start_response
        self.chunks: Iterable[bytes] = ()
        self.error: str | None = None
        self._status, self._sent = _UNEXPECTED, 0
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

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ANN401 - WSGI's own
        """Begin the answer; its route is the rule that matched, but for the method perhaps."""
        self._status = int(status[:3])
        asked: Request | None = self._environ.get(_WERKZEUG_REQUEST)
        rule = None if asked is None else asked.url_rule
        if rule is None and asked is not None and status.startswith(_METHOD_NOT_ALLOWED):
            rule = self._of_another_method(asked)
        self._route = str(self._environ.get(ROUTE, UNMATCHED)) if rule is None else rule.rule
        present = {name.lower() for name, _ in headers}
        added = _ADDED.get(self._environ["wsgi.url_scheme"], _PLAIN)
        headers += [field for name, field in added if name not in present]
        headers.append((REQUEST_ID_HEADER, self._id))
        return self._start_response(status, headers, exc_info)

    def __iter__(self) -> Iterator[bytes]:
        """The body, counted."""
        try:
            for chunk in self.chunks:
                self._sent += len(chunk)
                yield chunk
        except Exception as error:
            self.error = type(error).__name__
            raise
        self._whole = True

    def close(self) -> None:
        """Have the request counted and logged, and end its span; closing twice is closing once."""
        if self._closed:
            return
        self._closed = True
        try:
            close: Callable[[], None] | None = getattr(self.chunks, "close", None)
            if close is not None:
                close()
        finally:
            seconds = time.perf_counter() - self._began
            route, status, observation = self._route, self._status, self._observation
            observation.load.leave()
            known = None if route is UNMATCHED else route
            self._span.end(status=status, error=self.error, route=known)
            wanted = observation.access_log
            notable = status >= _FIRST_ERROR or not self._whole
            note = Note(
                self._environ.get("REMOTE_ADDR", ""),
                route,
                self._method,
                self._environ["PATH_INFO"],
                status,
                seconds,
                self._sent,
                None if self._whole else self.error or "client",
                self._id,
                self._span.trace.trace_id,
                time.time(),
                wanted != "off" if notable else wanted == "all" and route not in QUIET_ROUTES,
            )
            observation.notes.put(note)
            leave(self._work)

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

"""What every application gets around its blueprints, whichever they are."""

from __future__ import annotations

from flask import Flask, Request, Response, abort, request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.middleware.proxy_fix import ProxyFix

from app.services import Services
from app.web import observation, problems, static_files

#: What Flask itself reads of a body at most. Nothing here reads forms; calls of edge functions have
#: the limits of their functions.
REQUEST_LIMITS = {
    "MAX_CONTENT_LENGTH": 1 << 20,
    "MAX_FORM_MEMORY_SIZE": 64 << 10,
    "MAX_FORM_PARTS": 100,
}


class NoSessions(SessionInterface):
    """One empty session for all requests, which refuses to be written to.

    Where there is no SECRET_KEY, Flask finds out for each request anew that there can be no other.
    """

    def __init__(self) -> None:
        self._session = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002
        """The empty one."""
        return self._session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """There is nothing to save, and no answer depends on a cookie."""


def answer_odd_target() -> Response | None:
    """What no rule can stand for; Werkzeug takes ``//livez`` for ``/livez``."""
    path = request.environ.get("PATH_INFO", "")
    if path == "*" and request.method == "OPTIONS":
        # It asks about the server as a whole (RFC 9110 section 9.3.7).
        return Response(status=204, headers={"Allow": "GET, HEAD, OPTIONS, POST"})
    if path.startswith("//"):
        abort(404)
    return None


def init_app(app: Flask) -> None:
    """Problems for errors, sessions only where they can be signed, observation, trusted proxies."""
    services: Services = app.extensions["services"]
    problems.init_app(app)
    static_files.init_app(app)
    app.before_request(answer_odd_target)
    if not app.secret_key:
        app.session_interface = NoSessions()
    app.wsgi_app = observation.Observation(app.wsgi_app, services, app.url_map)  # type: ignore[method-assign]
    if hops := services.settings.trusted_proxies:
        # The caller's address, scheme and host are taken from as many proxies as TRUSTED_PROXIES
        # says. Each of them has to set X-Forwarded-For, -Proto and -Host: what a caller sends in
        # their place is believed otherwise. Outermost, so that everything else sees what they say.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]

"""Security headers on every response: the essential ones always, more with ``secure``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flask import Flask

from app.services import Services
from app.web.problem_document import SAFE_HEADERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

#: Two years, as the preload lists and OWASP ask for; other hosts of the domain are not ours.
HSTS_SECONDS = 63_072_000
#: What pages of this origin may not use; nothing here does.
_UNUSED_FEATURES = ("camera", "geolocation", "microphone", "payment", "usb")


def init_app(app: Flask) -> None:
    """Give every response the headers that it does not have itself.

    They are made once. While ``secure`` cannot be imported only the essential ones are set, and
    it is noted as absent. Requests that the server refuses get the same ones.
    """
    services: Services = app.extensions["services"]
    secure = services.fixer.find("secure")
    (services.absent.add if secure is None else services.absent.discard)("secure")
    more, over_tls = _made_by(secure) if secure else ({}, {})
    headers = {**more, **SAFE_HEADERS}
    services.safe_headers.update(headers)
    app.wsgi_app = Hardening(app.wsgi_app, headers, over_tls)  # type: ignore[method-assign]


class Hardening:
    """A WSGI application around another one, which adds headers to its responses.

    There, and not after the view, because a list takes them at less cost than Flask's headers do,
    and because what answers in Flask's place gets them too.

    Args:
        wsgi_app: the other one.
        headers: those for any connection.
        over_tls: those for an encrypted one alone.
    """

    def __init__(
        self, wsgi_app: WSGIApplication, headers: Mapping[str, str], over_tls: Mapping[str, str]
    ) -> None:
        self._wsgi_app = wsgi_app
        self._plain = _items(headers)
        self._encrypted = [*self._plain, *_items(over_tls)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        added = self._encrypted if environ["wsgi.url_scheme"] == "https" else self._plain

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ANN401 - WSGI's own
            present = {name.lower() for name, _ in headers}
            headers += [field for name, field in added if name not in present]
            return start_response(status, headers, exc_info)

        return self._wsgi_app(environ, start)


def _made_by(secure: ModuleType) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The headers for any connection, and those for an encrypted one."""
    try:
        return _from_secure(secure), _for_https(secure)
    except Exception:
        # Another version's interface may be another one, which must not cost the service.
        logger.exception("security headers cannot be made")
        return {}, {}


def _from_secure(secure: ModuleType) -> Mapping[str, str]:
    """This origin shares no window, no resource and no feature with another."""
    permissions = secure.PermissionsPolicy().clear()
    for feature in _UNUSED_FEATURES:
        permissions.add_directive(feature)
    headers: Mapping[str, str] = secure.Secure(
        coop=secure.CrossOriginOpenerPolicy().same_origin(),
        corp=secure.CrossOriginResourcePolicy().same_origin(),
        permissions=permissions,
        xpcdp=secure.XPermittedCrossDomainPolicies().none(),
    ).headers
    return headers


def _for_https(secure: ModuleType) -> Mapping[str, str]:
    """For a connection that is encrypted already; over plain HTTP browsers ignore it (RFC 6797)."""
    hsts = secure.StrictTransportSecurity().max_age(HSTS_SECONDS)
    headers: Mapping[str, str] = secure.Secure(hsts=hsts).headers
    return headers


def _items(headers: Mapping[str, str]) -> list[tuple[str, tuple[str, str]]]:
    return [(name.lower(), (name, value)) for name, value in headers.items()]

"""Security headers on every response: the essential ones always, more with ``secure``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import ModuleType

from flask import Flask, Response, request

from app.services import Services
from app.utils.problem_document import SAFE_HEADERS

logger = logging.getLogger(__name__)

#: Two years, as the preload lists and OWASP ask for; other hosts of the domain are not ours.
HSTS_SECONDS = 63_072_000
#: What pages of this origin may not use; nothing here does.
_UNUSED_FEATURES = ("camera", "geolocation", "microphone", "payment", "usb")


def init_app(app: Flask) -> None:
    """Give every response the headers that it does not have itself.

    They are made once. While ``secure`` cannot be imported only the essential ones are set, and
    it is noted as absent.
    """
    services: Services = app.extensions["services"]
    secure = services.fixer.find("secure")
    (services.absent.add if secure is None else services.absent.discard)("secure")
    more, over_tls = _made_by(secure) if secure else ({}, {})
    plain = _items({**more, **SAFE_HEADERS})
    encrypted = [*plain, *_items(over_tls)]

    def harden(response: Response) -> Response:
        items = encrypted if request.environ["wsgi.url_scheme"] == "https" else plain
        present = {name.lower() for name, _ in response.headers}
        response.headers.extend([(name, value) for key, name, value in items if key not in present])
        return response

    app.after_request(harden)


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


def _items(headers: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(name.lower(), name, value) for name, value in headers.items()]

"""What proxies in front say of a request: believed when they are configured, and not otherwise."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app.services import Services


def init_app(app: Flask) -> None:
    """Take the caller's address, scheme and host from as many proxies as TRUSTED_PROXIES says.

    Each of them has to set X-Forwarded-For, -Proto and -Host: what a caller sends in their place is
    believed otherwise. Comes last, so that everything else sees what the proxies say.
    """
    services: Services = app.extensions["services"]
    hops = services.settings.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]

"""How often one caller may ask for what makes work: one table, for every application.

flask-limiter counts, in the memory of each worker: with two workers a caller gets up to twice as
much. It is imported when the first limited request comes, which no probe and no cached read is;
while it cannot be, nothing is limited and health says so.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from app.access.guessing import origin_of
from app.services import Services
from app.utils.auto_fix import AutoFixer
from app.web.problems import problem

if TYPE_CHECKING:
    from flask_limiter import Limiter, RequestLimit

#: Endpoints that make work, to what one IPv4 address or IPv6 /64 network may ask of them. Calls of
#: edge functions are not here: the bulkhead bounds them, and how many are normal only callers know.
LIMITS: Mapping[str, str] = {
    "auto_fix.force_health_check": "30 per minute",
    "auto_fix.test_import": "60 per minute",
    "auto_fix.fix": "30 per minute",
    "edge_functions.health_check": "30 per minute",
}
_KEPT = "rate_limits"

View = Callable[..., Any]


class RateLimits:
    """What each caller has asked for; outlives the application, so a swap forgets nothing."""

    def __init__(self, fixer: AutoFixer) -> None:
        self._fixer = fixer
        self._lock = threading.Lock()
        self._limiter: Limiter | None = None

    def limited(self, view: View, limit: str) -> View:
        """The view with a limit, from the moment at which flask-limiter can be imported."""

        @functools.wraps(view)
        def guarded(**arguments: Any) -> Any:  # noqa: ANN401 - the view's own
            limiter = self._get()
            decorated: View = limiter.limit(limit)(view) if limiter else view
            return decorated(**arguments)

        return guarded

    def _get(self) -> Limiter | None:
        limiter = self._limiter
        if limiter is None:
            with self._lock:
                limiter = self._limiter = self._limiter or self._make()
        return limiter

    def _make(self) -> Limiter | None:
        module = self._fixer.load("flask_limiter")
        if module is None:
            return None
        limiter: Limiter = module.Limiter(_origin, storage_uri="memory://", on_breach=_refusal)
        # It hangs a check on every request of the application that it is given. This one serves
        # nobody; the limited views check for themselves.
        limiter.init_app(Flask(__name__))
        return limiter


def init_app(app: Flask) -> None:
    """Limit the views of the table that this application has."""
    services: Services = app.extensions["services"]
    limits: RateLimits = services.kept.setdefault(_KEPT, RateLimits(services.fixer))
    for endpoint, limit in LIMITS.items():
        if endpoint in app.view_functions:
            app.view_functions[endpoint] = limits.limited(app.view_functions[endpoint], limit)


def _origin() -> str:
    return origin_of(request.remote_addr)


def _refusal(breached: RequestLimit) -> Response:
    return problem("rate_limited", retry_after=breached.reset_at - time.time())

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
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.access.errors import RateLimited
from app.access.guessing import MAX_ORIGINS, origin_of

if TYPE_CHECKING:
    from flask import Flask
    from flask_limiter import Limiter, RequestLimit

#: Endpoints that make work, to what one IPv4 address or IPv6 /64 network may ask of them. Calls of
#: edge functions are not here: the bulkhead bounds them, and how many are normal only callers know.
LIMITS: Mapping[str, str] = {
    "auto_fix.force_health_check": "30 per minute",
    "auto_fix.test_import": "60 per minute",
    "auto_fix.fix": "30 per minute",
    "edge_functions.health_check": "30 per minute",
}

View = Callable[..., Any]


class RateLimits:
    """What each caller has asked for; outlives the application, so a swap forgets nothing.

    Args:
        load: imports a module, or returns None where that fails.
        max_counts: how many counts are kept, each of one origin and endpoint.
    """

    def __init__(
        self, load: Callable[[str], ModuleType | None], *, max_counts: int = MAX_ORIGINS
    ) -> None:
        self._max = max_counts
        self._load = load
        self._lock = threading.Lock()
        self._limiter: Limiter | None = None

    def init_app(self, app: Flask) -> None:
        """Limit the views of the table that this application has."""
        for endpoint, limit in LIMITS.items():
            if endpoint in app.view_functions:
                app.view_functions[endpoint] = self.limited(app.view_functions[endpoint], limit)

    def limited(self, view: View, limit: str) -> View:
        """The view with a limit, from the moment at which flask-limiter can be imported.

        The view raises RateLimited when its caller has used the limit up.
        """

        @functools.wraps(view)
        def guarded(**arguments: Any) -> Any:  # noqa: ANN401 - the view's own
            limiter = self._limiter or self._make()
            if limiter is None:
                return view(**arguments)
            self._forget(limiter)
            decorated: View = limiter.limit(limit)(view)
            return decorated(**arguments)

        return guarded

    def counted(self) -> int:
        """How many counts are kept."""
        storage: Any = self._limiter.storage if self._limiter else None
        return len(storage.expirations) if storage else 0

    def _forget(self, limiter: Limiter) -> None:
        """Bound the counts: the oldest tenth goes.

        The storage itself forgets them only when their minute is over, and whoever has many
        addresses begins many in a minute.
        """
        if self.counted() >= self._max:
            storage: Any = limiter.storage
            for key in list(storage.expirations)[: -(-self._max // 10)]:
                storage.clear(key)

    def _make(self) -> Limiter | None:
        with self._lock:
            module = None if self._limiter else self._load("flask_limiter")
            if module is None:
                return self._limiter
            # Imported here because the limits are there before Flask itself is, where it is healed.
            from flask import Flask, request

            def refuse(breached: RequestLimit) -> None:
                raise RateLimited(breached.reset_at - time.time())

            limiter: Limiter = module.Limiter(
                lambda: origin_of(request.remote_addr), storage_uri="memory://", on_breach=refuse
            )
            # It hangs a check on every request of the application that it is given. This one serves
            # nobody; the limited views check for themselves.
            limiter.init_app(Flask(__name__))
            self._limiter = limiter
            return limiter

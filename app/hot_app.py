"""The WSGI callable that a server runs: the application with its per-worker services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from app.health import HealthService
from app.reconciler import Reconciler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask


class HotApplication:
    """Serves the application that ``factory`` builds.

    Building happens in the constructor. Threads begin with ``start``, which belongs after the fork
    of a pre-forking server, and end with ``stop``.
    """

    def __init__(self, factory: Callable[[], Flask]) -> None:
        self.app = factory()
        self._reconciler = Reconciler(self.app.extensions["auto_fixer"], self._health)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        return self.app(environ, start_response)

    def start(self) -> None:
        """Start the services of this process."""
        self._reconciler.start()

    def stop(self) -> None:
        """Stop them and close what is open."""
        self._reconciler.stop()
        self.app.extensions["edge"].close()

    def _health(self) -> HealthService:
        health: HealthService = self.app.extensions["health"]
        return health

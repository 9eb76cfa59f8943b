"""The WSGI callable that a server runs: the application of the moment, with its services."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.isolation.reconciler import Reconciler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask

    from app.services import Services

logger = logging.getLogger(__name__)

Factory = Callable[[Mapping[str, Any] | None], "Flask"]


class HotApplication:
    """Serves what ``factory`` builds, and swaps in a newer build when a blueprint comes back.

    A request is answered by the application that it met first, so none is lost in a swap. Building
    happens in the constructor; threads begin with ``start``, which belongs after the fork of a
    pre-forking server, and end with ``stop``.

    Args:
        factory: builds an application; ``SERVICES`` in its argument are those to build it on.
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._app = factory(None)
        self._reconciler = Reconciler(self.services, self.rebuild, self._prove)
        #: Calls something in one of the threads that answer requests, and waits for it.
        self._in_thread: Callable[[Callable[[], object]], object] = lambda call: call()

    @property
    def app(self) -> Flask:
        """The application that serves now."""
        return self._app

    @property
    def services(self) -> Services:
        """What all its applications share."""
        services: Services = self._app.extensions["services"]
        return services

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        return self._app(environ, start_response)

    def rebuild(self) -> bool:
        """Build an application beside the one that serves, then serve it.

        One that cannot be built is logged, and the old one goes on: then False.
        """
        started = time.monotonic()
        try:
            fresh = self._factory({"SERVICES": self.services})
        except Exception:
            logger.exception("application cannot be rebuilt, the old one goes on")
            return False
        self._app = fresh
        seconds = round(time.monotonic() - started, 3)
        logger.info("application swapped", extra={"fields": {"seconds": seconds}})
        return True

    def start(self, in_thread: Callable[[Callable[[], object]], object] | None = None) -> None:
        """Start the services of this process when it has shown that it answers requests.

        Where it does not, for what an import has done to it, the process ends. ``in_thread`` calls
        something in one of the threads that answer requests, and waits for it.
        """
        self._in_thread = in_thread or self._in_thread
        self._prove()
        # First: it takes locks of this process's own, and the others have it look at once.
        self.services.health.start()
        self.services.monitor.start()
        self._reconciler.start()

    def _prove(self) -> None:
        def answer() -> None:
            # That an answer comes is what counts.
            with suppress(Exception), self._app.test_request_context("/livez"):
                self._app.full_dispatch_request()

        try:
            with self.services.imports.proving():
                self._in_thread(answer)
        except Exception:
            # It is not proven, and so this process ends soon.
            logger.exception("process cannot answer itself")

    def drain(self) -> None:
        """Go on answering, begin no heal, and say that this process is not ready: it will end."""
        self.services.draining.set()
        self.services.edge.drain(self.services.settings.graceful_timeout)
        self.services.fixer.stop()

    def stop(self) -> None:
        """Stop them and close what is open."""
        self.services.fixer.stop()
        self._reconciler.stop()
        self.services.monitor.stop()
        self.services.health.stop()
        self.services.workers.close()
        self.services.imports.close()
        self.services.edge.close()
        self.services.tracing.stop()
        self.services.notes.flush()

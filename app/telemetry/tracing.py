"""Traces of requests, of calls to edge functions and of heals; none until there is a way to send.

Which spans there are is decided here and by those who make them. How they are sent is the business
of :mod:`app.telemetry.otel`, which is imported only where an endpoint is configured.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from app.healing.background import BoundedCall
from app.healing.backoff import Backoff
from app.healing.journal import Attempt
from app.telemetry.context import Trace, begun
from app.utils.auto_fix import AutoFixer

logger = logging.getLogger(__name__)

#: Imported by name, so that nothing of OpenTelemetry is loaded before it is wanted.
SENDER = "app.telemetry.otel"
#: First and longest pause, in seconds, between two tries to import it.
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
#: Seconds that the import may hold its caller up before it goes on in its thread.
PATIENCE = 2.0
#: Seconds that stopping waits for the last spans to be sent.
FLUSH_WAIT = 2.0


class Span:
    """Something that goes on until it is ended. This one is not sent; it has its place in a trace.

    Args:
        trace: that place, so that a caller's trace goes on through this service.
    """

    __slots__ = ("trace",)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def end(
        self, *, status: int | None = None, error: str | None = None, route: str | None = None
    ) -> None:
        """End it; later calls are ignored.

        Args:
            status: the HTTP status of the answer.
            error: what kind of failure it was, when the status does not say so.
            route: the rule that a request matched.
        """


class Tracer:
    """Makes spans and never fails or delays what they are about; those of this one are not sent."""

    def request(self, parent: Trace | None, method: str, path: str, scheme: str) -> Span:  # noqa: ARG002
        """A request to this service; ``parent`` is the caller's span."""
        return Span(begun(parent))

    def call(self, parent: Trace | None, function: str, method: str, url: str) -> Span:  # noqa: ARG002
        """A call of an edge function, made for the request of ``parent``."""
        return Span(begun(parent))

    def heal(self, attempt: Attempt) -> None:
        """An attempt that is over, made for the current request if there is one."""

    def close(self) -> None:
        """Send what has not been sent."""


class Tracing:
    """The tracer of this process, which sends nothing until ``try_start`` can make one that does.

    Args:
        endpoint: where traces are sent; None for nowhere.
        fixer: imports OpenTelemetry, and heals it in the background when it is missing.
    """

    def __init__(self, endpoint: str | None, fixer: AutoFixer) -> None:
        self.tracer = Tracer()
        self._endpoint = endpoint
        self._fixer = fixer
        self._imports = Backoff(FIRST_RETRY, LAST_RETRY)

    def try_start(self) -> None:
        """Start to send traces if an endpoint is set and it is possible by now; call it repeatedly.

        Belongs after the fork of a pre-forking server: what sends has a thread of its own.
        """
        if self._endpoint is None or not self._imports.due:
            return
        sender = self._fixer.resilient_blueprint_import(SENDER, heal=False, patience=PATIENCE)
        if sender is None:
            self._imports.failed()
            report = self._fixer.import_report(SENDER)
            if report is not None and report.diagnosis is not None:
                self._fixer.heal_in_background(report.diagnosis)
            return
        endpoint, self._endpoint = self._endpoint, None
        try:
            self.tracer = sender.tracer(endpoint)
        except Exception:
            # The SDK has variables of its own. What is wrong with one costs traces, nothing else.
            logger.exception("traces cannot be begun")
        else:
            logger.info("traces are begun")

    def attempted(self, attempt: Attempt) -> None:
        """Make a span of an attempt to heal."""
        self.tracer.heal(attempt)

    def stop(self) -> None:
        """Send what has not been sent, if that can be done in FLUSH_WAIT seconds."""
        self._endpoint = None
        last, self.tracer = self.tracer, Tracer()
        if type(last) is not Tracer:
            with suppress(TimeoutError):
                BoundedCall(last.close, "flush traces").wait(FLUSH_WAIT)

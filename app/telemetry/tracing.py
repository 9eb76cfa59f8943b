"""Traces of requests, of calls to edge functions and of heals; none until there is a way to send.

Which spans there are is decided here and by those who make them. How they are sent is the business
of :mod:`app.telemetry.otel`, which is imported only where an endpoint is configured.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from types import ModuleType
from typing import Protocol

from app.healing.background import BoundedCall
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


class Span(Protocol):
    """Something that goes on until it is ended."""

    @property
    def trace(self) -> Trace:
        """Its place in its trace."""

    def end(
        self, *, status: int | None = None, error: str | None = None, route: str | None = None
    ) -> None:
        """It is over; a second end is none.

        Args:
            status: the HTTP status that it came to.
            error: what kind of failure it was, when the status does not say so.
            route: the rule that a request matched.
        """


class Tracer(Protocol):
    """Makes spans, and never fails or delays what they are about."""

    def request(self, parent: Trace | None, method: str, path: str, scheme: str) -> Span:
        """A request to this service; ``parent`` is the caller's span."""

    def call(self, parent: Trace | None, function: str, method: str, url: str) -> Span:
        """A call of an edge function, made for the request of ``parent``."""

    def heal(self, attempt: Attempt) -> None:
        """An attempt that is over, made for the current request if there is one."""

    def close(self) -> None:
        """Send what has not been sent."""


class NullSpan:
    """A span that nobody hears of; it has its place, so that a caller's trace goes on."""

    __slots__ = ("trace",)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def end(
        self, *, status: int | None = None, error: str | None = None, route: str | None = None
    ) -> None:
        """Say nothing."""


class NullTracer:
    """Makes spans that nobody hears of."""

    __slots__ = ()

    def request(self, parent: Trace | None, method: str, path: str, scheme: str) -> NullSpan:  # noqa: ARG002
        """A place in the caller's trace, or in a new one."""
        return NullSpan(begun(parent))

    def call(self, parent: Trace | None, function: str, method: str, url: str) -> NullSpan:  # noqa: ARG002
        """A place below the request."""
        return NullSpan(begun(parent))

    def heal(self, attempt: Attempt) -> None:
        """Say nothing."""

    def close(self) -> None:
        """There is nothing to send."""


class Tracing:
    """The tracer of this process: a null one until ``follow`` can make one that sends.

    Args:
        endpoint: where traces are sent; with None ``follow`` never does anything.
        fixer: imports OpenTelemetry, and heals it in the background when it is missing.
    """

    def __init__(self, endpoint: str | None, fixer: AutoFixer) -> None:
        self.tracer: Tracer = NullTracer()
        self._wanted = endpoint
        self._fixer = fixer
        self._due, self._pause = 0.0, FIRST_RETRY

    def follow(self) -> None:
        """Begin to send traces if that is wanted and possible by now; needs a thread to be in.

        Belongs after the fork of a pre-forking server: what sends has a thread of its own.
        """
        if self._wanted is None or time.monotonic() < self._due:
            return
        sender = self._fixer.resilient_blueprint_import(SENDER, heal=False, patience=PATIENCE)
        if sender is not None:
            endpoint, self._wanted = self._wanted, None
            self._begin(sender, endpoint)
            return
        self._due = time.monotonic() + self._pause
        self._pause = min(LAST_RETRY, self._pause * 2)
        report = self._fixer.import_report(SENDER)
        if report is not None and report.diagnosis is not None:
            self._fixer.heal_in_background(report.diagnosis)

    def attempted(self, attempt: Attempt) -> None:
        """Make a span of an attempt to heal."""
        self.tracer.heal(attempt)

    def stop(self) -> None:
        """Send what has not been sent, if that can be done in FLUSH_WAIT seconds."""
        self._wanted = None
        last, self.tracer = self.tracer, NullTracer()
        if not isinstance(last, NullTracer):
            with suppress(TimeoutError):
                BoundedCall(last.close, "flush traces").wait(FLUSH_WAIT)

    def _begin(self, sender: ModuleType, endpoint: str) -> None:
        try:
            self.tracer = sender.tracer(endpoint)
        except Exception:
            # The SDK has variables of its own. What is wrong with one costs traces, nothing else.
            logger.exception("traces cannot be begun")
        else:
            logger.info("traces are begun")

"""Traces over OpenTelemetry's SDK, sent as OTLP over HTTP from a thread of its own.

Imported through the engine and only where an endpoint is configured: see
:mod:`app.telemetry.tracing`. The SDK's own variables count (``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_BSP_*`` ...). Attributes are named
by the semantic conventions for HTTP; no query string is among them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import set_span_in_context

from app.healing.journal import Attempt
from app.healing.kind import Outcome
from app.telemetry.context import Trace, current
from app.telemetry.metrics import METHODS
from app.telemetry.tracing import Span, Tracer

logger = logging.getLogger(__name__)

SERVICE = "royal-equips-orchestrator"
#: What the SDK calls a service that has no name.
_UNNAMED = "unknown_service"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
#: The first status that makes a span a failed one: for who answers, and for who asked.
_SERVER_ERROR, _CLIENT_ERROR = 500, 400
_OTHER_METHOD = "_OTHER"
_NANOSECONDS = 1_000_000_000


def tracer(endpoint: str) -> Tracer:
    """A tracer that sends to ``endpoint``, or to where the SDK's own variable for traces says.

    Starts the thread that sends. With ``OTEL_SDK_DISABLED`` there is no such thread, and no span
    is sent.
    """
    url = None if os.environ.get(_TRACES_ENDPOINT) else f"{endpoint.rstrip('/')}/v1/traces"
    # What sends is named by the SDK's variables, or else by the name of this service.
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if isinstance(provider.get_tracer(SERVICE), api.NoOpTracer):
        return Tracer()
    records = SdkRecords()
    exporter = Exporter(OTLPSpanExporter(url), records)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracer(provider, records)


class OtelTracer(Tracer):
    """Makes spans that are sent in batches. A collector that is slow or gone costs spans alone."""

    def __init__(self, provider: TracerProvider, records: SdkRecords) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._records = records

    def request(self, parent: Trace | None, method: str, path: str, scheme: str) -> OtelSpan:
        """A server span, named after its method until its route is known."""
        known = method in METHODS
        attributes = {
            "http.request.method": method if known else _OTHER_METHOD,
            "url.path": path,
            "url.scheme": scheme,
        }
        name, context = method if known else "HTTP", _below(parent, remote=True)
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes)
        return OtelSpan(span, _SERVER_ERROR, name)

    def call(self, parent: Trace | None, function: str, method: str, url: str) -> OtelSpan:
        """A client span."""
        parts = urlsplit(url)
        attributes: dict[str, str | int] = {
            "edge.function": function,
            "http.request.method": method if method in METHODS else _OTHER_METHOD,
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }
        name, context = f"{method} {function}", _below(parent)
        span = self._tracer.start_span(name, context, SpanKind.CLIENT, attributes)
        return OtelSpan(span, _CLIENT_ERROR)

    def heal(self, attempt: Attempt) -> None:
        """A span of the attempt's own time."""
        end, work = attempt.at or time.time(), current()
        attributes = {
            "auto_fix.kind": attempt.kind,
            "auto_fix.module": attempt.subject,
            "auto_fix.cause": str(attempt.cause),
            "auto_fix.outcome": str(attempt.outcome),
        }
        span = self._tracer.start_span(
            f"heal {attempt.subject}",
            _below(work.trace if work else None),
            attributes=attributes,
            start_time=int((end - attempt.seconds) * _NANOSECONDS),
        )
        if attempt.outcome != Outcome.HEALED:
            _fail(span, str(attempt.outcome))
        span.end(int(end * _NANOSECONDS))

    def close(self) -> None:
        """Send what has not been sent, and end the thread."""
        self._provider.shutdown()
        self._records.remove()


class OtelSpan(Span):
    """A span under way."""

    __slots__ = ("_failed_from", "_name", "_span")

    def __init__(self, span: api.Span, failed_from: int, name: str = "") -> None:
        self._span, self._failed_from, self._name = span, failed_from, name
        place = span.get_span_context()
        super().__init__(
            Trace(
                api.format_trace_id(place.trace_id),
                api.format_span_id(place.span_id),
                f"{place.trace_flags:02x}",
                place.trace_state.to_header(),
            )
        )

    def end(
        self, *, status: int | None = None, error: str | None = None, route: str | None = None
    ) -> None:
        """It is over; the SDK takes a first end only, and warns of a second."""
        span = self._span
        if not span.is_recording():
            return
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if route is not None:
            span.set_attribute("http.route", route)
            span.update_name(f"{self._name} {route}")
        if error is not None or (status is not None and status >= self._failed_from):
            _fail(span, error or str(status))
        span.end()


class Exporter(SpanExporter):
    """Sends, and says once that this fails and once that it works again."""

    def __init__(self, exporter: SpanExporter, records: SdkRecords) -> None:
        self._exporter, self._records = exporter, records
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            fields = {"reason": self._records.reason}
            logger.warning("traces cannot be sent, spans are lost", extra={"fields": fields})
        elif self._failing and not failing:
            logger.info("traces are sent again")
            self._records.forget()
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


class SdkRecords(logging.Handler):
    """What the SDK logs: each kind of line once, and the exporter's only as a reason.

    The SDK logs every batch and every retry that fails, for as long as a collector is down.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason = ""
        self._seen: set[tuple[str, object]] = set()
        self._logger = logging.getLogger("opentelemetry")
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on, unless it is one more of its kind."""
        kind = (record.name, record.msg)
        if record.name.startswith("opentelemetry.exporter"):
            self.reason = record.getMessage()
        elif kind not in self._seen:
            self._seen.add(kind)
            logging.getLogger().handle(record)

    def forget(self) -> None:
        """Pass each kind on once more."""
        self._seen.clear()

    def remove(self) -> None:
        """Let the SDK's loggers be as they were."""
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _below(parent: Trace | None, *, remote: bool = False) -> Context:
    """The context of a child of ``parent``, or of a root, whatever the thread is in."""
    if parent is None:
        return Context()
    place = api.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=remote,
        trace_flags=api.TraceFlags(int(parent.flags, 16)),
        trace_state=api.TraceState.from_header([parent.state]) if parent.state else None,
    )
    return set_span_in_context(api.NonRecordingSpan(place), Context())


def _fail(span: api.Span, kind: str) -> None:
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", kind)

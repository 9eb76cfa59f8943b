"""A small OTLP collector on loopback: it decodes what it is sent, and can be slow or absent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

#: Seconds after which an answer that is held back is given up.
FOREVER = 60
_KINDS = {1: "internal", 2: "server", 3: "client"}
_FAILED = 2


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids are lower-case hexadecimal, ``parent`` is empty for a root."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    seconds: float
    attributes: Mapping[str, object]
    service: object


@dataclass
class Collector:
    """What has arrived so far. While ``gate`` is not set, answers are held back."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The endpoint, as OTEL_EXPORTER_OTLP_ENDPOINT has it."""
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Span]:
        """The spans of this name."""
        return [span for span in tuple(self.spans) if span.name == name]


@contextmanager
def collector(port: int = 0, *, holds: bool = False) -> Iterator[Collector]:
    """Run a collector; with ``holds`` it answers nobody until its gate is set."""
    running = Collector()
    if not holds:
        running.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            running.gate.wait(FOREVER)
            status = 200 if self.path == "/v1/traces" else 404
            if status == 200:
                running.headers.append(dict(self.headers.items()))
                running.spans.extend(_spans(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        running.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield running
        finally:
            running.gate.set()
            server.shutdown()


def _spans(body: bytes) -> Iterator[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    kind=_KINDS.get(span.kind, ""),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    failed=span.status.code == _FAILED,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    attributes=_attributes(span.attributes),
                    service=service,
                )


def _attributes(given: Iterator[KeyValue]) -> dict[str, object]:
    return {item.key: _value(item.value) for item in given}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None

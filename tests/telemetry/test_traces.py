"""Traces of a real server at a real collector: what there is, and what hangs together."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import World
from tests.edge.served import function
from tests.serving.house import House
from tests.support.collector import Collector, Span, collector
from tests.support.edge_server import EdgeServer, edge_server
from tests.support.processes import Response, Server, http_request, wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CANARY = "canary-9f3a"
#: The SDK sends what it has after so many milliseconds, and gives up after so many seconds.
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
#: What the log says of a collector that takes nothing.
LOST = "traces cannot be sent, spans are lost"
TRACED = """
import sys

from flask import Blueprint, Response, request

bp = Blueprint("traced", __name__)


@bp.get("/hello/<name>")
def hello(name):
    return name


@bp.get("/boom")
def boom():
    raise RuntimeError("boom")


@bp.get("/breaks")
def breaks():
    def body():
        yield b"x"
        raise ValueError("out of chunks")
    return Response(body())


@bp.get("/heals")
def heals():
    import red_wheel
    return red_wheel.version


@bp.get("/loaded")
def loaded():
    return {"names": [name for name in sys.modules if name.startswith("opentelemetry")]}
"""


@pytest.fixture
def house(tmp_path: Path, world: World) -> House:
    """A house whose blueprint is traced."""
    house = House(tmp_path, world)
    house.add("traced", TRACED)
    return house


@pytest.fixture
def edge() -> Iterator[EdgeServer]:
    """A real server of functions."""
    with edge_server() as running:
        yield running


@contextlib.contextmanager
def _traced(house: House, endpoint: str, **environ: str) -> Iterator[Server]:
    """A server that sends traces, from its first request on."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **QUICK, **environ}
    with house.serve(workers=1, **settings) as server:
        wait_until(lambda: "traces are begun" in server.log_text, timeout=30)
        yield server


@contextlib.contextmanager
def _sent(house: House, **environ: str) -> Iterator[tuple[Server, Collector]]:
    with collector() as running, _traced(house, running.url, **environ) as server:
        yield server, running


def _functions(house: House, *tables: str) -> dict[str, str]:
    file = house.root / "functions.toml"
    file.write_text("".join(tables))
    return {"EDGE_FUNCTIONS_FILE": str(file)}


def _span(found: Collector, name: str) -> Span:
    """The one span of a name, when it has arrived."""
    (span,) = wait_until(lambda: found.named(name), timeout=20)
    return span


def _ask(server: Server, path: str, **headers: str) -> Response:
    return http_request(server.url + path, headers=headers)


class TestRequests:
    """The span of a request."""

    def test_in_the_callers_trace(self, house: House) -> None:
        """It is a child of the caller's, named by method and rule, and says what HTTP says."""
        with _sent(house) as (server, found):
            _ask(
                server,
                f"/traced/hello/ann?token={CANARY}",
                traceparent=f"00-{TRACE}-{SPAN}-01",
                tracestate="vendor=1",
                cookie=CANARY,
            )
            span = _span(found, "GET /traced/hello/<name>")
            assert (span.kind, span.trace, span.parent) == ("server", TRACE, SPAN)
            assert not span.failed
            assert span.service == "royal-equips-orchestrator"
            assert span.attributes == {
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "http.route": "/traced/hello/<name>",
                "url.path": "/traced/hello/ann",
                "url.scheme": "http",
            }
            assert CANARY not in repr(found.spans)

    def test_a_trace_of_its_own(self, house: House) -> None:
        """Without a caller's it is a root, and the log has its trace."""
        with _sent(house) as (server, found):
            _ask(server, "/traced/hello/ann", **{"X-Request-ID": "own"})
            span = _span(found, "GET /traced/hello/<name>")
            assert span.parent == ""
            (line,) = wait_until(lambda: server.lines(request_id="own"))
            assert line["trace_id"] == span.trace

    def test_failures(self, house: House) -> None:
        """A 500 and a body that breaks off are failures; a 404 is the caller's."""
        with _sent(house) as (server, found):
            _ask(server, "/traced/boom")
            _ask(server, "/nowhere")
            with contextlib.suppress(Exception):
                _ask(server, "/traced/breaks")
            boom = _span(found, "GET /traced/boom")
            assert (boom.failed, boom.attributes["error.type"]) == (True, "500")
            broken = _span(found, "GET /traced/breaks")
            assert (broken.failed, broken.attributes["error.type"]) == (True, "ValueError")
            lost = _span(found, "GET")
            assert (lost.failed, lost.attributes["http.response.status_code"]) == (False, 404)
            assert "http.route" not in lost.attributes

    def test_made_up_methods(self, house: House) -> None:
        """A method that a caller made up is no attribute."""
        with _sent(house) as (server, found):
            http_request(f"{server.url}/livez", method="BREW")
            assert _span(found, "HTTP /livez").attributes["http.request.method"] == "_OTHER"

    def test_the_sdks_variables_count(self, house: House) -> None:
        """Name, headers, sampler and the endpoint for traces are as the SDK's variables say."""
        with collector() as found:
            settings = {
                "OTEL_SERVICE_NAME": "shop",
                "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=seven",
                "OTEL_TRACES_SAMPLER": "parentbased_always_off",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{found.url}/v1/traces",
            }
            with _traced(house, "http://127.0.0.1:9", **settings) as server:
                _ask(server, "/traced/boom", **{"X-Request-ID": "unsampled"})
                _ask(server, "/traced/hello/ann", traceparent=f"00-{TRACE}-{SPAN}-01")
                assert _span(found, "GET /traced/hello/<name>").service == "shop"
                assert found.headers[0]["x-tenant"] == "seven"
                asked = {"request_id": "unsampled", "logger": "app.access"}
                (line,) = wait_until(lambda: server.lines(**asked))
                assert set(line["trace_id"]) != {"0"}
            assert not found.named("GET /traced/boom")

    def test_the_last_ones_are_sent(self, house: House) -> None:
        """A server that stops sends what it has first."""
        with collector() as found:
            with _traced(house, found.url, OTEL_BSP_SCHEDULE_DELAY="60000") as server:
                _ask(server, "/traced/hello/ann")
                assert not found.spans
            assert found.named("GET /traced/hello/<name>")


class TestEdgeCalls:
    """The span of a call to an edge function."""

    def test_below_the_request(self, house: House, edge: EdgeServer) -> None:
        """It is the request's child, and what the function gets is its place in the trace."""
        functions = _functions(house, function("f", edge.url))
        with _sent(house, **functions) as (server, found):
            answer = _ask(
                server, f"/api/edge-functions/f/invoke/a/b?q={CANARY}", **{"X-Request-ID": "e-1"}
            )
            assert answer.headers.get_all("X-Request-ID") == ["e-1"]
            call = _span(found, "GET f")
            request = _span(found, "GET /api/edge-functions/<name>/invoke/<path:path>")
            assert (call.kind, call.trace, call.parent) == ("client", request.trace, request.id)
            assert call.attributes == {
                "edge.function": "f",
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "server.address": "127.0.0.1",
                "server.port": int(edge.url.rpartition(":")[2]),
            }
            (seen,) = [request for request in edge.seen if request.path.startswith("/a/b")]
            assert seen.headers["Traceparent"].startswith(f"00-{call.trace}-{call.id}-0")
            assert seen.headers["X-Request-ID"] == "e-1"

    def test_failures(self, house: House, edge: EdgeServer) -> None:
        """A function's error status, and a call without an answer, are failures with a kind."""
        functions = _functions(
            house,
            function("failing", f"{edge.url}/failing"),
            function("gone", "http://127.0.0.1:9"),
        )
        with _sent(house, **functions) as (server, found):
            for name in ("failing", "gone"):
                _ask(server, f"/api/edge-functions/{name}/invoke")
            assert _span(found, "GET failing").attributes["error.type"] == "500"
            gone = _span(found, "GET gone")
            assert (gone.failed, gone.attributes["error.type"]) == (True, "connect")
            assert "http.response.status_code" not in gone.attributes

    def test_streams(self, house: House, edge: EdgeServer) -> None:
        """An answer that is passed on as it comes is over when its end is passed on."""
        functions = _functions(house, function("f", f"{edge.url}/events"))
        with _sent(house, **functions) as (server, found):
            edge.gate.set()
            _ask(server, "/api/edge-functions/f/invoke")
            assert not _span(found, "GET f").failed


class TestHeals:
    """The span of an attempt to heal."""

    def test_below_the_request_that_caused_it(self, house: House) -> None:
        """It says what, why and how it ended, and has the attempt's own time."""
        house.world.publish("red_wheel")
        with _sent(house) as (server, found):
            _ask(server, "/traced/heals")
            heal = _span(found, "heal red_wheel")
            requests = wait_until(lambda: found.named("GET /traced/heals"))
            assert (heal.trace, heal.parent) == (requests[0].trace, requests[0].id)
            assert (heal.kind, heal.failed) == ("internal", False)
            assert heal.seconds > 0
            assert heal.attributes == {
                "auto_fix.kind": "dependency",
                "auto_fix.module": "red_wheel",
                "auto_fix.cause": "missing_distribution",
                "auto_fix.outcome": "healed",
            }

    def test_of_nobodys_request(self, house: House) -> None:
        """A heal that the reconciler began, and that fails, is a failed root."""
        code = "raise RuntimeError('broken wheel')\n"
        house.world.publish("blue_wheel", files={"blue_wheel/__init__.py": code})
        house.required = ("blue_wheel",)
        house.world.index.hold()
        with _sent(house) as (_, found):
            house.world.index.release()
            heal = wait_until(lambda: found.named("heal blue_wheel"), timeout=30)[0]
            assert (heal.parent, heal.failed) == ("", True)
            assert heal.attributes["error.type"] == heal.attributes["auto_fix.outcome"]
            assert heal.attributes["error.type"] == "probe_failed"


class TestWithout:
    """Where there is nothing to send to, or nothing to send with."""

    def test_no_endpoint(self, house: House) -> None:
        """Without an endpoint nothing of OpenTelemetry is loaded."""
        with house.serve(workers=1) as server:
            assert server.get("/traced/hello/ann").status == 200
            assert server.get("/traced/loaded").json() == {"names": []}

    def test_switched_off(self, house: House) -> None:
        """OTEL_SDK_DISABLED means no spans; requests and their ids are as ever."""
        with _sent(house, OTEL_SDK_DISABLED="true") as (server, found):
            _ask(server, "/traced/hello/ann", **{"X-Request-ID": "off"})
            (line,) = wait_until(lambda: server.lines(request_id="off"))
            assert set(line["trace_id"]) != {"0"}
        assert not found.spans

    def test_a_wrong_variable(self, house: House) -> None:
        """A variable that the SDK refuses costs the traces and is logged once."""
        with (
            collector() as running,
            house.serve(
                workers=1,
                OTEL_EXPORTER_OTLP_ENDPOINT=running.url,
                OTEL_BSP_MAX_QUEUE_SIZE="-1",
            ) as server,
        ):
            wait_until(lambda: "traces cannot be begun" in server.log_text)
            assert server.get("/traced/hello/ann").status == 200


class TestCollector:
    """A collector that is gone or slow is nobody else's trouble."""

    def test_down_and_back(self, house: House) -> None:
        """Requests go on; the log says once that traces are lost and once that they are sent."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with _traced(house, f"http://127.0.0.1:{port}") as server:
            for _ in range(20):
                assert _ask(server, "/traced/hello/ann").status == 200
            assert wait_until(lambda: server.lines(event=LOST), timeout=20)[0]["reason"]
            # Batch after batch is lost until one is not.
            with collector(port) as found:
                wait_until(lambda: _sends(server, found), timeout=30)
                assert wait_until(lambda: server.lines(event="traces are sent again"))
            assert len(server.lines(event=LOST)) == 1
            names = [line["logger"] for line in server.lines()]
            assert not [name for name in names if name.startswith(("opentelemetry", "urllib3"))]

    def test_slow(self, house: House) -> None:
        """With a collector that never answers, requests are answered and the server can stop."""
        with collector(holds=True) as slow, _traced(house, slow.url) as server:
            for _ in range(20):
                assert _ask(server, "/traced/hello/ann").status == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            assert not server.lines(level="CRITICAL")


def _sends(server: Server, found: Collector) -> bool:
    _ask(server, "/traced/hello/ann")
    return bool(found.spans)

"""Edge functions through the real server: real Workers, bad functions, bad callers."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.edge.served import INVOKE, function, head, raw, resident_kib, served
from tests.support.edge_server import EdgeServer, edge_server
from tests.support.processes import STALL, Server, http_get, http_request, wait_until
from tests.support.workerd import workers

LARGE = 256 * 1024 * 1024
TIMEOUT = 1.0


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The URLs of real Workers."""
    with workers(tmp_path_factory.mktemp("workers")) as urls:
        yield urls


@pytest.fixture(scope="module")
def functions() -> Iterator[EdgeServer]:
    """Functions that behave in ways that a Worker cannot."""
    with edge_server() as running:
        yield running


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, real: Mapping[str, str], functions: EdgeServer
) -> Iterator[Server]:
    """A server with all of them."""
    headers = '[function.headers]\nAuthorization = "Bearer ${WORKER_KEY}"\n'
    tables = [
        function("healthy", real["healthy"]) + headers,
        function("slow", real["slow"], timeout=TIMEOUT),
        function("failing", real["failing"]),
        function("streaming", real["streaming"], max_request=LARGE, max_response=LARGE),
        function("endless", real["streaming"], stream=True),
        function("redirecting", real["redirecting"]),
        function("upload", functions.url, timeout=TIMEOUT, max_request=LARGE),
        *(function(f"bad{n}", functions.url, timeout=TIMEOUT) for n in range(20)),
    ]
    directory = tmp_path_factory.mktemp("house")
    with served(directory, "".join(tables), WORKER_KEY="canary-token") as server:
        yield server


#: One function for each bad answer, so that no breaker opens for the next test.
_numbers = itertools.count()


@pytest.fixture
def bad() -> str:
    """A function of the misbehaving server that nobody has called yet."""
    return f"bad{next(_numbers) % 20}"


class TestWorkers:
    """Real Workers, called through the service."""

    def test_healthy(self, house: Server) -> None:
        """A call reaches the Worker with what belongs to it, and its answer comes back."""
        response = http_request(
            house.url + INVOKE.format("healthy", "/a/b?x=1"),
            method="POST",
            body=b'{"n": 1}',
            headers={"Content-Type": "application/json", "X-Request-ID": "req-1"},
        )
        seen = response.json()
        assert (response.status, seen["method"], seen["path"]) == (200, "POST", "/a/b?x=1")
        assert (seen["body"], seen["requestId"]) == ('{"n": 1}', "req-1")
        assert seen["authorization"] == "Bearer canary-token"
        assert seen["traceparent"].startswith("00-")
        assert response.headers["X-Request-ID"] == "req-1"
        assert response.headers["X-Edge-Transport"] == "aiohttp"

    def test_secrets_stay(self, house: Server) -> None:
        """A registered header's value is in no list, no status, no metric and no log."""
        for path in ("", "/status", "/metrics", "/health-check"):
            assert "canary-token" not in house.get(f"/api/edge-functions{path}").text
        assert "canary-token" not in house.get("/metrics").text + house.log_text

    def test_slow(self, house: Server) -> None:
        """A slow Worker answers within its timeout or not at all."""
        assert house.get(INVOKE.format("slow", "/200")).text == "at last"
        started = time.monotonic()
        response = house.get(INVOKE.format("slow", "/60000"))
        assert (response.status, response.json()["code"]) == (504, "edge_timeout")
        assert time.monotonic() - started < TIMEOUT + STALL

    def test_streaming(self, house: Server) -> None:
        """Events arrive one by one; large bodies pass in both directions."""
        answer = raw(house, head("GET", INVOKE.format("streaming", "/events")))
        assert answer.raw.count(b"data: ") == 3
        assert answer.raw.endswith(b"0\r\n\r\n")
        url = house.url + INVOKE.format("streaming", "/count")
        counted = http_request(url, method="POST", body=b"x" * 20_000_000)
        assert counted.json() == {"bytes": 20_000_000}
        assert len(house.get(INVOKE.format("streaming", "/megabytes")).body) == 8 * 1024 * 1024

    @pytest.mark.parametrize("path", ["/metadata", "/loopback", "/itself"])
    def test_redirecting(self, house: Server, path: str) -> None:
        """A redirect goes nowhere, and says not where to."""
        response = house.get(INVOKE.format("redirecting", path))
        assert (response.status, response.json()["code"]) == (502, "edge_redirect")
        assert "Location" not in response.headers

    def test_failing(self, house: Server) -> None:
        """A failing Worker's answer is passed on until the breaker opens; then 503 at once."""
        for path in ("", "/throws", "", "/throws", ""):
            response = house.get(INVOKE.format("failing", path))
            assert response.status == 500
            assert "canary" not in response.text
        response = house.get(INVOKE.format("failing", ""))
        assert (response.status, response.json()["code"]) == (503, "circuit_open")
        assert 20 < int(response.headers["Retry-After"]) <= 33
        assert house.get("/healthz").status == 200
        assert house.get("/readyz").status == 200

    def test_health_check(self, house: Server) -> None:
        """Checks say how each Worker is; status and metrics show what was counted."""
        assert house.get(INVOKE.format("healthy", "")).status == 200
        found: dict[str, bool] = {}

        def checked() -> bool:
            body = house.get("/api/edge-functions/health-check").json()
            found.update({result["name"]: result["healthy"] for result in body["results"]})
            # Three failures in a row are one too many, whoever has called it before.
            return not found["failing"]

        wait_until(checked)
        assert found["healthy"]
        assert found["slow"]
        assert found["redirecting"]
        assert not found["failing"]

        def shown() -> str:
            listed = house.get("/api/edge-functions/status").json()["functions"]
            return str({f["name"]: f["health"]["state"] for f in listed}["failing"])

        # Each worker knows of its own checks at once, and of another's a moment later.
        wait_until(lambda: shown() == "unhealthy")
        counted = house.get("/api/edge-functions/metrics").json()["functions"]
        assert counted["healthy"]["ok"] >= 1
        assert counted["healthy"]["latency_ms"]["p99"] > 0
        series = house.get("/metrics").text
        assert 'edge_calls_total{function="healthy",outcome="ok"}' in series
        assert 'edge_call_duration_seconds_bucket{function="healthy",le="+Inf"}' in series
        assert 'edge_function_up{function="failing"} 0.0' in series

    def test_endless(self, house: Server) -> None:
        """An answer without end is refused; one that has begun is broken off; memory holds."""
        before = resident_kib(house.process.pid)
        answer = raw(house, head("GET", INVOKE.format("endless", "/endless")))
        assert answer.status == 200
        assert not answer.raw.endswith(b"0\r\n\r\n")
        assert len(answer.raw) < 2 * 1024 * 1024
        assert resident_kib(house.process.pid) - before < 64 * 1024
        assert "Traceback" not in house.log_text


class TestBadFunctions:
    """Functions that misbehave on the wire."""

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("hang", 504, "edge_timeout"),
            ("drip", 504, "edge_timeout"),
            ("drip-head", 504, "edge_timeout"),
            ("late-body", 504, "edge_timeout"),
            ("endless", 502, "edge_too_large"),
            ("oversized", 502, "edge_too_large"),
            ("cut", 502, "edge_protocol"),
            ("garbage", 502, "edge_protocol"),
            ("silent-close", 502, "edge_protocol"),
            ("bad-header", 502, "edge_protocol"),
            ("split", 502, "edge_protocol"),
            ("no-length", 502, "edge_protocol"),
            ("odd-status", 502, "edge_protocol"),
            ("metadata", 502, "edge_redirect"),
            ("bad-json", 200, None),
        ],
    )
    def test_ends_clearly(
        self, house: Server, bad: str, path: str, status: int, code: str | None
    ) -> None:
        """Each ends in its status within the deadline, and the worker serves on."""
        before = resident_kib(house.process.pid)
        started = time.monotonic()
        response = house.get(INVOKE.format(bad, f"/{path}"))
        assert time.monotonic() - started < TIMEOUT + STALL
        assert response.status == status
        if code is not None:
            assert response.json()["code"] == code
        assert house.get("/livez").status == 200
        assert resident_kib(house.process.pid) - before < 64 * 1024


class TestBadCallers:
    """Callers that misbehave."""

    def test_gigabyte(self, house: Server) -> None:
        """A body of a gigabyte is refused when it is announced, and cut off when it is not."""
        before = resident_kib(house.process.pid)
        path = INVOKE.format("healthy", "")
        chunk = b"x" * 1024 * 1024
        answer = raw(house, head("POST", path, "Content-Length: 1073741824"), *[chunk] * 20)
        assert answer.status in {413, 0}
        chunks = [b"100000\r\n" + chunk + b"\r\n"] * 20
        answer = raw(house, head("POST", path, "Transfer-Encoding: chunked"), *chunks)
        assert answer.status in {413, 0}
        refused = raw(house, head("POST", path, "Content-Length: 1073741824"))
        assert refused.status == 413
        assert resident_kib(house.process.pid) - before < 64 * 1024

    @pytest.mark.parametrize(
        "field", ["Content-Length: 1000", "Content-Length: 300000", "Transfer-Encoding: chunked"]
    )
    def test_slow_body(self, house: Server, field: str) -> None:
        """A body that drips ends with the call's time, and its connection with it."""
        pieces = [b"1\r\nx\r\n" if "chunked" in field else b"x"] * 40
        answer = raw(
            house, head("POST", INVOKE.format("upload", "/count"), field), *pieces, pause=0.1
        )
        assert answer.status == 408
        assert b"request_timeout" in answer.raw
        assert house.get("/livez").status == 200

    def test_body_that_breaks_off(self, house: Server, functions: EdgeServer) -> None:
        """A caller that goes away in the middle leaves the worker unhurt."""
        before = functions.paths().count("/count")
        for _ in range(10):
            port = int(house.url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                request = head("POST", INVOKE.format("upload", "/count"), "Content-Length: 9000")
                connection.sendall(request + b"x")
        url = house.url + INVOKE.format("upload", "/count")
        wait_until(lambda: http_request(url, method="POST", body=b"xyz").text == "3")
        assert functions.paths().count("/count") - before >= 1

    @pytest.mark.parametrize(
        "path",
        ["/../x", "/%2e%2e/x", "/a/..%2f..%2fb", "/a%5cb", "/%00", "/%0dHost:%20x", "/."],
    )
    def test_path_that_could_leave(self, house: Server, functions: EdgeServer, path: str) -> None:
        """A path that could lead elsewhere is refused, and calls nobody."""
        before = len(functions.seen)
        answer = raw(house, head("GET", INVOKE.format("upload", path)))
        assert answer.status == 400
        assert b"invalid_path" in answer.raw
        assert not [s for s in functions.seen[before:] if s.path != "/health"]

    def test_encoded_slash_stays_below(self, house: Server) -> None:
        """An encoded slash is a slash below the function's URL, never another host."""
        response = house.get(INVOKE.format("healthy", "/a%2fb/%2f%2fother.example.com"))
        assert response.json()["path"] == "/a/b///other.example.com"

    def test_hop_by_hop(self, house: Server, functions: EdgeServer, bad: str) -> None:
        """Host, hop-by-hop fields and credentials stay with the service."""
        fields = (
            "Keep-Alive: canary",
            "Proxy-Authorization: canary",
            "TE: trailers, canary",
            "Cookie: canary",
            "Authorization: canary",
            "X-Forwarded-Host: canary",
        )
        answer = raw(house, head("GET", INVOKE.format(bad, "/echo"), *fields))
        assert answer.status == 200
        assert b"canary" not in answer.raw
        assert functions.url.removeprefix("http://").encode() in answer.raw

    def test_probes_stay_fast(self, house: Server) -> None:
        """With edge calls at their share, what is beyond is refused and probes answer."""
        statuses: list[int] = []

        def call(name: str) -> None:
            statuses.append(house.get(INVOKE.format(name, "/800")).status)

        callers = [threading.Thread(target=call, args=("slow",)) for _ in range(16)]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        times = []
        for _ in range(3):
            started = time.monotonic()
            assert house.get("/livez").status == 200
            times.append(time.monotonic() - started)
        # The machine may stall one of them; a service without a free thread would stall all.
        assert min(times) < 0.3
        for caller in callers:
            caller.join()
        assert statuses.count(503) >= 8
        assert 1 <= statuses.count(200) <= 4


@pytest.mark.parametrize(
    ("method", "path", "status", "length"),
    [
        ("HEAD", "/x", 200, b"100000000"),
        ("HEAD", "/large-chunked", 200, None),
        ("GET", "/no-content", 204, None),
        ("GET", "/not-modified", 304, None),
    ],
)
def test_no_body(
    house: Server, bad: str, method: str, path: str, status: int, length: bytes | None
) -> None:
    """An answer without a body has the length that the function gives for HEAD, or none at all."""
    answer = raw(house, head(method, INVOKE.format(bad, path)))
    fields, _, body = answer.raw.partition(b"\r\n\r\n")
    lengths = [line for line in fields.split(b"\r\n") if line.lower().startswith(b"content-length")]
    assert (answer.status, body) == (status, b"")
    assert lengths == ([] if length is None else [b"Content-Length: " + length])
    assert b"Transfer-Encoding" not in fields


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("kind", ["gthread", "eventlet"])
def test_stream_of_known_length(tmp_path: Path, kind: str, version: str) -> None:
    """A stream has the function's length, so that a caller sees whether it came to its end."""
    with edge_server() as functions:
        registry = function("f", functions.url, max_response=LARGE)
        with served(tmp_path, registry, WORKER_CLASS=kind) as server:

            def ask(path: str) -> tuple[bytes, int]:
                request = head("GET", INVOKE.format("f", path)).replace(
                    b"/1.1", b"/%s" % version.encode(), 1
                )
                fields, _, body = raw(server, request).raw.partition(b"\r\n\r\n")
                return fields, len(body)

            fields, size = ask("/large")
            assert b"\r\nContent-Length: %d" % size in fields
            assert size == 3 * 1024 * 1024
            fields, size = ask("/large-cut")
            assert b"\r\nContent-Length: %d\r\n" % (4 * 1024 * 1024) in fields + b"\r\n"
            assert size <= 2 * 1024 * 1024
            fields, size = ask("/large-chunked")
            assert b"Content-Length" not in fields
            assert size >= 3 * 1024 * 1024


@pytest.mark.parametrize("kind", ["gthread", "eventlet"])
def test_stream_that_breaks_off_at_once(tmp_path: Path, kind: str) -> None:
    """While nothing was sent its caller is answered with a status, and the log has the reason."""
    with edge_server() as functions:
        registry = function("f", functions.url, max_response=LARGE, stream=True)
        with served(tmp_path, registry, WORKER_CLASS=kind) as server:
            answer = server.get(INVOKE.format("f", "/cut-at-once"))
            assert (answer.status, answer.json()["code"]) == (502, "edge_protocol")
            assert answer.json()["function"] == "f"
            broken = rf"edge answer broken off.*{answer.json()['id']}"
            wait_until(lambda: re.search(broken, server.log_text))


def _often(server: Server, path: str, times: int) -> set[int]:
    """The statuses of so many answers."""
    return {server.get(path).status for _ in range(times)}


def test_registry_follows_its_file(tmp_path: Path, real: Mapping[str, str]) -> None:
    """A function that is added can be called without a restart; a broken one stays as it was."""
    with served(tmp_path, function("a", real["healthy"]), WEB_CONCURRENCY="2") as server:
        file = tmp_path / "functions.toml"
        assert server.get(INVOKE.format("b", "")).status == 404
        file.write_text(function("a", real["healthy"]) + function("b", real["healthy"]))

        def both_know() -> bool:
            body = server.get("/api/edge-functions/status").json()
            return len(body["workers"]) == 2 and body["total"] == 2

        wait_until(lambda: server.get(INVOKE.format("b", "")).status == 200)
        # The kernel hands connections to the same worker for a while: ask often.
        wait_until(lambda: both_know() and _often(server, INVOKE.format("b", ""), 150) == {200})
        broken = "[[function]]\nname = 'a'\nurl = 'nonsense'\n"
        file.write_text(broken + function("b", real["healthy"]))

        def reported() -> bool:
            body = server.get("/api/edge-functions").json()["configuration"]
            return bool(body["state"] == "invalid" and body["faults"][0]["line"] == 3)

        wait_until(reported)
        for name in ("a", "b"):
            assert server.get(INVOKE.format(name, "")).status == 200
        wait_until(lambda: server.get("/healthz").json()["status"] == "degraded", timeout=20)


def test_health_checks_that_hang(tmp_path: Path) -> None:
    """However many ask for checks of a function that hangs, the probes are answered meanwhile."""
    with edge_server() as functions:
        hung = function("hung", functions.url, timeout=60, health_path="/gated")
        with served(tmp_path, hung, THREADS="4") as server, ThreadPoolExecutor(12) as pool:
            path = server.url + "/api/edge-functions/health-check"
            asked = [pool.submit(http_get, path, timeout=60) for _ in range(12)]
            wait_until(lambda: sum(call.done() for call in asked) == 11)
            assert [server.get("/livez").status for _ in range(8)] == [200] * 8
            refused = [call.result().json()["code"] for call in asked if call.done()]
            assert refused == ["edge_saturated"] * 11
            functions.gate.set()


def test_a_stop_while_a_call_hangs(functions: EdgeServer, tmp_path: Path) -> None:
    """The caller gets an answer before the process ends, whatever time the function has.

    A function that waits for a variable keeps no other from being served, and health names it.
    """
    unset = '[function.headers]\nAuthorization = "Bearer ${ABSENT_KEY}"\n'
    tables = function("long", functions.url, timeout=120.0) + function("off", functions.url) + unset
    with served(tmp_path, tables, GRACEFUL_TIMEOUT="6") as server:
        health = server.get("/api/auto-fix/force-health-check").json()
        assert health["overall_status"] == "degraded"
        assert health["checks"]["edge_functions"]["reason"] == "variable_unset"
        assert "ABSENT_KEY" in health["checks"]["edge_functions"]["advice"]
        assert server.get(INVOKE.format("off", "")).status == 404
        before = len(functions.seen)
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(server.get, INVOKE.format("long", "/hang"))
            wait_until(lambda: len(functions.seen) > before)
            server.process.send_signal(signal.SIGTERM)
            answer = calling.result()
        assert answer.status in {502, 504}
        assert server.process.wait(60) == 0

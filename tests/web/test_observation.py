"""What a real server notes of each request: ids on every line, an access line, an answer's id."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.settings.declarations import HealingSettings
from tests.conftest import World
from tests.serving.house import House
from tests.support.index import SimpleIndex
from tests.support.processes import Response, Server, http_request, stop, wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
#: A made-up secret in a query string and a header.
CANARY = "canary-9f3a"
NOISY = """
import logging
import threading
from contextvars import copy_context

from flask import Blueprint, Response, current_app, request

from app.telemetry import logs

bp = Blueprint("noisy", __name__)
logger = logging.getLogger("noisy")
together = threading.Barrier(4)


@bp.get("/hello/<name>")
def hello(name):
    logger.info("greeting", extra={"fields": {"name": name}})
    return name


@bp.get("/together/<name>")
def meet(name):
    logger.info("begun", extra={"fields": {"name": name}})
    together.wait(20)
    logger.info("met", extra={"fields": {"name": name}})
    return name


@bp.get("/engine")
def engine():
    current_app.extensions["auto_fixer"].import_module("nobody_has_this")
    return "tried"


@bp.get("/heals")
def heals():
    import red_wheel
    return red_wheel.version


@bp.get("/stream")
def stream():
    def body():
        for number in range(3):
            logger.info("chunk", extra={"fields": {"number": number}})
            yield b"x" * 1000
    return Response(body())


@bp.get("/breaks")
def breaks():
    def body():
        yield b"x"
        raise RuntimeError("out of chunks")
    return Response(body())


@bp.get("/endless")
def endless():
    def body():
        while True:
            yield b"x" * 65536
    return Response(body())


@bp.get("/boom")
def boom():
    raise RuntimeError("boom")


@bp.get("/bound")
def bound():
    logger.info("before")
    logs.bind(user=request.args["user"])
    logger.info("after")
    return "bound"
"""


@pytest.fixture
def noisy(tmp_path: Path, world: World) -> House:
    """A house whose blueprint logs, streams and fails."""
    return _noisy(tmp_path, world)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need no settings of their own; nothing is healed there."""
    root = tmp_path_factory.mktemp("noisy")
    settings = HealingSettings(home=root / "home", lock=root / "test.lock")
    settings.lock.touch()
    with SimpleIndex(root) as index:
        house = _noisy(root, World(root, index, settings))
        house.add("broken", "raise RuntimeError('broken')")
        with _served(house, AUTO_FIX_MODE="report") as running:
            yield running


def _noisy(root: Path, world: World) -> House:
    house = House(root, world)
    house.add("noisy", NOISY)
    return house


@contextlib.contextmanager
def _served(house: House, **environ: str) -> Iterator[Server]:
    with house.serve(workers=1, ready="/noisy/hello/you", **environ) as server:
        yield server


def _access(server: Server, identity: str) -> dict[str, Any]:
    """The access line of a request, when it is there."""
    lines = wait_until(lambda: server.lines(logger="app.access", request_id=identity))
    assert len(lines) == 1
    return lines[0]


def _ask(server: Server, path: str, identity: str = "", **more: Any) -> Response:  # noqa: ANN401
    headers = {"X-Request-ID": identity} if identity else {}
    return http_request(server.url + path, headers={**headers, **more.pop("headers", {})}, **more)


class TestIds:
    """Whose request a line belongs to."""

    def test_on_all_lines_of_a_request(self, server: Server) -> None:
        """The caller's id and trace are on the view's line and the access line, and come back."""
        trace = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        answer = _ask(server, "/noisy/hello/ann", "ann-1", headers=trace)
        assert answer.headers["X-Request-ID"] == "ann-1"
        access = _access(server, "ann-1")
        (view,) = server.lines(logger="noisy", name="ann")
        assert access["trace_id"] == view["trace_id"] == TRACE
        assert view["request_id"] == "ann-1"

    @pytest.mark.parametrize(
        "given", ["a b", "x" * 200, "-leading", "nämé", f"{'a' * 10}<script>", "a,b"]
    )
    def test_others_are_replaced(self, server: Server, given: str) -> None:
        """An id that is not a plain one is not taken over, nor written anywhere."""
        identity = _ask(server, "/livez", given.encode().decode("latin-1")).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", identity)
        assert _ask(server, "/noisy/hello/x", given.encode().decode("latin-1")).status == 200
        assert not server.lines(request_id=given)

    def test_invalid_traces_are_replaced(self, server: Server) -> None:
        """A trace context that is none begins a new trace."""
        bad = ["", "00-0-0-00", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01",
               f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01"]  # fmt: skip
        for number, context in enumerate(bad):
            _ask(server, "/noisy/hello/x", f"n-{number}", headers={"traceparent": context})
        found = {_access(server, f"n-{n}")["trace_id"] for n in range(len(bad))}
        assert len(found) == len(bad)
        assert TRACE not in found

    def test_a_later_version_goes_on(self, server: Server) -> None:
        """What a later version of the W3C's header has more is left aside, as it asks for."""
        given = {"traceparent": f"cc-{TRACE}-{SPAN}-01-what-the-future-brings"}
        _ask(server, "/noisy/hello/x", "later", headers=given)
        assert _access(server, "later")["trace_id"] == TRACE

    def test_engine_records(self, server: Server) -> None:
        """What the engine logs for a request has the request's ids."""
        _ask(server, "/noisy/engine", "engine-1")
        (line,) = server.lines(event="module cannot be imported", **{"import": "nobody_has_this"})
        assert line["request_id"] == "engine-1"

    def test_heals_in_the_background(self, noisy: House) -> None:
        """A heal that a request has caused is logged under its ids, though another thread heals."""
        noisy.world.publish("red_wheel")
        with _served(noisy) as server:
            _ask(server, "/noisy/heals", "heal-1")
            (line,) = wait_until(lambda: server.lines(event="fault healed"))
            assert line["request_id"] == "heal-1"

    @pytest.mark.parametrize("worker", ["gthread", "eventlet"])
    def test_concurrent_requests_do_not_mix(self, noisy: House, worker: str) -> None:
        """Requests that are under way at once keep their lines apart, on green threads, too."""
        with _served(noisy, WORKER_CLASS=worker) as server, ThreadPoolExecutor(4) as clients:
            names = ["a", "b", "c", "d"]
            list(clients.map(lambda n: _ask(server, f"/noisy/together/{n}", f"id-{n}"), names))
            for name in names:
                lines = server.lines(logger="noisy", name=name)
                assert [line["event"] for line in lines] == ["begun", "met"]
                assert {line["request_id"] for line in lines} == {f"id-{name}"}

    def test_nothing_is_left_behind(self, noisy: House) -> None:
        """A thread's next request has neither the ids nor the bound fields of the one before."""
        with _served(noisy, THREADS="1") as server:
            _ask(server, "/noisy/bound?user=ann", "first")
            _ask(server, "/noisy/bound?user=bob")
            wait_until(lambda: len(server.lines(event="after")) == 2)
            before, after = server.lines(event="before"), server.lines(event="after")
            assert [line["user"] for line in after] == ["ann", "bob"]
            assert all("user" not in line for line in before[1:])
            assert before[1]["request_id"] != "first"

    def test_streamed_answers(self, server: Server) -> None:
        """What is logged while the body is made has the ids, and the line counts all of it."""
        assert len(_ask(server, "/noisy/stream", "s-1").body) == 3000
        access = _access(server, "s-1")
        assert (access["bytes"], access["status"]) == (3000, 200)
        assert len(server.lines(event="chunk", request_id="s-1")) == 3

    def test_errors(self, server: Server) -> None:
        """An error's id in the answer is the request's, and the log has the trace under it."""
        answer = _ask(server, "/noisy/boom", "boom-1")
        assert (answer.status, answer.json()["id"]) == (500, "boom-1")
        assert answer.headers["X-Request-ID"] == "boom-1"
        assert _access(server, "boom-1")["status"] == 500
        (line,) = server.lines(event="request failed unexpectedly")
        assert line["request_id"] == "boom-1"
        assert "RuntimeError: boom" in line["exception"]

    @pytest.mark.parametrize(
        ("method", "path", "status", "route"),
        [
            ("GET", "/nowhere", 404, "unmatched"),
            ("DELETE", "/livez", 405, "/livez"),
            ("DELETE", "/noisy/hello/ann", 405, "/noisy/hello/<name>"),
            ("GET", "/broken/x", 503, "/broken"),
        ],
    )
    def test_every_answer_has_an_id(
        self, server: Server, method: str, path: str, status: int, route: str
    ) -> None:
        """What Flask or the quarantine answers has one, too, and the route that was meant."""
        identity = f"e-{method}-{path.strip('/')}"
        answer = _ask(server, path, identity, method=method)
        assert (answer.status, answer.headers["X-Request-ID"]) == (status, identity)
        access = _access(server, identity)
        assert (access["route"], access["status"]) == (route, status)


class TestAccessLine:
    """One line for each request."""

    def test_fields(self, server: Server) -> None:
        """It says what was asked, by rule and by path, and what it came to; no query, no header."""
        _ask(server, f"/noisy/hello/ann?token={CANARY}", "f-1", headers={"Cookie": CANARY})
        line = _access(server, "f-1")
        assert line.pop("time")
        assert line.pop("pid") > 0
        assert line.pop("milliseconds") > 0
        assert re.fullmatch("[0-9a-f]{32}", line.pop("trace_id"))
        assert line == {
            "level": "INFO",
            "logger": "app.access",
            "event": "request",
            "client": "127.0.0.1",
            "method": "GET",
            "route": "/noisy/hello/<name>",
            "path": "/noisy/hello/ann",
            "status": 200,
            "bytes": 3,
            "request_id": "f-1",
        }
        assert CANARY not in server.log_text

    def test_hostile_paths(self, server: Server) -> None:
        """A path that means to forge a line is a field of one line."""
        _ask(server, "/no%0A%7B%22level%22%3A%22FORGED%22%7D/n%C3%A4m%C3%A9", "h-1")
        assert _access(server, "h-1")["path"] == '/no\n{"level":"FORGED"}/nämé'
        assert not server.lines(level="FORGED")

    def test_made_up_methods(self, server: Server) -> None:
        """A method that a caller made up is told as another one."""
        assert _ask(server, "/livez", "m-1", method="BREW").status == 405
        assert _access(server, "m-1")["method"] == "other"

    @pytest.mark.parametrize(
        ("setting", "told"),
        [("all", ["hello", "nowhere"]), ("errors", ["nowhere"]), ("off", [])],
    )
    def test_setting(self, noisy: House, setting: str, told: list[str]) -> None:
        """ACCESS_LOG says which; probes that succeed never have a line."""
        with _served(noisy, ACCESS_LOG=setting) as server:
            for path in (
                "/noisy/hello/x",
                "/nowhere",
                "/livez",
                "/readyz",
                "/startupz",
                "/metrics",
            ):
                _ask(server, path, path.split("/")[-1] if path == "/nowhere" else "hello")
            lines = [] if setting == "off" else wait_until(lambda: _own(server, "nowhere"))
            lines += _own(server, "hello")
            assert sorted(line["request_id"] for line in lines) == told

    def test_an_answer_that_breaks_off(self, noisy: House) -> None:
        """A body that fails after its status is told as broken off, even among errors alone."""
        with _served(noisy, ACCESS_LOG="errors") as server:
            with pytest.raises(http.client.IncompleteRead):
                _ask(server, "/noisy/breaks", "b-1")
            line = _access(server, "b-1")
            assert (line["status"], line["broken_off"]) == (200, "RuntimeError")

    def test_a_client_that_goes_away(self, server: Server) -> None:
        """An answer that the client did not take is told as such."""
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /noisy/endless HTTP/1.1\r\nHost: x\r\nX-Request-ID: gone\r\n\r\n")
            assert client.recv(1000)
        assert _access(server, "gone")["broken_off"] == "client"

    def test_gunicorn_writes_none_of_its_own(self, server: Server) -> None:
        """There is one access log, not two."""
        _ask(server, "/noisy/hello/x", "g-1")
        _access(server, "g-1")
        assert not server.lines(logger="gunicorn.access")

    @pytest.mark.parametrize("worker", ["sync", "gthread", "eventlet"])
    def test_none_is_lost_at_the_end(self, noisy: House, worker: str) -> None:
        """A worker that stops just after its requests writes their lines, each once."""
        identities = [f"last-{number}" for number in range(30)]
        with _served(noisy, WORKER_CLASS=worker) as server:
            for identity in identities:
                _ask(server, "/noisy/hello/x", identity)
            assert stop(server.process) == 0
            told = [line["request_id"] for line in server.lines(logger="app.access")]
            assert sorted(n for n in told if n.startswith("last-")) == sorted(identities)

    @pytest.mark.parametrize("worker", ["sync", "gthread"])
    def test_preloaded(self, noisy: House, worker: str) -> None:
        """With the application loaded before the fork, and in both workers, it is the same."""
        with noisy.serve(
            "--preload", workers=1, ready="/noisy/hello/you", WORKER_CLASS=worker, THREADS="1"
        ) as server:
            _ask(server, "/noisy/hello/x", "p-1")
            assert _access(server, "p-1")["route"] == "/noisy/hello/<name>"


def _own(server: Server, identity: str) -> list[dict[str, Any]]:
    return server.lines(logger="app.access", request_id=identity)

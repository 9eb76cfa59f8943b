"""The eventlet worker: the whole suite of calls on green threads, and a real gunicorn with it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import World
from tests.edge.served import INVOKE, function, head, raw, served
from tests.serving.house import House
from tests.support.edge_server import edge_server
from tests.support.processes import ROOT, answers, http_request, serve, stop, wait_until

#: What eventlet and its resolver do that a test run would take for a fault.
KNOWN = (
    "ignore:please use dns:DeprecationWarning",
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

#: Seconds for a hundred tests in one process: twenty on an idle machine, each on its own bounded.
GREEN_TIMEOUT = 300


@pytest.mark.timeout(GREEN_TIMEOUT + 10)
def test_the_suite_of_calls_on_green_threads() -> None:
    """Every test of a transport passes in a process that eventlet has really patched."""
    warnings = [part for filter_ in KNOWN for part in ("-W", filter_)]
    command = [sys.executable, "-m", "tests.edge.green", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *warnings, "tests/edge/test_calls.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GREEN_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 70
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("way", ["variable", "argument", "preload"])
def test_health_and_edge_calls(tmp_path: Path, way: str) -> None:
    """It serves health and edge calls, many at once, says what it is, and ends gracefully."""
    settings = {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"}
    settings |= {"WEB_CONCURRENCY": "1"}
    arguments = {
        "variable": [],
        "argument": ["--worker-class", "eventlet"],
        "preload": ["--preload"],
    }[way]
    if way != "argument":
        settings["WORKER_CLASS"] = "eventlet"
    file = tmp_path / "functions.toml"
    with edge_server() as functions:
        functions.expect(20)
        hasty = function("hasty", functions.url, timeout=1.0, max_request=10_000_000)
        file.write_text(function("f", functions.url, timeout=20) + hasty)
        settings["EDGE_FUNCTIONS_FILE"] = str(file)
        with serve(tmp_path / "log", settings, arguments=arguments) as server:
            wait_until(lambda: not server.get("/api/auto-fix/health").json()["pending"])
            health = server.get("/api/auto-fix/health").json()
            assert health["overall_status"] == "healthy", health
            check = health["checks"]["edge_functions"]
            assert (check["ok"], check["fallback"]) == (True, "requests-eventlet")
            url = server.url + INVOKE.format("f", "/together")
            found: list[int] = []
            callers = [
                threading.Thread(target=lambda: found.append(http_request(url).status))
                for _ in range(20)
            ]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            assert found == [200] * 20
            hung = server.get(INVOKE.format("hasty", "/drip"))
            assert (hung.status, hung.headers["X-Edge-Transport"]) == (504, "requests-eventlet")
            body = [b"x"] * 30
            slow = head("POST", INVOKE.format("hasty", "/count"), "Content-Length: 300000")
            assert raw(server, slow, *body, pause=0.1).status == 408
            counted = server.url + INVOKE.format("hasty", "/count")
            assert http_request(counted, method="POST", body=b"x" * 3_000_000).text == "3000000"
            assert server.get("/livez").status == 200
            assert stop(server.process) == 0
        assert "the eventlet worker is deprecated, use gthread" in server.log_text
        # Under --preload eventlet comes too late to patch in silence, and says so.
        assert way == "preload" or "Traceback" not in server.log_text


def test_graceful_shutdown(tmp_path: Path) -> None:
    """A call that is under way is answered; idle connections hold nothing up."""
    with (
        edge_server() as functions,
        served(
            tmp_path, function("f", functions.url, timeout=20), WORKER_CLASS="eventlet"
        ) as server,
    ):
        found: list[int] = []
        url = server.url + INVOKE.format("f", "/gated")
        caller = threading.Thread(target=lambda: found.append(http_request(url).status))
        caller.start()
        wait_until(lambda: "/gated" in functions.paths())
        idle = threading.Thread(
            target=raw, args=(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        )
        idle.start()
        time.sleep(0.3)
        threading.Timer(1.0, functions.gate.set).start()
        started = time.monotonic()
        assert stop(server.process) == 0
        assert time.monotonic() - started < 6
        caller.join()
        idle.join()
        assert found == [200]
        assert not answers(server.url + "/livez")


def test_heal(tmp_path: Path, world: World) -> None:
    """A blueprint that lacks its dependency comes live in an eventlet worker too."""
    house = House(tmp_path, world)
    world.publish("red_wheel")
    house.needs("red", "red_wheel")
    world.index.hold()
    with house.serve(WORKER_CLASS="eventlet", AUTO_FIX_MODE="heal") as server:
        assert server.get("/red").status == 503
        assert server.get("/livez").status == 200
        world.index.release()
        wait_until(lambda: all(server.get("/red").status == 200 for _ in range(8)), timeout=30)
        assert server.get("/livez").status == 200
        assert stop(server.process) == 0

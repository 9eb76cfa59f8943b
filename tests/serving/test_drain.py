"""A service that is told to stop says so before it stops to listen, and resets nobody."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.serving.house import House
from tests.support.processes import Server, serve, stop, wait_until

CLIENTS = 6
WORKERS = ["gthread", "sync", "eventlet"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and nothing to heal."""
    return {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"}


def connection(server: Server) -> http.client.HTTPConnection:
    """A connection to the server, not yet open."""
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)


class Caller:
    """A client that asks again and again, on one connection as long as the server has it open."""

    def __init__(self, server: Server, ended: threading.Event) -> None:
        self._connection, self._ended = connection(server), ended
        self.answers: list[tuple[int, str]] = []

    def run(self) -> str:
        """Ask until nothing listens; returns how that was noticed."""
        while not self._ended.is_set():
            try:
                self._connection.connect()
            except ConnectionRefusedError:
                return "refused"
            while True:
                self._connection.request("GET", "/livez")
                answer = self._connection.getresponse()
                answer.read()
                closes = answer.headers["Connection"]
                self.answers.append((answer.status, closes))
                time.sleep(0.02)
                if closes == "close":
                    self._connection.close()
                    break
        return "the server went on"


def readiness(server: Server) -> Iterator[tuple[int, dict[str, object], str]]:
    """What /readyz says, on a connection each, until nothing listens."""
    while True:
        asking = connection(server)
        try:
            asking.connect()
        except ConnectionRefusedError:
            return
        asking.request("GET", "/readyz")
        answer = asking.getresponse()
        body = answer.read()
        problem = json.loads(body) if answer.status == 503 else {}
        yield answer.status, problem, answer.headers["Connection"]
        asking.close()


@pytest.mark.parametrize("worker", WORKERS)
def test_clients_that_go_on_asking(tmp_path: Path, environ: dict[str, str], worker: str) -> None:
    """Each gets all its answers, the last of a connection saying so, until connecting fails."""
    with serve(tmp_path / "log", {**environ, "WORKER_CLASS": worker, "THREADS": "4"}) as server:
        ended = threading.Event()
        callers = [Caller(server, ended) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(caller.run) for caller in callers]
            wait_until(lambda: all(len(caller.answers) > 3 for caller in callers))
            server.process.send_signal(signal.SIGTERM)
            said = list(readiness(server))
            ended_with = server.process.wait(20)
            ended.set()
            assert [one.result() for one in running] == ["refused"] * CLIENTS
        assert {status for caller in callers for status, _ in caller.answers} == {200}
        assert all(caller.answers[-1] == (200, "close") for caller in callers)
        assert ended_with == 0
        status, problem, closes = said[-1]
        assert (status, problem["code"], problem["failed"]) == (503, "not_ready", ["draining"])
        assert closes == "close"
        assert "Traceback" not in server.log_text


@pytest.mark.parametrize("worker", WORKERS)
def test_a_quiet_service_ends_soon(tmp_path: Path, environ: dict[str, str], worker: str) -> None:
    """Nobody asks, so nobody is waited for."""
    # One worker, which is up when it answers: a signal that meets one that boots is lost to it.
    given = {**environ, "WORKER_CLASS": worker, "WEB_CONCURRENCY": "1", "GRACEFUL_TIMEOUT": "20"}
    with serve(tmp_path / "log", given) as server:
        started = time.monotonic()
        assert stop(server.process, timeout=40) == 0
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(("seconds", "answered"), [("2", False), ("20", True)])
def test_a_request_under_way(house: House, seconds: str, *, answered: bool) -> None:
    """It has GRACEFUL_TIMEOUT to end."""
    code = """
import threading
from flask import Blueprint
bp = Blueprint("long", __name__)
@bp.get("")
def long():
    threading.Event().wait(6)
    return "done"
"""
    house.add("long", code)
    with house.serve(workers=1, GRACEFUL_TIMEOUT=seconds) as server:
        asking = connection(server)
        asking.request("GET", "/long")
        wait_until(lambda: server.get("/livez").status == 200)
        server.process.send_signal(signal.SIGTERM)
        if answered:
            assert asking.getresponse().read() == b"done"
        else:
            with pytest.raises(ConnectionError):
                asking.getresponse()
        server.process.wait(20)


def test_a_connection_without_a_request_is_ended_without_a_reset(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """A client that holds one open sees its end."""
    with serve(tmp_path / "log", environ) as server:
        asking = connection(server)
        asking.request("GET", "/livez")
        assert asking.getresponse().read() == b"alive\n"
        assert asking.sock is not None
        server.process.send_signal(signal.SIGTERM)
        assert asking.sock.recv(1) == b""
        asking.close()
        assert server.process.wait(20) == 0

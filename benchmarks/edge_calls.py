"""Edge calls under load: against plain ``requests.post``, beside probes, at an open breaker."""

from __future__ import annotations

import re
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.harness import Measurement, directory
from tests.support.fast_functions import fast_functions
from tests.support.processes import Server, http_get, serve

CALLERS, SECONDS, ROUNDS = 16, 4, 3
#: As many threads as callers in one worker; the same for both.
THREADS = {"THREADS": "32", "WEB_CONCURRENCY": "2"}
POST = """
wrk.method = "POST"
wrk.body = '{"order": 7, "items": [1, 2, 3]}'
wrk.headers["Content-Type"] = "application/json"
"""
PLAIN = """
import requests
from flask import Flask, Response, request

class Application(Flask):
    def start(self): pass
    def stop(self): pass

app = Application(__name__)

@app.post("/call")
def call():
    answer = requests.post(
        {url!r}, data=request.get_data(), headers={{"Content-Type": "application/json"}}, timeout=5
    )
    return Response(answer.content, answer.status_code, content_type="application/json")

@app.get("/livez")
def livez():
    return "alive"
"""
_RATE = re.compile(r"Requests/sec: +([0-9.]+)")
_P99 = re.compile(r"99% +([0-9.]+)(us|ms|s)")
_BAD = re.compile(r"Non-2xx or 3xx responses: ([0-9]+)")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk found; the latency in milliseconds."""

    rate: float
    p99: float
    refused: int


def measure() -> Iterator[Measurement]:
    """All of it with real gunicorn processes on loopback."""
    with directory() as root, fast_functions() as url:
        (root / "post.lua").write_text(POST)
        (root / "functions.toml").write_text(
            f'[[function]]\nname = "fast"\nurl = "{url}/fast"\n'
            f'[[function]]\nname = "slow"\nurl = "{url}/slow/100"\n'
            '[[function]]\nname = "down"\nurl = "http://127.0.0.1:9"\n'
            f'[[function]]\nname = "dead"\nurl = "{url}/dead"\ntimeout = 0.2\n'
        )
        yield from _against_plain(root, url)
        yield from _beside_probes(root)
        yield from _open_breaker(root, url)


def _environ(root: Path, **more: str) -> dict[str, str]:
    return {
        "AUTO_FIX_HOME": str(root / "home"),
        "AUTO_FIX_MODE": "report",
        "EDGE_FUNCTIONS_FILE": str(root / "functions.toml"),
        "LOG_LEVEL": "ERROR",
        **more,
    }


def _against_plain(root: Path, url: str) -> Iterator[Measurement]:
    (root / "plain.py").write_text(PLAIN.format(url=f"{url}/fast"))
    plain_arguments = ["--pythonpath", str(root), "plain:app"]
    rounds: list[tuple[Load, Load]] = []
    with (
        serve(root / "edge.log", _environ(root, **THREADS)) as edge,
        serve(root / "plain.log", _environ(root, **THREADS), arguments=plain_arguments) as plain,
    ):
        paths = ((edge, "/api/edge-functions/fast/invoke"), (plain, "/call"))
        for server, path in paths:
            _load(server.url + path, root / "post.lua", seconds=1)
        for _ in range(ROUNDS):
            ours, theirs = (_load(server.url + path, root / "post.lua") for server, path in paths)
            rounds.append((ours, theirs))
    details: dict[str, object] = {"edge, plain": [(vars_of(a), vars_of(b)) for a, b in rounds]}
    yield Measurement(
        what=f"invoke, small JSON, {CALLERS} callers, throughput against requests.post",
        rule="at least",
        target=1.5,
        measured=statistics.median(ours.rate / theirs.rate for ours, theirs in rounds),
        unit="times",
        details=details,
    )
    yield Measurement(
        what="the same, p99 against requests.post",
        rule="at most",
        target=1.0,
        measured=statistics.median(ours.p99 / theirs.p99 for ours, theirs in rounds),
        unit="times",
        details=details,
    )


def vars_of(load: Load) -> dict[str, float]:
    """Return the fields of a load."""
    return {"rate": load.rate, "p99 ms": load.p99, "refused": load.refused}


def _load(
    url: str, script: Path | None = None, seconds: int = SECONDS, callers: int = CALLERS
) -> Load:
    """What wrk finds."""
    command = ["wrk", "-t", "1", "-c", str(callers), "-d", f"{seconds}s", "--latency"]
    command += ["-s", str(script)] if script else []
    done = subprocess.run([*command, url], check=True, stdout=subprocess.PIPE, text=True)
    rate, p99, bad = (pattern.search(done.stdout) for pattern in (_RATE, _P99, _BAD))
    assert rate, done.stdout
    assert p99, done.stdout
    refused = int(bad[1]) if bad else 0
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], refused)


def _beside_probes(root: Path) -> Iterator[Measurement]:
    """Probes while more callers than the service lets through call a function of 100 ms."""
    with serve(root / "probes.log", _environ(root)) as server:
        load = threading.Thread(
            target=_load, args=(f"{server.url}/api/edge-functions/slow/invoke", None, 6, CALLERS)
        )
        load.start()
        time.sleep(1)
        times = sorted(_seconds(server, "/livez") for _ in range(400))
        load.join()
    yield Measurement(
        what=f"/livez p99 while {CALLERS} callers saturate edge calls",
        rule="at most",
        target=20,
        measured=times[int(len(times) * 0.99)] * 1000,
        unit="ms",
        details={"median ms": round(statistics.median(times) * 1000, 2)},
    )


def _open_breaker(root: Path, url: str) -> Iterator[Measurement]:
    with serve(root / "breaker.log", _environ(root, WEB_CONCURRENCY="1")) as server:
        path = "/api/edge-functions/dead/invoke"
        while server.get(path).status != 503:
            pass
        before = int(http_get(f"{url}/count").text)
        times = sorted(_seconds(server, path, status=503) for _ in range(500))
        reached = int(http_get(f"{url}/count").text) - before
        overhead = sorted(_seconds(server, "/livez") for _ in range(500))
    yield Measurement(
        what="answer of an open breaker, the median of 500, as its client sees it",
        rule="at most",
        target=2,
        measured=statistics.median(times) * 1000,
        unit="ms",
        details={
            "p99 ms": round(times[495] * 1000, 2),
            "/livez, median ms": round(statistics.median(overhead) * 1000, 2),
        },
    )
    yield Measurement(
        what="calls that reach the function meanwhile",
        rule="exactly",
        target=0,
        measured=reached,
        unit="",
    )


def _seconds(server: Server, path: str, status: int = 200) -> float:
    """One request on a connection of its own, as a probe sends it."""
    time.sleep(0.002)
    started = time.perf_counter()
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - started
    connection.close()
    assert answer.status == status
    return seconds

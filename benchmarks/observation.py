"""What being observed costs: health, probes, middleware and memory of a real gunicorn worker."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Timer

from benchmarks.harness import ROOT, Measurement
from benchmarks.served import house, pause, wrk
from tests.serving.house import House, all_workers
from tests.support.dripping_index import DrippingIndex
from tests.support.processes import Server, base_environ, serve, wait_until

#: Two things are compared in so many pairs of fresh servers: from one start to the next throughput
#: differs by a tenth, more than what is looked for.
PAIRS = 10
#: Rounds of wrk for each of a pair, after one to warm up; the seconds and connections of one.
ROUNDS, SECONDS, CONNECTIONS = 2, 2, 8
PROBES = 2000
CLIENTS, POLLING_SECONDS = 200, 25.0
#: Seconds between two polls of one client.
POLL = 1.0
SLOW_CHECK = 10.0
#: Seconds until a started worker idles, and for which it is watched then.
IDLE_SETTLES, IDLE_SECONDS = 10.0, 30.0
#: What is compared: a name to a server and the path that is asked of it.
Pair = Mapping[str, tuple[Server, str]]
CONSTANT = """
from flask import Blueprint, jsonify

bp = Blueprint("constant", __name__)


@bp.get("")
def constant():
    return jsonify(overall_status="healthy", errors_detected=[], fixes_applied=[])
"""
#: The same route in a Flask application that has nothing else.
BARE = """
from bp_constant import bp
from flask import Flask

class Application(Flask):
    def start(self): pass
    def stop(self): pass

app = Application(__name__)
app.register_blueprint(bp, url_prefix="/constant")

@app.get("/livez")
def livez():
    return "alive"
"""
#: What a worker loads, in the order in which it does.
PARTS = {
    "Flask and gunicorn's worker": "import flask, gunicorn.workers.gthread",
    "engine": "import app.utils.auto_fix as a; a.auto_fixer.mode",
    "requests": "import requests",
    "aiohttp": "import aiohttp",
    "prometheus-client": "import prometheus_client",
    "flask-limiter": "import flask_limiter",
    "application": "import app; application = app.create_app()",
}
PRINT_PARTS = """
import json
from pathlib import Path


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


found, before = {}, resident()
for name, code in PARTS.items():
    exec(code)
    after = resident()
    found[name], before = round(after - before, 1), after
print(json.dumps(found))
"""


def measure() -> Iterator[Measurement]:
    """Throughput first, then latency, then memory."""
    with house() as h:
        h.add("constant", CONSTANT)
        h.furnish()
        (h.directory / "bare.py").write_text(BARE)
        yield _health_against_constant(h)
        yield from _middleware(h)
        yield _liveness(h)
        yield _memory(h)
        yield _idle(h)
    yield from _slow_check()


def _health_against_constant(h: House) -> Measurement:
    @contextlib.contextmanager
    def pair() -> Iterator[Pair]:
        with _served(h) as server:
            yield {"health": (server, "/api/auto-fix/health"), "constant": (server, "/constant")}

    rates = _rates(pair)
    return _ratio("cached /api/auto-fix/health against a constant route, throughput", 0.95, rates)


def _middleware(h: House) -> Iterator[Measurement]:
    """The constant route with everything around it, and in an application that has nothing else."""
    for access_log in ("all", "off"):

        @contextlib.contextmanager
        def pair(access_log: str = access_log) -> Iterator[Pair]:
            with _served(h, ACCESS_LOG=access_log) as ours, _bare(h) as bare:
                yield {"with": (ours, "/constant"), "without": (bare, "/constant")}

        what = f"all middleware on against a bare Flask application, access log {access_log}"
        yield _ratio(what, 0.85, _rates(pair))


def _liveness(h: House) -> Measurement:
    with _served(h) as server:
        times = sorted(_probe_times(server, "/livez"))
    return Measurement(
        what=f"/livez p99 of {PROBES} probes, idle, each on a connection of its own",
        rule="at most",
        target=5,
        measured=times[int(PROBES * 0.99)] * 1000,
        unit="ms",
        details={"median ms": round(statistics.median(times) * 1000, 2)},
    )


def _memory(h: House) -> Measurement:
    with _served(h) as ours, _bare(h) as bare:
        for server, path in ((ours, "/api/auto-fix/health"), (bare, "/constant")):
            for _ in range(200):
                server.get(path)
        found = {"worker": _resident(ours), "bare": _resident(bare)}
    program = f"PARTS = {PARTS!r}\n{PRINT_PARTS}"
    parts = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=base_environ(AUTO_FIX_HOME=str(h.home)),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Measurement(
        what="memory of a worker, more than a bare Flask worker's",
        rule="at most",
        target=13,
        measured=found["worker"] - found["bare"],
        unit="MiB",
        details={**found},
        parts=json.loads(parts.stdout),
    )


def _idle(h: House) -> Measurement:
    with _served(h) as server:
        worker = _worker(server)
        # What the start leaves to be done is no idling.
        time.sleep(IDLE_SETTLES)
        began, spent = time.monotonic(), _processor_seconds(worker)
        time.sleep(IDLE_SECONDS)
        share = (_processor_seconds(worker) - spent) / (time.monotonic() - began)
    return Measurement(
        what="processor time of a worker that nobody asks anything",
        rule="at most",
        target=0.3,
        measured=share * 100,
        unit="percent",
        details={"seconds": IDLE_SECONDS},
    )


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _slow_check() -> Iterator[Measurement]:
    """The package index takes ten seconds to answer its check; pollers must not notice."""
    with (
        house() as h,
        DrippingIndex() as index,
        _served(h, UV_DEFAULT_INDEX=index.url) as server,
    ):
        wait_until(lambda: index.asked, timeout=30)
        Timer(SLOW_CHECK, index.release).start()
        times = asyncio.run(_poll(server))
        asked = index.asked
    yield Measurement(
        what=f"slowest of {len(times)} health readings, {CLIENTS} clients, one check of 10 s",
        rule="at most",
        target=50,
        measured=max(times) * 1000,
        unit="ms",
        details={"p99 ms": round(sorted(times)[int(len(times) * 0.99)] * 1000, 2)},
    )
    yield Measurement(
        what="runs of that check meanwhile", rule="exactly", target=1, measured=asked, unit=""
    )


@contextlib.contextmanager
def _served(h: House, **environ: str) -> Iterator[Server]:
    """One worker of the house, its settings those of production, ready to be measured."""
    with h.serve(workers=1, THREADS="8", **environ) as server:
        all_workers(server, 1)
        yield server


@contextlib.contextmanager
def _bare(h: House) -> Iterator[Server]:
    """The application that has nothing but the constant route, under the same configuration."""
    environ = h.environ(WEB_CONCURRENCY="1", THREADS="8")
    log, directory_ = h.root / "bare.log", h.directory
    with serve(log, environ, arguments=["bare:app"], directory=directory_) as server:
        yield server


def _rates(pair: Callable[[], AbstractContextManager[Pair]]) -> dict[str, list[float]]:
    """Requests a second of each, as they were measured one after the other."""
    rates: dict[str, list[float]] = {}
    for _ in range(PAIRS):
        with pair() as measured:
            for name, found in _in_turn(measured).items():
                rates.setdefault(name, []).extend(found)
    return rates


def _in_turn(measured: Pair) -> dict[str, list[float]]:
    """Requests a second of each; a server that is not measured is stopped meanwhile."""
    rates: dict[str, list[float]] = {name: [] for name in measured}
    groups = {server.process.pid for server, _ in measured.values()}
    for number in range(ROUNDS + 1):
        for name, (server, path) in measured.items():
            for group in groups - {server.process.pid}:
                pause(group, signal.SIGSTOP)
            with wrk(server.url + path, seconds=SECONDS, connections=CONNECTIONS) as loads:
                pass
            for group in groups:
                pause(group, signal.SIGCONT)
            assert loads[0].failed == 0
            rates[name] += [loads[0].requests / loads[0].seconds] if number else []
    return rates


def _ratio(what: str, target: float, rates: dict[str, list[float]]) -> Measurement:
    first, second = rates.values()
    return Measurement(
        what=what,
        rule="at least",
        target=target,
        measured=statistics.median(a / b for a, b in zip(first, second, strict=True)),
        unit="times",
        details={name: [round(rate) for rate in found] for name, found in rates.items()},
    )


def _probe_times(server: Server, path: str) -> Iterator[float]:
    for _ in range(PROBES):
        time.sleep(0.001)
        started = time.perf_counter()
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        connection.request("GET", path)
        assert connection.getresponse().read()
        yield time.perf_counter() - started
        connection.close()


async def _poll(server: Server) -> list[float]:
    """The seconds of each reading of every client."""
    until = time.monotonic() + POLLING_SECONDS
    found = await asyncio.gather(*(_poller(server, until) for _ in range(CLIENTS)))
    return [seconds for times in found for seconds in times]


async def _poller(server: Server, until: float) -> Sequence[float]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    await asyncio.sleep(random.uniform(0, POLL))  # noqa: S311 - spreads load
    reader, writer = await asyncio.open_connection(host, int(port))
    times = []
    while time.monotonic() < until:
        started = time.perf_counter()
        writer.write(b"GET /api/auto-fix/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        await reader.readexactly(int(length.partition(b":")[2]))
        times.append(time.perf_counter() - started)
        await asyncio.sleep(random.uniform(0.5, 1.5) * POLL)  # noqa: S311 - likewise
    writer.close()
    return times


def _worker(server: Server) -> int:
    """The process id of a server's only worker."""
    master = server.process.pid
    (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(worker)


def _resident(server: Server) -> float:
    """The resident memory of a server's only worker, in MiB."""
    lines = Path(f"/proc/{_worker(server)}/status").read_text().splitlines()
    return round(
        next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024, 1
    )

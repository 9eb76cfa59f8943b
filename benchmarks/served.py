"""Servers and load for the benchmarks of a running service: gunicorn and wrk on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.settings.declarations import HealingSettings
from benchmarks.harness import directory
from tests.conftest import World
from tests.serving.house import House
from tests.support.index import SimpleIndex
from tests.support.processes import Server, base_environ

#: Printed by wrk as its last line: what it sent, what failed, latencies in microseconds.
REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "microseconds": %d, "connect": %d, "read": %d, "write": %d,'
    .. ' "status": %d, "timeout": %d, "p50": %d, "p99": %d}\\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk saw. Latencies are milliseconds."""

    requests: int
    failed: int
    seconds: float
    p50: float
    p99: float


@contextlib.contextmanager
def house() -> Iterator[House]:
    """A served directory with a package index and a home of its own."""
    with directory() as root:
        (root / "index").mkdir()
        settings = HealingSettings(home=root / "home", lock=root / "test.lock")
        settings.lock.touch()
        with SimpleIndex(root / "index") as index:
            yield House(root, World(root, index, settings))


def installers(house: House) -> dict[str, str]:
    """The environment in which uv asks the house's index and nobody else."""
    return {
        "UV_DEFAULT_INDEX": house.world.index.url,
        "UV_CACHE_DIR": str(house.root / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
    }


@contextlib.contextmanager
def wrk(url: str, *, seconds: float, connections: int) -> Iterator[list[Load]]:
    """Load ``url`` with keep-alive connections beside the block; the list has the result after it.

    Raises:
        RuntimeError: when wrk is not installed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("this benchmark needs wrk (Debian: apt-get install wrk)")
    with directory() as root:
        script = Path(root, "report.lua")
        script.write_text(REPORT)
        command = [
            program,
            "-t1",
            f"-c{connections}",
            f"-d{round(seconds)}s",
            "-s",
            str(script),
            url,
        ]
        process = subprocess.Popen(command, env=base_environ(), stdout=subprocess.PIPE, text=True)
        found: list[Load] = []
        try:
            yield found
            output, _ = process.communicate(timeout=seconds + 60)
            found.append(_load(output))
        finally:
            process.kill()
            process.wait()


def _load(output: str) -> Load:
    told = json.loads(output.splitlines()[-1])
    kinds = ("connect", "read", "write", "status", "timeout")
    return Load(
        requests=told["requests"],
        failed=sum(told[kind] for kind in kinds),
        seconds=told["microseconds"] / 1e6,
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
    )


def light_load(server: Server, path: str, *, seconds: float, connections: int) -> Load:
    """Load a server that is stopped before and after; every request has to succeed."""
    pause(server.process.pid, signal.SIGCONT)
    try:
        with wrk(server.url + path, seconds=seconds, connections=connections) as loads:
            pass
    finally:
        pause(server.process.pid, signal.SIGSTOP)
    assert loads[0].failed == 0
    return loads[0]


def pause(group: int, number: int) -> None:
    """Stop or continue every process of a server."""
    os.killpg(group, number)

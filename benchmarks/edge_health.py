"""Health checks of many edge functions, and what a large registry costs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

from app.edge.client import EdgeClient
from app.edge.functions import EdgeFunction, EdgeRegistry
from benchmarks.harness import Measurement, directory, interleaved, medians, spread
from tests.support.fast_functions import fast_functions
from tests.support.processes import Server, serve

FUNCTIONS = 200
REPEATS = 11
MANY, DEAD, TIMEOUT = 2000, 50, 5.0


def measure() -> Iterator[Measurement]:
    """All of it against functions in one process on loopback."""
    with fast_functions() as url:
        yield from _two_hundred(url)
        yield from _two_thousand(url)


def _two_hundred(url: str) -> Iterator[Measurement]:
    clients = {
        "aiohttp": _client(url),
        "requests": _client(url, "aiohttp"),
        "one alone": _client(url, count=1),
    }
    times = interleaved(REPEATS, {name: partial(_check, c) for name, c in clients.items()})
    slowest = {n: max(r.milliseconds for r in c.results.values()) for n, c in clients.items()}
    for client in clients.values():
        client.close()
    middle = medians(times)
    for name, target in (("aiohttp", 1.3), ("requests", 3.0)):
        yield Measurement(
            what=f"health check of {FUNCTIONS} functions of 100 ms, {name}, against one of them",
            rule="at most",
            target=target,
            measured=middle[name] / middle["one alone"],
            unit="times",
            details={**spread(times), "slowest call, ms": slowest[name]},
        )


def _check(client: EdgeClient) -> None:
    assert all(result.healthy for result in client.check_all())


def _client(url: str, *missing: str, count: int = FUNCTIONS) -> EdgeClient:
    def importer(name: str) -> ModuleType | None:
        return None if name in missing else importlib.import_module(name)

    functions = tuple(
        EdgeFunction(name=f"f{n}", url=url, health_path="/slow/100", timeout=10)
        for n in range(count)
    )
    registry = EdgeRegistry(functions=functions, configured=True)
    return EdgeClient(lambda: registry, importer)


def _two_thousand(url: str) -> Iterator[Measurement]:
    with directory() as root:
        few, many = root / "few.toml", root / "many.toml"
        few.write_text(_table("f0", url, "/fast"))
        many.write_text(
            "".join(_table(f"f{n}", url, "/dead" if n < DEAD else "/fast") for n in range(MANY))
        )
        boots = interleaved(3, {"one": lambda: _boot(root, few), "many": lambda: _boot(root, many)})
        with serve(root / "log", _environ(root, many)) as server:
            yield _check_of_many(server)
            yield _status_of_many(server)
    yield Measurement(
        what=f"boot with {MANY:,} functions registered, more than with one",
        rule="at most",
        target=1.0,
        measured=medians(boots)["many"] - medians(boots)["one"],
        unit="s",
        details=spread(boots),
    )


def _check_of_many(server: Server) -> Measurement:
    started = time.perf_counter()
    body = server.get("/api/edge-functions/health-check").json()
    seconds = time.perf_counter() - started
    healthy = sum(result["healthy"] for result in body["results"])
    assert healthy == MANY - DEAD, healthy
    return Measurement(
        what=f"health check of {MANY:,} functions, {DEAD} dead, against the timeout",
        rule="at most",
        target=1.5,
        measured=seconds / TIMEOUT,
        unit="times",
        details={"seconds": round(seconds, 3)},
    )


def _status_of_many(server: Server) -> Measurement:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert server.get("/api/edge-functions/status").status == 200
        times.append(time.perf_counter() - started)
    return Measurement(
        what=f"/status with {MANY:,} functions, the slowest of 20",
        rule="at most",
        target=500,
        measured=max(times) * 1000,
        unit="ms",
        details=spread({"seconds": times}),
    )


def _boot(root: Path, registry: Path) -> float:
    started = time.perf_counter()
    with serve(root / "boot.log", _environ(root, registry)):
        return time.perf_counter() - started


def _environ(root: Path, registry: Path) -> dict[str, str]:
    return {
        "AUTO_FIX_HOME": str(root / "home"),
        "AUTO_FIX_MODE": "report",
        "EDGE_FUNCTIONS_FILE": str(registry),
    }


def _table(name: str, url: str, path: str) -> str:
    return (
        f'[[function]]\nname = "{name}"\nurl = "{url}"\nhealth_path = "{path}"\n'
        f"timeout = {TIMEOUT}\n"
    )

"""What clients of healthy routes notice: of swaps under full load, and of the reconciler."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator

from benchmarks.harness import Measurement
from benchmarks.served import Load, house, light_load, pause, wrk
from tests.serving.house import House, all_workers, serving, working
from tests.support.processes import Server

HEALTHY = "/livez"
ENOUGH = 50_000
WORKERS = 2
#: Connections that keep every thread of both workers busy.
FULL = 32
#: Few enough not to queue: latencies are then the service's own.
LIGHT = 2
ROUNDS = 24
SECONDS = 2
#: Blueprints that come back one after the other, and the seconds of one run of wrk.
LATE = 80
CHUNK = 12


def measure() -> Iterator[Measurement]:
    """Lost requests first, latency second."""
    yield from _swaps_under_load()
    yield _latency()


def _swaps_under_load() -> Iterator[Measurement]:
    """One blueprint after the other is mended for as long as the load lasts."""
    with house() as h:
        for number in range(LATE):
            h.add(f"late{number}")
        with h.serve(workers=WORKERS, THREADS="8") as server:
            serving(server, WORKERS, "main")
            loads, activated = _load_with_swaps(h, server)
    requests = sum(load.requests for load in loads)
    yield Measurement(
        what=f"requests failed of {requests} during {activated} activations",
        rule="exactly",
        target=0,
        measured=sum(load.failed for load in loads),
        unit="",
        details={"seconds": round(sum(load.seconds for load in loads), 1)},
    )
    yield Measurement(
        what="requests sent meanwhile", rule="at least", target=ENOUGH, measured=requests, unit=""
    )


def _load_with_swaps(h: House, server: Server) -> tuple[list[Load], int]:
    """Runs of wrk until there were enough requests, each with activations from start to end."""
    done: list[Load] = []
    late = iter(range(LATE))
    activated = 0
    while sum(load.requests for load in done) < ENOUGH:
        ends = time.monotonic() + CHUNK
        with wrk(server.url + HEALTHY, seconds=CHUNK, connections=FULL) as loads:
            while time.monotonic() < ends - 2 and (number := next(late, None)) is not None:
                h.write(f"late{number}", working(f"late{number}"))
                serving(server, WORKERS, f"late{number}")
                activated += 1
        done += loads
    return done, activated


def _latency() -> Measurement:
    """Two servers, one without its reconciler; the one that is not measured is stopped.

    The lower quartile of the rounds is compared: the others tell of the machine's other tenants.
    """
    with (
        house() as on,
        house() as off,
        on.serve(workers=WORKERS) as with_it,
        off.serve(workers=WORKERS, WITHOUT_RECONCILER="1") as without,
    ):
        all_workers(with_it, WORKERS)
        servers = {"on": with_it, "off": without}
        loads: dict[str, list[Load]] = {"on": [], "off": []}
        for server in servers.values():
            pause(server.process.pid, signal.SIGSTOP)
        for number in range(ROUNDS + 1):
            for name in sorted(servers, reverse=bool(number % 2)):
                load = light_load(servers[name], HEALTHY, seconds=SECONDS, connections=LIGHT)
                loads[name] += [load] if number else []
        for server in servers.values():
            pause(server.process.pid, signal.SIGCONT)
    p99 = {name: sorted(load.p99 for load in found) for name, found in loads.items()}
    quiet = {name: statistics.quantiles(values, n=4)[0] for name, values in p99.items()}
    return Measurement(
        what="p99 of a healthy route, the reconciler on against off",
        rule="at most",
        target=1.05,
        measured=quiet["on"] / quiet["off"],
        unit="times",
        details={
            **{f"p99 ms {name}": values for name, values in p99.items()},
            "requests": sum(load.requests for found in loads.values() for load in found),
        },
    )

"""What anonymous requests leave behind in a worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness import Measurement, directory
from tests.support.growth import growth

REQUESTS, ADDRESSES, NAMES = 100_000, 10_000, 997


def measure() -> Iterator[Measurement]:
    """One process, asked for names that are not there, each from the next address."""
    names = [f"absent{number}" for number in range(NAMES)]
    started = time.perf_counter()
    with directory() as home:
        grown, modules = growth(home, REQUESTS, ADDRESSES, names)
    yield Measurement(
        what=f"{REQUESTS:,} anonymous GETs of test-import from {ADDRESSES:,} addresses: growth",
        rule="at most",
        target=10.0,
        measured=grown,
        unit="MiB",
        details={"seconds": round(time.perf_counter() - started, 1), "imported": modules},
    )

"""What the benchmarks share: how a measurement is told, and how two things are timed fairly."""

from __future__ import annotations

import contextlib
import operator
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What is expensive to get is kept here from one run to the next.
KEPT = ROOT / "build" / "benchmarks"
HOLDS = {"at most": operator.le, "at least": operator.ge, "exactly": operator.eq}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of the table, below it one for each of ``parts``, which are in the same unit.

    ``details`` say what the number was computed from.
    """

    what: str
    rule: str
    target: float
    measured: float
    unit: str
    details: dict[str, object] = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return bool(HOLDS[self.rule](self.measured, self.target))


def interleaved(
    repeats: int, works: dict[str, Callable[[], float | None]]
) -> dict[str, list[float]]:
    """Do each work in turn, ``repeats`` times, and return the seconds that each took.

    A work that returns a number has timed itself. One round before the first is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            started = time.perf_counter()
            own = work()
            seconds = time.perf_counter() - started if own is None else own
            if number:
                times[name].append(seconds)
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


def spread(times: dict[str, list[float]], digits: int = 4) -> dict[str, object]:
    """Return what a reader wants to know about each list: median, smallest, largest."""
    return {
        name: [round(f(values), digits) for f in (statistics.median, min, max)]
        for name, values in times.items()
    }


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """An empty directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)

"""How busy the threads are that answer requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from app.healing.report import Check

#: The pool counts as saturated from this share of its threads' time on, after so many seconds.
SATURATED, PATIENCE = 0.95, 10.0
#: Seconds that two looks have to lie apart: a shorter time says nothing of a pool.
SHORTEST_LOOK = 1.0


class Load:
    """Counts the requests under way, and how much of the threads' time they take.

    Args:
        threads: how many requests can be under way at once; None when nothing bounds them.
        clock: seconds that never go back.
    """

    def __init__(self, threads: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._lock = threading.Lock()
        self._busy = 0
        self._spent = 0.0
        self._changed_at = self._looked_at = clock()
        self._share = 0.0
        self._saturated_since: float | None = None

    @property
    def busy(self) -> int:
        """Requests under way in this process."""
        return self._busy

    def enter(self) -> None:
        """A request has begun."""
        self._count(1)

    def leave(self) -> None:
        """It has ended: its response, too."""
        self._count(-1)

    def checks(self) -> Iterable[Check]:
        """Whether requests have to wait for a thread, by the time since the last look."""
        if self._threads is not None:
            lasted = self._look(self._threads)
            yield _check(self._threads, self._share, lasted)

    def _count(self, more: int) -> None:
        now = self._clock()
        with self._lock:
            self._spent += self._busy * (now - self._changed_at)
            self._changed_at = now
            self._busy += more

    def _look(self, threads: int) -> float:
        """Seconds for which the pool has been saturated so far."""
        self._count(0)
        now = self._clock()
        if now - self._looked_at >= SHORTEST_LOOK:
            with self._lock:
                spent, self._spent = self._spent, 0.0
            self._share = spent / ((now - self._looked_at) * threads)
            if self._share < SATURATED:
                self._saturated_since = None
            elif self._saturated_since is None:
                self._saturated_since = self._looked_at
            self._looked_at = now
        return 0.0 if self._saturated_since is None else now - self._saturated_since


def _check(threads: int, share: float, lasted: float) -> Check:
    ok = lasted < PATIENCE
    advice = f"all {threads} threads have been busy for {lasted:.0f} s, so requests wait: find out "
    return Check(
        name="worker_pool",
        kind="workers",
        subject="threads",
        ok=ok,
        reason=None if ok else "saturated",
        advice=None if ok else f"{advice}what they wait for, or raise THREADS",
        observed=round(min(share, 1.0) * 100, 1),
        unit="percent",
    )

"""How this process is: how busy its request threads are, and whether its clock can be right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from app.healing.report import Check

#: The pool counts as saturated from this share of its threads' time on, after so many seconds.
SATURATED, PATIENCE = 0.95, 10.0
#: Seconds that two looks at the pool have to lie apart: a shorter time says nothing of it.
SHORTEST_LOOK = 1.0
#: A date before this was not set by anybody: the year of this release.
RELEASED = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
#: Seconds by which the wall clock may run away from the steady one between two looks.
TOLERANCE = 60.0
#: Seconds for which a jump of the clock is reported.
REMEMBERED = 300.0


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
        threads = self._threads
        if threads is None:
            return
        now = self._count(0)
        if now - self._looked_at >= SHORTEST_LOOK:
            with self._lock:
                spent, self._spent = self._spent, 0.0
            self._share = spent / ((now - self._looked_at) * threads)
            if self._share < SATURATED:
                self._saturated_since = None
            elif self._saturated_since is None:
                self._saturated_since = self._looked_at
            self._looked_at = now
        lasted = 0.0 if self._saturated_since is None else now - self._saturated_since
        ok = lasted < PATIENCE
        advice = (
            f"all {threads} threads have been busy for {lasted:.0f} s, so requests wait: find out"
            " what they wait for, or raise THREADS"
        )
        yield Check(
            name="worker_pool",
            kind="workers",
            subject="threads",
            ok=ok,
            reason=None if ok else "saturated",
            advice=None if ok else advice,
            observed=round(min(self._share, 1.0) * 100, 1),
            unit="percent",
        )

    def _count(self, more: int) -> float:
        """Add up the time that was spent until now, from now on with ``more`` requests."""
        now = self._clock()
        with self._lock:
            self._spent += self._busy * (now - self._changed_at)
            self._changed_at = now
            self._busy += more
        return now


class WallClock:
    """Compares the wall clock with the steady one, from look to look.

    Certificates, tokens and histories are wrong where it is.

    Args:
        wall: seconds since the epoch.
        steady: seconds that never go back.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._offset: float | None = None
        self._jump, self._jumped_at = 0.0, 0.0

    def checks(self) -> Iterable[Check]:
        """Whether the date can be right, and the clock was not set meanwhile."""
        wall, steady = self._wall(), self._steady()
        offset, before = wall - steady, self._offset
        self._offset = offset
        if before is not None and abs(offset - before) > TOLERANCE:
            self._jump, self._jumped_at = offset - before, steady
        reason = advice = None
        if wall < RELEASED:
            reason = "clock_wrong"
            advice = "the clock shows a date before this release: set it"
        elif self._jump and steady - self._jumped_at < REMEMBERED:
            reason = "clock_jumped"
            advice = f"the clock was set by {self._jump:+.0f} s, or the machine slept"
        yield Check(
            name="clock",
            kind="clock",
            subject="wall clock",
            ok=reason is None,
            reason=reason,
            advice=advice,
        )

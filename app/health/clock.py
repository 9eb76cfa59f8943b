"""The wall clock: certificates, tokens and histories are wrong where it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from app.healing.report import Check

#: A date before this was not set by anybody: the year of this release.
RELEASED = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
#: Seconds by which the wall clock may run away from the steady one between two looks.
TOLERANCE = 60.0
#: Seconds for which a jump is told.
REMEMBERED = 300.0


class WallClock:
    """Compares the wall clock with the steady one, from look to look.

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
        if wall < RELEASED:
            yield _check("clock_wrong", "the clock shows a date before this release: set it")
        elif self._jump and steady - self._jumped_at < REMEMBERED:
            seconds = f"{self._jump:+.0f} s"
            yield _check("clock_jumped", f"the clock was set by {seconds}, or the machine slept")
        else:
            yield _check(None, None)


def _check(reason: str | None, advice: str | None) -> Check:
    return Check(
        name="clock",
        kind="clock",
        subject="wall clock",
        ok=reason is None,
        reason=reason,
        advice=advice,
    )

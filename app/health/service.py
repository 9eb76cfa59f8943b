"""The health service: checks run beside the requests, which read what is known."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from app.healing.background import BackgroundLoop, BoundedCall
from app.healing.report import HealthReport
from app.health.checks import DatedCheck, DuplicateCheck, Group, HealthCheck
from app.health.runner import Runner

#: Seconds that a first reading, or a forced one, may wait for all checks together.
FIRST_WAIT, FORCE_WAIT = 1.0, 2.0
#: Seconds after which the background looks again although nothing seemed due: a run that hung for
#: longer than its interval may have ended.
LONGEST_PAUSE = 1.0
#: Seconds that stopping waits for runs that are under way.
STOP_WAIT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReading:
    """Every result that counts now; ``stale`` when one of them is older than its fresh time.

    It never changes, and the same object is read until something new is known, so what is made of
    it can be kept beside it. ``groups`` are the reports of the parts that are asked for by name.
    ``pending`` names the checks of which nothing is known yet, as just after the start.
    """

    report: HealthReport
    checks: tuple[DatedCheck, ...]
    groups: Mapping[Group, HealthReport]
    stale: bool
    pending: tuple[str, ...]
    at: float
    clock: Callable[[], float] = field(repr=False, compare=False)
    #: What was made of it to be sent, by how; so it is made once.
    rendered: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def age_seconds(self) -> float:
        """Seconds since something was found out."""
        return max(0.0, self.clock() - self.at)


class HealthService:
    """Has each check run when it is due, one run of it at a time, each in a thread of its own.

    A check that hangs delays nobody and is not begun again before it has ended; from its timeout on
    it counts as failed. One that raises costs a failed result. Between ``start`` and ``stop`` a
    background thread begins what is due; without it, whoever reads does.

    Args:
        checks: what is looked at.
        waiters: how many callers of ``force`` may wait at once; None for any number.
        clock: seconds that never go back.

    Raises:
        DuplicateCheck: when two checks have one name.
    """

    def __init__(
        self,
        checks: Iterable[HealthCheck] = (),
        *,
        waiters: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._waiters = waiters
        self._waiting = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._runners: dict[str, Runner] = {}
        self._loop = BackgroundLoop(self._begin_due, "health", LONGEST_PAUSE)
        self._flips_at = -math.inf
        self._reading = self._assemble(clock())
        for check in checks:
            self.add(check)

    def add(self, check: HealthCheck) -> None:
        """Look at one more part from now on.

        Raises:
            DuplicateCheck: when there is one of this name.
        """
        with self._lock:
            if check.name in self._runners:
                raise DuplicateCheck(check.name)
            self._runners = {**self._runners, check.name: Runner(check, self._arrived)}
            self._reading = self._assemble(self._clock())

    def start(self) -> None:
        """Begin to check in the background; belongs after the fork of a pre-forking server."""
        if self._pid != os.getpid():
            # A thread of the parent may have held it at that moment, and is not here to let go.
            self._lock, self._pid = threading.Lock(), os.getpid()
            self._waiting = 0
        self._loop.start()

    def stop(self) -> None:
        """Begin no more checks, and wait a moment for those under way."""
        self._loop.stop()
        calls = [runner.call for runner in self._runners.values()]
        _wait([call for call in calls if call is not None], STOP_WAIT)

    def read(self) -> HealthReading:
        """What is known now: looks at nothing and waits for nothing.

        Without the background thread it begins what is due, and waits, a second at most, for that
        of which nothing is known: for everything the first time, and never twice for what hangs.
        """
        if not self._loop.running:
            now = self._clock()
            due = {name: r.knows(now) for name, r in self._runners.items() if r.is_due(now)}
            if due:
                calls = zip(self._begin(due), due.values(), strict=True)
                _wait([call for call, known in calls if not known], FIRST_WAIT)
        return self.peek()

    def peek(self) -> HealthReading:
        """What is known now, and nothing is begun to learn more."""
        if self._clock() < self._flips_at:
            return self._reading
        with self._lock:
            now = self._clock()
            if now >= self._flips_at:
                self._reading = self._assemble(now)
            return self._reading

    def force(self, wait: float = FORCE_WAIT) -> HealthReading:
        """Look at everything now, or join whoever does; after ``wait`` seconds at the latest.

        What hangs is shown as it is. Who comes when as many wait as may gets at once what is
        known: one check that hangs must not take all of a server's threads.
        """
        with self._lock:
            may_wait = self._waiters is None or self._waiting < self._waiters
            self._waiting += may_wait
        try:
            _wait(self._begin(self._runners), wait if may_wait else 0)
        finally:
            with self._lock:
                self._waiting -= may_wait
        return self.peek()

    def refresh(self, *groups: Group, wait: float = 0.0) -> HealthReading:
        """Look at the checks of ``groups``, or at everything, because something has changed.

        Unlike ``force`` it does not take a run for an answer that began before: another follows.
        Waits ``wait`` seconds at most.
        """
        checks = [runner.check for runner in self._runners.values()]
        chosen = [c.name for c in checks if not groups or set(groups) & set(c.groups)]
        _wait(self._begin(chosen, again=True), wait)
        return self.peek()

    def _begin(self, names: Iterable[str], *, again: bool = False) -> list[BoundedCall[None]]:
        with self._lock:
            now = self._clock()
            calls = [self._runners[name].begin(now, again=again) for name in names]
            self._flips_at = min(self._flips_at, self._next_flip(now))
            return calls

    def _begin_due(self) -> float:
        """A turn of the background: begin what is due; seconds until something else is."""
        now, runners = self._clock(), self._runners
        for runner in runners.values():
            runner.log_hang(now)
        self._begin([name for name, runner in runners.items() if runner.is_due(now)])
        coming = (runner.due_at for runner in runners.values())
        return min((at for at in coming if at > now), default=math.inf) - now

    def _arrived(self, runner: Runner, report: HealthReport) -> bool:
        """Called by a run that has ended, in its thread."""
        with self._lock:
            now = self._clock()
            again = runner.take(report, now)
            self._reading = self._assemble(now)
            return again

    def _next_flip(self, now: float) -> float:
        return min((r.flips_at(now) for r in self._runners.values()), default=math.inf)

    def _assemble(self, now: float) -> HealthReading:
        """The reading of ``now``; fixes and counters of a last result count however old it is."""
        self._flips_at = self._next_flip(now)
        shown = {name: runner.shown(now) for name, runner in self._runners.items()}
        found = [runner.result for runner in self._runners.values() if runner.result is not None]
        found.sort(key=lambda result: result.at)
        checks = tuple(one for results in shown.values() for one in results)
        report = HealthReport(
            timestamp=found[-1].report.timestamp if found else datetime.now(UTC),
            checks=tuple(one.check for one in checks),
            fixes=tuple(fix for result in found for fix in result.report.fixes),
            auto_fixer={k: v for result in found for k, v in result.report.auto_fixer.items()},
        )
        groups = {
            group: replace(
                report,
                checks=tuple(
                    one.check
                    for name, runner in self._runners.items()
                    if group in runner.check.groups
                    for one in shown[name]
                ),
            )
            for group in Group
        }
        return HealthReading(
            report=report,
            checks=checks,
            groups={**groups, Group.AUTO_FIX: report},
            stale=any(one.stale for one in checks),
            pending=tuple(
                name
                for name, runner in self._runners.items()
                if runner.result is None and not shown[name]
            ),
            at=found[-1].at if found else now,
            clock=self._clock,
        )


def _wait(calls: Iterable[BoundedCall[None]], seconds: float) -> None:
    """Wait until all have ended, so many seconds for all of them together."""
    until = time.monotonic() + seconds
    for call in calls:
        with suppress(TimeoutError):
            call.wait(max(0.0, until - time.monotonic()))

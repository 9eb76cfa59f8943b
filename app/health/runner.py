"""One check's runs: never two at a time, and what the last one found."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from app.healing.background import BoundedCall
from app.healing.report import HealthReport
from app.health.checks import Found, HealthCheck
from app.health.reading import DatedCheck, Result
from app.health.told import ToldFailures

logger = logging.getLogger(__name__)

TIMED_OUT = "This check does not end; what it looks at hangs."
UNKNOWN = "This check was not made for too long to say how things are."
FAILED = "This check could not be made; the log says why."


class Runner:
    """Runs a check in a thread of its own and keeps its last result.

    The log has a line when an outcome begins to fail, and one when it passes again.

    ``begin``, ``take`` and ``shown`` have to be called under the service's lock.

    Args:
        check: what is run.
        arrived: takes each result, and says whether to look once more at once.
    """

    def __init__(self, check: HealthCheck, arrived: Callable[[Runner, HealthReport], bool]) -> None:
        self.check = check
        self.result: Result | None = None
        self._arrived = arrived
        self._told = ToldFailures()
        self._call: BoundedCall[None] | None = None
        self._begun_at = -math.inf
        self._again = self._told_hung = self._told_failed = False

    @property
    def call(self) -> BoundedCall[None] | None:
        """The run under way in this process: that of a parent process is not."""
        call = self._call
        return None if call is None or call.orphaned else call

    def begin(self, now: float, *, again: bool = False) -> BoundedCall[None]:
        """Begin a run, or join the one under way; with ``again`` another one follows that."""
        call = self.call
        if call is not None:
            self._again = self._again or again
            return call
        self._begun_at, self._again = now, False
        self._call = BoundedCall(self._look, f"health {self.check.name}")
        return self._call

    def take(self, report: HealthReport, now: float) -> bool:
        """Keep what a run found; True when another has to follow, which begins now."""
        self.result = Result(report, now)
        self._told_hung = False
        again, self._again = self._again, False
        if again:
            self._begun_at = now
        else:
            self._call = None
        return again

    @property
    def due_at(self) -> float:
        """When the next run is to begin, should the one under way have ended by then."""
        orphaned = self._call is not None and self._call.orphaned
        return -math.inf if orphaned else self._begun_at + self.check.interval

    def is_due(self, now: float) -> bool:
        """Whether a run is to begin now: not while one is under way, at once after a fork."""
        return self.call is None and self.due_at <= now

    def knows(self, now: float) -> bool:
        """Whether the last result still counts for anything."""
        return self.result is not None and now < self.result.at + self.check.shown_seconds

    def hangs(self, now: float) -> bool:
        """Whether a run is under way that has had its time."""
        return self.call is not None and now >= self._begun_at + self.check.timeout

    def flips_at(self, now: float) -> float:
        """When, without a new result, something else is to be shown."""
        flips = [self._begun_at + self.check.timeout] if self.call is not None else []
        if self.result is not None:
            at = self.result.at
            flips += [at + self.check.fresh_seconds, at + self.check.shown_seconds]
        return min((flip for flip in flips if flip > now), default=math.inf)

    def shown(self, now: float) -> list[DatedCheck]:
        """The results as they count now.

        A look that hangs, or was not made for too long, is a failed result in the check's name.
        What was never looked at is nothing yet, unless the service cannot do without it.
        """
        known = self._known(now)
        if self.hangs(now):
            name = self.check.name
            return [d for d in known if d.check.name != name] + [self._mark("timeout", TIMED_OUT)]
        if self.knows(now) or (self.result is None and not self.check.critical):
            return known
        return [self._mark("unknown", UNKNOWN)]

    def tell_hung(self, now: float) -> None:
        """Say once in the log that a run hangs; that it passes again is told when it does."""
        if self.hangs(now) and not self._told_hung:
            self._told_hung = True
            fields = {"check": self.check.name, "timeout": self.check.timeout}
            logger.warning("health check hangs", extra={"fields": fields})

    def _look(self) -> None:
        """Run the check, in the thread of the call."""
        again = True
        while again:
            report = self._report()
            # By the run itself, outside the lock: a log that is slow to write holds up no reader.
            self._tell(report)
            again = self._arrived(self, report)

    def _tell(self, report: HealthReport) -> None:
        """Say in the log which outcomes have changed."""
        if self._told_hung:
            self._told.hung(self.check.failed("timeout", TIMED_OUT))
        self._told.found(report.checks, complete=not self._told_failed)

    def _report(self) -> HealthReport:
        """What the check finds, or a failed result when its own code fails; logged once."""
        try:
            report = _as_report(self.check.run())
        except BaseException:
            # Whatever a check raises costs its result: nobody waits for this thread's exception.
            if not self._told_failed:
                self._told_failed = True
                fields = {"check": self.check.name}
                logger.exception("health check failed", extra={"fields": fields})
            return _as_report([self.check.failed("check_failed", FAILED)])
        self._told_failed = False
        return report

    def _known(self, now: float) -> list[DatedCheck]:
        result = self.result
        if result is None or not self.knows(now):
            return []
        stale = now >= result.at + self.check.fresh_seconds
        return [DatedCheck(check, result.report.timestamp, stale) for check in result.report.checks]

    def _mark(self, reason: str, advice: str) -> DatedCheck:
        checked_at = None if self.result is None else self.result.report.timestamp
        return DatedCheck(self.check.failed(reason, advice), checked_at, stale=True)


def _as_report(found: Found) -> HealthReport:
    """What was found, as of now."""
    if isinstance(found, HealthReport):
        return replace(found, timestamp=datetime.now(UTC))
    checks = tuple(found)
    return HealthReport(timestamp=datetime.now(UTC), checks=checks)

"""One check's runs: never two at a time, what the last one found, and what the log says of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.healing.background import BoundedCall
from app.healing.report import Check, HealthReport
from app.health.checks import DatedCheck, Found, HealthCheck

logger = logging.getLogger(__name__)

TIMED_OUT = "This check does not end; what it looks at hangs."
UNKNOWN = "This check was not made for too long to say how things are."
FAILED = "This check could not be made; the log says why."


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found, and when it ended by the service's clock."""

    report: HealthReport
    at: float


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
        self._call: BoundedCall[None] | None = None
        self._begun_at = -math.inf
        self._again = self._hang_logged = self._error_logged = False
        self._failing: dict[str, Check] = {}

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
        self._hang_logged = False
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
        check, result = self.check, self.result
        known, checked_at = [], None
        if result is not None:
            checked_at = result.report.timestamp
            if self.knows(now):
                stale = now >= result.at + check.fresh_seconds
                known = [DatedCheck(one, checked_at, stale) for one in result.report.checks]
        if self.hangs(now):
            timeout = DatedCheck(check.failed("timeout", TIMED_OUT), checked_at, stale=True)
            return [*(one for one in known if one.check.name != check.name), timeout]
        if self.knows(now) or (result is None and not check.critical):
            return known
        return [DatedCheck(check.failed("unknown", UNKNOWN), checked_at, stale=True)]

    def log_hang(self, now: float) -> None:
        """Say once in the log that a run hangs; that it passes again is said when it does."""
        if self.hangs(now) and not self._hang_logged:
            self._hang_logged = True
            fields = {"check": self.check.name, "timeout": self.check.timeout}
            logger.warning("health check hangs", extra={"fields": fields})

    def _look(self) -> None:
        """Run the check, in the thread of the call, for as long as another run has to follow.

        What its own code raises costs its result and is logged once: nobody waits for this thread's
        exception.
        """
        again = True
        while again:
            try:
                report = _as_report(self.check.run())
            except BaseException:
                if not self._error_logged:
                    self._error_logged = True
                    fields = {"check": self.check.name}
                    logger.exception("health check failed", extra={"fields": fields})
                report = _as_report([self.check.failed("check_failed", FAILED)])
            else:
                self._error_logged = False
            # By the run itself, outside the lock: a log that is slow to write holds up no reader.
            self._log_changes(report.checks)
            again = self._arrived(self, report)

    def _log_changes(self, checks: Iterable[Check]) -> None:
        """Say in the log what began to fail, and what failed and does so no more.

        A run that failed itself says of no other check that it passes. After any other, one that is
        not there any more does.
        """
        if self._hang_logged:
            # The log has the hang already: only its end is news.
            hang = self.check.failed("timeout", TIMED_OUT)
            self._failing = {**self._failing, hang.name: hang}
        before, failing = self._failing, {check.name: check for check in checks if not check.ok}
        self._failing = {**before, **failing} if self._error_logged else failing
        news = [
            (logging.ERROR if check.critical else logging.WARNING, "check fails", check)
            for name, check in failing.items()
            if name not in before
        ]
        news += [
            (logging.INFO, "check passes again", check)
            for name, check in before.items()
            if name not in self._failing
        ]
        for level, event, check in news:
            # What may stand in any log: names and codes.
            fields = {
                "name": check.name,
                "subject": check.subject,
                "reason": check.reason,
                "critical": check.critical,
            }
            logger.log(level, event, extra={"fields": fields})


def _as_report(found: Found) -> HealthReport:
    """What was found, as of now."""
    if isinstance(found, HealthReport):
        return replace(found, timestamp=datetime.now(UTC))
    # A check may be a generator, whose code runs as it is read: before the time is taken.
    checks = tuple(found)
    return HealthReport(timestamp=datetime.now(UTC), checks=checks)

"""What is known of the service's health at one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from app.healing.report import Check, HealthReport
from app.health.checks import Group


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found, and when it ended by the service's clock."""

    report: HealthReport
    at: float


@dataclass(frozen=True, slots=True)
class DatedCheck:
    """A check's result and when it was found, None for what never was."""

    check: Check
    checked_at: datetime | None
    stale: bool


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

    @property
    def age_seconds(self) -> float:
        """Seconds since something was found out."""
        return max(0.0, self.clock() - self.at)


def assemble(
    shown: Mapping[str, Sequence[DatedCheck]],
    found: Mapping[str, Result | None],
    groups: Mapping[Group, Iterable[str]],
    now: float,
    clock: Callable[[], float],
) -> HealthReading:
    """The reading of ``now``.

    Args:
        shown: what counts of each check, by its name.
        found: its last result; fixes and counters of that count, however old it is.
        groups: names of checks.
        now: by ``clock``.
        clock: seconds that never go back.
    """
    results = sorted((one for one in found.values() if one), key=lambda result: result.at)
    dated = tuple(one for found in shown.values() for one in found)
    report = HealthReport(
        timestamp=results[-1].report.timestamp if results else datetime.now(UTC),
        checks=tuple(one.check for one in dated),
        fixes=tuple(fix for result in results for fix in result.report.fixes),
        auto_fixer={k: v for result in results for k, v in result.report.auto_fixer.items()},
    )
    parts = {
        group: replace(report, checks=tuple(one.check for name in names for one in shown[name]))
        for group, names in groups.items()
    }
    return HealthReading(
        report=report,
        checks=dated,
        groups={**parts, Group.AUTO_FIX: report},
        stale=any(one.stale for one in dated),
        pending=tuple(n for n, result in found.items() if result is None and not shown[n]),
        at=results[-1].at if results else now,
        clock=clock,
    )

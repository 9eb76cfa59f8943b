"""What a health check found, and what all of them amount to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from app.healing.kind import Fix

#: The end of the year 9999, the last that a date can have.
LAST_MOMENT = 253402300799.0


def timestamp(seconds: float) -> str:
    """A moment in seconds since the epoch, by RFC 3339 with milliseconds: one form everywhere.

    What another process has written can be no moment at all: it is shown as the nearest that has a
    date.
    """
    return datetime.fromtimestamp(min(max(0.0, seconds), LAST_MOMENT), UTC).isoformat(
        timespec="milliseconds"
    )


class Status(StrEnum):
    """The state of the whole service."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check's result. ``reason`` is a code, ``advice`` a sentence that is safe to show.

    ``fallback`` names what a feature runs on instead, ``outcome`` says how healing it last failed.
    ``observed`` is what was measured, in ``unit``, where the check measures something.
    """

    name: str
    kind: str
    subject: str
    ok: bool
    critical: bool = False
    reason: str | None = None
    advice: str | None = None
    fallback: str | None = None
    outcome: str | None = None
    observed: float | None = None
    unit: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The check as JSON shows it, under its name."""
        members = asdict(self)
        del members["name"]
        return members


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """Every check of one moment, with the fixes that are in force and the engine's counters."""

    timestamp: datetime
    checks: tuple[Check, ...]
    fixes: tuple[Fix, ...] = ()
    auto_fixer: Mapping[str, object] = field(default_factory=dict)

    @property
    def overall_status(self) -> Status:
        """Unhealthy when a critical check fails, degraded when any other does."""
        failed = [check for check in self.checks if not check.ok]
        if any(check.critical for check in failed):
            return Status.UNHEALTHY
        return Status.DEGRADED if failed else Status.HEALTHY

    def to_dict(self, *, details: bool = True) -> dict[str, object]:
        """The report with the field names that clients rely on; codes, without the details."""
        return {
            "overall_status": str(self.overall_status),
            "timestamp": timestamp(self.timestamp.timestamp()),
            "checks_performed": [check.name for check in self.checks],
            "fixes_applied": [str(fix) for fix in self.fixes],
            "errors_detected": [
                f"{check.name}: {(check.advice if details else None) or check.reason}"
                for check in self.checks
                if not check.ok
            ],
            "checks": {check.name: check.to_dict() for check in self.checks},
            "fixes": [fix.to_dict() for fix in self.fixes],
            "auto_fixer": dict(self.auto_fixer),
        }

"""What a check is, which groups there are, and for how long a result counts.

HealthConfigurationError
+-- InvalidDuration
+-- DuplicateCheck
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.healing.report import Check, HealthReport

#: Seconds for which a result is fresh, and for which it is shown at all.
FRESH_SECONDS, STALE_SECONDS = 10.0, 60.0
#: Seconds between two runs of a check that costs little, and that it may take.
INTERVAL = TIMEOUT = 5.0

#: What a check found: results, or a whole report whose fixes and counters count too.
Found = HealthReport | Iterable[Check]


class HealthConfigurationError(Exception):
    """The checks do not fit together: a mistake in the code, met at the start."""


class InvalidDuration(HealthConfigurationError):
    """A check's timeout or interval is no positive number of seconds."""

    def __init__(self, check: str, name: str, value: float) -> None:
        self.check, self.name, self.value = check, name, value
        super().__init__(f"{name} of health check {check!r} is {value}, not above 0 s")


class DuplicateCheck(HealthConfigurationError):
    """Two checks have one name."""

    def __init__(self, check: str) -> None:
        self.check = check
        super().__init__(f"there are two health checks of the name {check!r}")


class Group(StrEnum):
    """Who asks: is the process alive, can it serve, how is everything?

    The one for auto-fix has all checks, whether they name it or not.
    """

    LIVE = "live"
    READY = "ready"
    AUTO_FIX = "auto_fix"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One look at one part of the service, which may give any number of results.

    ``critical`` says what it means when the look itself fails or does not end within ``timeout``;
    the results say themselves how critical they are. ``interval`` lies between the beginnings of
    two runs. Both are seconds. ``groups`` are those whose answers depend on it.

    Raises:
        InvalidDuration: when one of them is not above 0.
    """

    name: str
    kind: str
    run: Callable[[], Found]
    groups: tuple[Group, ...] = ()
    critical: bool = False
    timeout: float = TIMEOUT
    interval: float = INTERVAL

    def __post_init__(self) -> None:
        for name in ("timeout", "interval"):
            value: float = getattr(self, name)
            if not 0 < value < math.inf:
                raise InvalidDuration(self.name, name, value)

    @property
    def fresh_seconds(self) -> float:
        """For how long its results are fresh: longer where it is seldom made."""
        return max(FRESH_SECONDS, self.interval + self.timeout)

    @property
    def shown_seconds(self) -> float:
        """For how long they are shown: after that nothing is known."""
        return max(STALE_SECONDS, 2 * self.fresh_seconds)

    def failed(self, reason: str, advice: str) -> Check:
        """The result that stands for a look that gave none."""
        return Check(
            name=self.name,
            kind=self.kind,
            subject=self.name,
            ok=False,
            critical=self.critical,
            reason=reason,
            advice=advice,
        )


@dataclass(frozen=True, slots=True)
class DatedCheck:
    """A check's result and when it was found, None for what never was."""

    check: Check
    checked_at: datetime | None
    stale: bool

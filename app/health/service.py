"""The health reading: computed by one caller at a time, shared by all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.healing.report import Check, HealthReport
from app.utils.shared_call import SharedCall

logger = logging.getLogger(__name__)

FRESH_SECONDS = 10.0
STALE_SECONDS = 60.0

Provider = Callable[[], Iterable[Check]]


@dataclass(frozen=True, slots=True)
class HealthReading:
    """A report with its age in seconds; ``stale`` once it is older than the fresh time."""

    report: HealthReport
    age_seconds: float
    stale: bool


@dataclass(frozen=True, slots=True)
class _Computed:
    report: HealthReport
    at: float


class HealthService:
    """Computes health on demand and remembers it.

    Two callers never compute at the same time: whoever comes while a computation runs gets its
    result, or the last one as long as that is only stale. A source or provider that raises costs
    a failed check, never the reading.

    Args:
        report_source: computes the engine's report.
        clock: seconds that never go back.
        fresh_seconds: how long a reading counts as fresh.
        stale_seconds: how long it may still be shown, marked as stale.
    """

    def __init__(
        self,
        report_source: Callable[[], HealthReport],
        *,
        clock: Callable[[], float] = time.monotonic,
        fresh_seconds: float = FRESH_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._source = report_source
        self._clock = clock
        self._fresh = fresh_seconds
        self._stale = stale_seconds
        self._providers: tuple[Provider, ...] = ()
        self._shared = SharedCall(self._compute)
        self._last: _Computed | None = None

    def add(self, provider: Provider) -> None:
        """Include a provider's checks from the next computation on."""
        self._providers = (*self._providers, provider)

    def read(self) -> HealthReading:
        """The last reading while it is fresh; else a new one, or a stale one if one is coming."""
        last = self._last
        if last is not None:
            age = self._clock() - last.at
            if age < self._fresh or (age < self._stale and self._shared.running):
                return self._reading(last)
        return self.force()

    def force(self) -> HealthReading:
        """A reading computed now, or by the computation that is already under way."""
        return self._reading(self._shared())

    def refresh(self) -> None:
        """Compute now, for those who read later."""
        self._shared()

    def _reading(self, computed: _Computed) -> HealthReading:
        age = max(0.0, self._clock() - computed.at)
        return HealthReading(computed.report, age, stale=age >= self._fresh)

    def _compute(self) -> _Computed:
        extra = [check for provider in self._providers for check in _checks_of(provider)]
        computed = _Computed(self._engine_report().with_checks(extra), self._clock())
        self._last = computed
        return computed

    def _engine_report(self) -> HealthReport:
        try:
            return self._source()
        except Exception:
            logger.exception("health report failed")
            return HealthReport(timestamp=datetime.now(UTC), checks=(_failed_check("auto_fixer"),))


def _checks_of(provider: Provider) -> list[Check]:
    """The provider's checks, or one failed check in its name if it raises."""
    try:
        return list(provider())
    except Exception:
        name = getattr(provider, "__qualname__", type(provider).__qualname__)
        logger.exception("health provider failed", extra={"fields": {"provider": name}})
        return [_failed_check(name)]


def _failed_check(subject: str) -> Check:
    return Check(
        name=f"provider_{subject}",
        kind="provider",
        subject=subject,
        ok=False,
        reason="check_failed",
        advice="This check could not be made; the log says why.",
    )

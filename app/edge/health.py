"""How functions are, by their health checks: what one says, and what several in a row mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from app.edge.breaker import BreakerState
from app.edge.errors import ErrorKind
from app.edge.exchange import EdgeResponse
from app.edge.functions import EdgeFunction
from app.healing.report import Check

#: So many failures in a row turn a function unhealthy, so many successes turn it back.
FAILURES, SUCCESSES = 3, 2
#: Seconds for which a check counts: ten times the time between two of them.
LIFETIME = 300.0
#: A health report names at most so many functions that are down, and then how many more.
MOST_SHOWN = 20


class HealthState(StrEnum):
    """What a function's checks amount to."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionHealth:
    """A function's last health check, and its state.

    ``healthy`` is the check's own result, and ``streak`` how many before it had the same.
    ``status`` is None when it sent none, ``error`` None when it answered with any status.
    ``checked_at`` is seconds since the epoch.
    """

    name: str
    healthy: bool
    state: HealthState
    streak: int
    status: int | None
    error: ErrorKind | None
    milliseconds: float
    checked_at: float


def judge(
    function: EdgeFunction, response: EdgeResponse, before: FunctionHealth | None, now: float
) -> FunctionHealth:
    """What a check's response says of a function, knowing the check before it."""
    healthy = response.error is None and function.is_healthy(response.status)
    streak = before.streak + 1 if before and before.healthy == healthy else 1
    return FunctionHealth(
        name=function.name,
        healthy=healthy,
        state=_next(before.state if before else HealthState.UNKNOWN, streak, healthy=healthy),
        streak=streak,
        status=response.status,
        error=response.error,
        milliseconds=round(response.seconds * 1000, 1),
        checked_at=now,
    )


def _next(state: HealthState, streak: int, *, healthy: bool) -> HealthState:
    if not healthy:
        return HealthState.UNHEALTHY if streak >= FAILURES else state
    down = state is HealthState.UNHEALTHY and streak < SUCCESSES
    return HealthState.UNHEALTHY if down else HealthState.HEALTHY


def down_checks(down: list[FunctionHealth]) -> Iterable[Check]:
    """A failed check for each function that is down, a bounded number of them."""
    yield from map(_outage, down[:MOST_SHOWN])
    if (more := len(down) - MOST_SHOWN) > 0:
        yield _check("edge_functions_down", "edge functions", "unhealthy", f"{more} more are down")


def breaker_checks(states: dict[str, BreakerState]) -> Iterable[Check]:
    """A failed check for each function that is left alone, a bounded number of them."""
    names = sorted(name for name, state in states.items() if state is BreakerState.OPEN)
    for name in names[:MOST_SHOWN]:
        advice = "calls failed, so the function is left alone for a while"
        yield _check(f"edge_breaker_{name}", name, "circuit_open", advice)


def _outage(result: FunctionHealth) -> Check:
    how = result.error or f"status {result.status}"
    when = datetime.fromtimestamp(result.checked_at, UTC).isoformat(timespec="seconds")
    advice = f"{result.streak} health checks in a row failed, the last at {when}: {how}"
    reason = str(result.error or "unexpected_status")
    return _check(f"edge_function_{result.name}", result.name, reason, advice)


def _check(name: str, subject: str, reason: str, advice: str) -> Check:
    return Check(name=name, kind="edge", subject=subject, ok=False, reason=reason, advice=advice)

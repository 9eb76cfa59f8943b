"""How functions are by their health checks, and the background thread that makes those.

One thread in each worker, started after the fork, has the registry's file read again, exchanges
what is counted, and checks the functions: in one worker of a host at a time, the one that holds a
lock which the kernel releases when it dies.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.edge.errors import ErrorKind, NoTransport
from app.edge.functions import EdgeFunction
from app.edge.protection import BreakerState
from app.edge.transports import Outcome
from app.healing.background import BackgroundLoop
from app.healing.home import make_directory
from app.healing.locks import Busy, exclusive
from app.healing.report import Check, timestamp

if TYPE_CHECKING:
    from app.edge.client import EdgeClient

logger = logging.getLogger(__name__)

#: So many failures in a row turn a function unhealthy, so many successes turn it back.
FAILURES, SUCCESSES = 3, 2
#: Seconds for which a check counts: ten times the time between two of them.
LIFETIME = 300.0
#: A health report names at most so many functions that are down, and then how many more.
MOST_SHOWN = 20
HEALTHY_STATUSES = range(200, 300)

LOCK = "edge-checks.lock"
#: Seconds between two looks at the file, two exchanges with other workers, two health checks.
TICK, SHARE_SECONDS, CHECK_SECONDS = 1.0, 2.0, 30.0
#: Seconds between two exchanges while this worker has nothing new to say; others take it for gone
#: after fifteen.
SHARE_IDLE_SECONDS = 9.0
#: Seconds between two looks at a file that registers nothing.
IDLE_SECONDS = 5.0
#: A pause between health checks is up to this share shorter or longer.
JITTER = 0.2


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
    function: EdgeFunction, outcome: Outcome, before: FunctionHealth | None, now: float
) -> FunctionHealth:
    """The health of a function after a check, knowing the check before it."""
    statuses = function.health_status or HEALTHY_STATUSES
    healthy = outcome.error is None and outcome.status in statuses
    state, streak = HealthState.UNKNOWN, 1
    if before is not None:
        state = before.state
        streak += before.streak if before.healthy == healthy else 0
    if not healthy and streak >= FAILURES:
        state = HealthState.UNHEALTHY
    elif healthy and (state is not HealthState.UNHEALTHY or streak >= SUCCESSES):
        state = HealthState.HEALTHY
    return FunctionHealth(
        name=function.name,
        healthy=healthy,
        state=state,
        streak=streak,
        status=outcome.status,
        error=outcome.error,
        milliseconds=round(outcome.seconds * 1000, 1),
        checked_at=now,
    )


def failed_checks(
    results: Iterable[FunctionHealth], breakers: Mapping[str, BreakerState]
) -> Iterator[Check]:
    """A failed check for each function that is down, or whose breaker is open, up to a number."""
    failed = partial(Check, kind="edge", ok=False)
    down = [result for result in results if result.state is HealthState.UNHEALTHY]
    for result in down[:MOST_SHOWN]:
        last = f"the last at {timestamp(result.checked_at)}"
        yield failed(
            name=f"edge_function_{result.name}",
            subject=result.name,
            reason=str(result.error or "unexpected_status"),
            advice=f"{result.streak} health checks in a row failed, {last}: "
            f"{result.error or f'status {result.status}'}",
        )
    if (more := len(down) - MOST_SHOWN) > 0:
        yield failed(
            name="edge_functions_down",
            subject="edge functions",
            reason="unhealthy",
            advice=f"{more} more are down",
        )
    opened = sorted(name for name, state in breakers.items() if state is BreakerState.OPEN)
    for name in opened[:MOST_SHOWN]:
        yield failed(
            name=f"edge_breaker_{name}",
            subject=name,
            reason="circuit_open",
            advice="calls failed, so the function is left alone for a while",
        )


class EdgeMonitor:
    """Runs beside the requests until it is stopped; without a registry file there is no thread.

    Args:
        client: whose functions are checked.
        home: where the lock is.
        check_seconds: the time between two health checks, on average.
    """

    def __init__(
        self, client: EdgeClient, home: Path, *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._client = client
        self._lock = home / LOCK
        self._check_seconds = check_seconds
        self._share_at = self._check_at = 0.0
        self._held = contextlib.ExitStack()
        self._elected = False
        self._loop = BackgroundLoop(self._turn, "edge-monitor", IDLE_SECONDS)

    def start(self) -> None:
        """Begin; starting twice is starting once."""
        if self._client.registry.configured:
            self._loop.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment; another worker checks from now on."""
        self._loop.stop()
        self._elected = False
        self._held.close()

    def _turn(self) -> float:
        if not self._client.functions:
            return IDLE_SECONDS
        now = time.monotonic()
        # Until this worker is the one that checks, it looks again at each turn.
        if self._is_elected() and now >= self._check_at:
            spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
            self._check_at = now + self._check_seconds * spread
            with contextlib.suppress(NoTransport):
                self._client.check_all()
        if now >= self._share_at:
            self._share_at = now + SHARE_SECONDS
            self._client.share_state(idle=SHARE_IDLE_SECONDS)
        return TICK

    def _is_elected(self) -> bool:
        """Whether this worker holds the lock, from now on until it stops."""
        if not self._elected:
            try:
                make_directory(self._lock.parent)
                self._held.enter_context(exclusive(self._lock, wait=0))
                self._elected = True
            except Busy:
                return False
            except OSError:
                # Without a home nothing can be agreed upon: then every worker checks.
                logger.debug("edge lock cannot be taken", exc_info=True)
        return True

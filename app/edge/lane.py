"""One function's way through this process: its breaker, its limit, and the calls under way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from app.edge.breaker import Breaker, BreakerState, Permit
from app.edge.bulkhead import AdaptiveLimit, Bulkhead, Place
from app.edge.errors import CircuitOpen, ErrorKind, Saturated
from app.edge.functions import EdgeFunction
from app.edge.statistics import OK, Statistics

#: A call that takes more than this share of its function's timeout is slow: a failure to the
#: breaker, though its answer is passed on.
SLOW_SHARE = 0.8
#: Outcomes besides the error kinds.
SLOW, SERVER_ERROR, CIRCUIT_OPEN, SATURATED, CALLER_FAULT, CALLER_GONE, CUT_SHORT = (
    "slow",
    "server_error",
    "circuit_open",
    "saturated",
    "caller_fault",
    "caller_gone",
    "cut_short",
)
_FIRST_SERVER_ERROR = 500
#: What says nothing about the function.
_NOT_ITS_FAULT = frozenset({CALLER_FAULT, CALLER_GONE, CUT_SHORT, ErrorKind.INTERNAL})


class Lane:
    """A registered function with what this process knows of it."""

    def __init__(
        self, function: EdgeFunction, bulkhead: Bulkhead, statistics: Statistics, breaker: Breaker
    ) -> None:
        self.function = function
        self.breaker = breaker
        self.limit: AdaptiveLimit = bulkhead.limit(function.concurrency)
        self._bulkhead = bulkhead
        self._statistics = statistics

    def enter(self) -> Passage:
        """Leave to call the function now.

        Raises:
            CircuitOpen: when its breaker is open.
            Saturated: when there is no place.
        """
        try:
            permit = self.breaker.enter()
        except CircuitOpen:
            self._statistics.count(self.function.name, CIRCUIT_OPEN)
            raise
        try:
            place = self._bulkhead.enter(self.limit)
        except Saturated:
            permit.settle(success=None)
            self._statistics.count(self.function.name, SATURATED)
            raise
        return Passage(self.function, permit, place, self._statistics.count)

    def state(self) -> dict[str, object]:
        """What other workers may want to know of it."""
        return {
            "breaker": str(self.breaker.state),
            "retry_after": round(self.breaker.retry_after, 1),
            "limit": self.limit.limit,
            "in_flight": self.limit.in_flight,
        }

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to tell: closed, idle, and at its ceiling."""
        limit = self.limit
        idle = not limit.in_flight and limit.limit >= limit.ceiling
        return idle and self.breaker.state is BreakerState.CLOSED


class Passage:
    """One call under way. Report how it ended, once, and leave."""

    def __init__(
        self,
        function: EdgeFunction,
        permit: Permit,
        place: Place,
        count: Callable[[str, str, float | None], None],
    ) -> None:
        self._function = function
        self._permit = permit
        self._place = place
        self._count = count
        self._reported = False
        self._started = time.monotonic()
        self._callers = 0.0

    @property
    def seconds(self) -> float:
        """How long the function has been waited for: all the time but the caller's turns."""
        return time.monotonic() - self._started - self._callers

    @contextlib.contextmanager
    def callers_turn(self) -> Iterator[None]:
        """Wait for the caller within the block, one block at a time; no function is slow by it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._callers += time.monotonic() - began

    def answered(self, status: int) -> None:
        """It ended with a whole answer."""
        outcome = SERVER_ERROR if status >= _FIRST_SERVER_ERROR else OK
        if outcome == OK and self._is_slow(self.seconds):
            outcome = SLOW
        self.ended(outcome)

    def ended(self, outcome: str) -> None:
        """It ended with this outcome; only the first report counts.

        A timeout before an answer would have been slow says nothing about the function: the call
        was given less time than the function has.
        """
        if self._reported:
            return
        self._reported = True
        seconds = self.seconds
        if outcome == ErrorKind.TIMEOUT and not self._is_slow(seconds):
            outcome = CUT_SHORT
        known = outcome not in _NOT_ITS_FAULT
        self._permit.settle(success=outcome == OK if known else None)
        if known:
            self._place.observe(seconds, answered=outcome != ErrorKind.TIMEOUT)
        self._count(self._function.name, str(outcome), seconds)

    def leave(self) -> None:
        """Make room; without a report the caller went away in the middle."""
        self.ended(CALLER_GONE)
        self._place.leave()

    def _is_slow(self, seconds: float) -> bool:
        return seconds > self._function.timeout * SLOW_SHARE

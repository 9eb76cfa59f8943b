"""A circuit breaker: leaves a function alone that fails, and finds out when it is back.

::

    closed ──  5 failures in a row, or half of the last 20 calls (5 at least)  ──▶ open
    open ──  30 s, each time twice as long up to 300 s, with jitter  ──▶ half-open
    half-open ──  its one probe succeeds  ──▶ closed
    half-open ──  its one probe fails     ──▶ open

No lock is held during a call: a caller takes a permit, calls, and settles the permit.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from app.edge.errors import CircuitOpen

WINDOW, LEAST_CALLS, FAILURE_SHARE, IN_A_ROW = 20, 5, 0.5, 5
#: Seconds that a breaker stays open: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
#: A pause is this share longer or shorter, so that workers do not probe in step.
JITTER = 0.1
#: What a caller is told to wait while another's probe is under way, in seconds.
PROBE_WAIT = 1.0


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Permit:
    """One call's leave to be made. Settle it once; what is settled again is ignored."""

    __slots__ = ("_breaker", "_generation", "_settled")

    def __init__(self, breaker: Breaker, generation: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._settled = False

    def settle(self, *, success: bool | None) -> None:
        """Say how the call went; None when it says nothing about the function."""
        if not self._settled:
            self._settled = True
            self._breaker._settle(self._generation, success)  # noqa: SLF001 - its other half


class Breaker:
    """One function's breaker in this process; safe to use from any thread.

    Args:
        clock: seconds that never go back.
        spread: a random number between two, for the jitter.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._lock = threading.Lock()
        self._calls: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._opened = 0
        self._open_until: float | None = None
        self._probing = False
        # Counts the changes of state: a call that began before one says nothing after it.
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """The state of this moment; half-open from the end of the pause on."""
        until = self._open_until
        if until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < until else BreakerState.HALF_OPEN

    @property
    def retry_after(self) -> float:
        """Seconds until a call may go through; 0 when one may now."""
        until = self._open_until
        if until is None:
            return 0.0
        left = until - self._clock()
        return left if left > 0 else PROBE_WAIT * self._probing

    def enter(self) -> Permit:
        """Leave to make one call.

        Raises:
            CircuitOpen: while the breaker is open, or another's probe is under way.
        """
        with self._lock:
            if self._open_until is not None:
                if (wait := self.retry_after) > 0:
                    raise CircuitOpen(wait)
                self._probing = True
            return Permit(self, self._generation)

    def _settle(self, generation: int, success: bool | None) -> None:  # noqa: FBT001
        with self._lock:
            if generation != self._generation:
                return
            if self._open_until is not None:
                self._settle_probe(success)
            elif success is not None:
                self._count(success)

    def _settle_probe(self, success: bool | None) -> None:  # noqa: FBT001
        self._probing = False
        if success:
            self._change(open_until=None)
            self._opened = 0
        elif success is False:
            self._open()

    def _count(self, success: bool) -> None:  # noqa: FBT001
        self._calls.append(success)
        self._in_a_row = 0 if success else self._in_a_row + 1
        failures = len(self._calls) - sum(self._calls)
        many = len(self._calls) >= LEAST_CALLS and failures >= FAILURE_SHARE * len(self._calls)
        # A success may still make up half of the window's failures, but it is no reason to open.
        if not success and (many or self._in_a_row >= IN_A_ROW):
            self._open()

    def _open(self) -> None:
        pause = FIRST_PAUSE * 2**self._opened * self._spread(1 - JITTER, 1 + JITTER)
        self._opened = min(self._opened + 1, 10)
        self._change(open_until=self._clock() + min(LONGEST_PAUSE, pause))

    def _change(self, open_until: float | None) -> None:
        self._open_until = open_until
        self._generation += 1
        self._calls.clear()
        self._in_a_row = 0

"""Bulkhead: edge calls never take more of a worker's threads than their share.

The share bounds all functions together. Within it every function has a limit of its own that
follows its latency: one more call for each round of good answers, a third less when answers
become slow (additive increase, multiplicative decrease, as TCP does it; RFC 5681).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from app.edge.errors import Saturated

#: What a limit is multiplied by when answers become slow.
DECREASE = 0.7
#: An answer is slow when it takes so many times as long as usual, and at least so much longer.
SLOW_FACTOR, SLOW_MARGIN = 2.0, 0.1
#: So many slow answers of the last calls make the limit go down.
SLOW_CALLS, RECENT_CALLS = 5, 20
#: How much one answer moves what counts as usual: little when it is slow itself.
WEIGHT, SLOW_WEIGHT = 0.1, 0.02
#: Seconds between two decreases: answers of one round are one sign, not many.
DECREASE_PAUSE = 1.0
#: What a caller who is refused is told to wait, in seconds.
RETRY_SECONDS = 1.0


class AdaptiveLimit:
    """How many calls one function may have under way: from ``floor`` to ``ceiling``.

    It starts at the ceiling. Not safe to use from several threads at once: its bulkhead's lock
    keeps them apart.
    """

    def __init__(self, floor: int, ceiling: int, clock: Callable[[], float]) -> None:
        self.floor = floor
        self.ceiling = ceiling
        self.in_flight = 0
        self._limit = float(ceiling)
        self._usual: float | None = None
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=RECENT_CALLS)
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        """The limit of this moment."""
        return int(self._limit)

    def bound(self, ceiling: int) -> None:
        """Have another ceiling from now on."""
        self.ceiling = ceiling
        self.floor = min(self.floor, ceiling)
        self._limit = min(self._limit, float(ceiling))

    def observe(self, seconds: float, *, answered: bool) -> None:
        """Learn from a call that took so long; one without an answer counts as slow."""
        slow = not answered or self._is_slow(seconds)
        self._learn(seconds, SLOW_WEIGHT if slow else WEIGHT)
        self._recent.append(slow)
        # One slow answer among many is an accident; one that never came is not.
        many = slow and sum(self._recent) >= SLOW_CALLS
        if many or not answered:
            self._decrease()
        elif not slow and self.in_flight * 2 >= self.limit:
            self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)

    def _is_slow(self, seconds: float) -> bool:
        usual = self._usual
        return usual is not None and seconds > max(usual * SLOW_FACTOR, usual + SLOW_MARGIN)

    def _learn(self, seconds: float, weight: float) -> None:
        usual = seconds if self._usual is None else self._usual
        self._usual = usual + weight * (seconds - usual)

    def _decrease(self) -> None:
        now = self._clock()
        if now - self._decreased_at >= DECREASE_PAUSE:
            self._decreased_at = now
            self._recent.clear()
            self._limit = max(float(self.floor), self._limit * DECREASE)


class Place:
    """One call's place; leaving it twice is leaving it once."""

    __slots__ = ("_bulkhead", "_left", "_limit")

    def __init__(self, bulkhead: Bulkhead, limit: AdaptiveLimit) -> None:
        self._bulkhead = bulkhead
        self._limit = limit
        self._left = False

    def observe(self, seconds: float, *, answered: bool) -> None:
        """Let the function's limit learn from the call."""
        with self._bulkhead.lock:
            self._limit.observe(seconds, answered=answered)

    def leave(self) -> None:
        """Make room for the next."""
        with self._bulkhead.lock:
            if not self._left:
                self._left = True
                self._limit.in_flight -= 1
                self._bulkhead.in_flight -= 1


class Bulkhead:
    """The places of all functions of this process.

    Args:
        share: how many calls may be under way altogether; asked at each call, since an eventlet
            worker has more threads than others.
        clock: seconds that never go back.
    """

    def __init__(
        self, share: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self._share = share
        self._clock = clock

    def limit(self, ceiling: int | None) -> AdaptiveLimit:
        """A function's limit; a quarter of its ceiling always remains."""
        share = self._share()
        ceiling = min(ceiling or share, share)
        return AdaptiveLimit(max(1, ceiling // 4), ceiling, self._clock)

    def enter(self, limit: AdaptiveLimit) -> Place:
        """Take a place.

        Raises:
            Saturated: when there is none.
        """
        with self.lock:
            if self.in_flight >= self._share() or limit.in_flight >= limit.limit:
                raise Saturated(RETRY_SECONDS)
            self.in_flight += 1
            limit.in_flight += 1
        return Place(self, limit)

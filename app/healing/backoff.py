"""Pauses that double: the one way in which this service waits before it tries again."""

from __future__ import annotations

import time
from collections.abc import Callable

#: More doublings than this change nothing: every longest pause is reached before.
MAX_DOUBLINGS = 40


def doubled(first: float, longest: float, doublings: int) -> float:
    """``first`` seconds doubled so many times, ``longest`` at most; 0 or less is ``first``."""
    return min(longest, first * 2.0 ** min(max(doublings, 0), MAX_DOUBLINGS))


class Backoff:
    """When something that failed may be tried again: at once, and then after pauses that double.

    Args:
        first: the first pause, in seconds.
        longest: the longest one.
        clock: seconds that never go back.
    """

    def __init__(
        self, first: float, longest: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first, self._longest, self._clock = first, longest, clock
        self._failures = 0
        self._due_at = float("-inf")

    @property
    def due(self) -> bool:
        """Whether it may be tried now."""
        return self._clock() >= self._due_at

    def failed(self) -> None:
        """Wait, twice as long as the last time."""
        self._due_at = self._clock() + doubled(self._first, self._longest, self._failures)
        self._failures += 1

    def reset(self) -> None:
        """Begin anew: it may be tried now, and the next pause is the first."""
        self._failures, self._due_at = 0, float("-inf")

"""The bulkhead: a bounded share of threads, and limits that follow latency."""

from __future__ import annotations

import pytest

from app.edge.errors import Saturated
from app.edge.protection import AdaptiveLimit, Bulkhead


@pytest.fixture
def now() -> list[float]:
    """The time that the bulkhead sees."""
    return [0.0]


def _bulkhead(share: int, now: list[float]) -> Bulkhead:
    return Bulkhead(lambda: share, clock=lambda: now[0])


class TestShare:
    """All functions together."""

    def test_never_more_than_the_share(self, now: list[float]) -> None:
        """With every slot taken a call is refused, and says when to come back."""
        bulkhead = _bulkhead(3, now)
        limits = [bulkhead.limit(None), bulkhead.limit(None)]
        slots = [bulkhead.acquire(limits[n % 2]) for n in range(3)]
        with pytest.raises(Saturated) as caught:
            bulkhead.acquire(limits[0])
        assert caught.value.retry_after > 0
        slots[0].release()
        slots[0].release()
        bulkhead.acquire(limits[1])
        with pytest.raises(Saturated):
            bulkhead.acquire(limits[0])

    def test_one_function_alone(self, now: list[float]) -> None:
        """A function's own concurrency bounds it within the share."""
        bulkhead = _bulkhead(8, now)
        narrow, other = bulkhead.limit(2), bulkhead.limit(100)
        assert other.ceiling == 8
        for _ in range(2):
            bulkhead.acquire(narrow)
        with pytest.raises(Saturated):
            bulkhead.acquire(narrow)
        bulkhead.acquire(other)


class TestLimit:
    """One function's limit."""

    def _limit(self, now: list[float]) -> AdaptiveLimit:
        limit = AdaptiveLimit(4, 16, lambda: now[0])
        limit.in_flight = 16
        for _ in range(20):
            limit.observe(0.02, answered=True)
        return limit

    def test_starts_at_the_ceiling(self, now: list[float]) -> None:
        """Usual answers keep it there."""
        assert self._limit(now).limit == 16

    def test_slow_answers(self, now: list[float]) -> None:
        """Answers that become slow bring it down by steps of a third."""
        limit = self._limit(now)
        for now[0], expected in ((1, 11), (2, 7), (3, 5)):
            for _ in range(10):
                limit.observe(1.0, answered=True)
            assert limit.limit == expected

    def test_floor(self, now: list[float]) -> None:
        """It never goes below the floor."""
        limit = self._limit(now)
        for now[0] in range(1, 30):
            limit.observe(5.0, answered=False)
        assert limit.limit == 4

    def test_one_slow_answer(self, now: list[float]) -> None:
        """A single slow answer among many changes nothing."""
        limit = self._limit(now)
        limit.observe(1.0, answered=True)
        assert limit.limit == 16

    def test_no_answer(self, now: list[float]) -> None:
        """A call that brought no answer brings it down, once for all calls of a round."""
        limit = self._limit(now)
        for _ in range(5):
            limit.observe(5.0, answered=False)
        assert limit.limit == 11

    def test_recovers(self, now: list[float]) -> None:
        """Good answers bring it back to the ceiling, one more for each round."""
        limit = self._limit(now)
        limit.observe(5.0, answered=False)
        limit.in_flight = limit.limit
        for _ in range(12):
            limit.observe(0.02, answered=True)
        assert limit.limit == 12
        limit.in_flight = 16
        for _ in range(200):
            limit.observe(0.02, answered=True)
        assert limit.limit == 16

    def test_idle(self, now: list[float]) -> None:
        """A limit that is not made use of does not grow."""
        limit = self._limit(now)
        limit.observe(5.0, answered=False)
        limit.in_flight = 1
        for _ in range(200):
            limit.observe(0.02, answered=True)
        assert limit.limit == 11

    def test_new_usual(self, now: list[float]) -> None:
        """What stays slow becomes usual, and the limit comes back."""
        limit = self._limit(now)
        for now[0] in range(1, 400):
            limit.observe(0.3, answered=True)
        assert limit.limit > 4

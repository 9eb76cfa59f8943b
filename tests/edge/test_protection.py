"""Breakers, bulkheads and deadlines, with clocks of the tests' own where they have one."""

from __future__ import annotations

import threading
import time

import pytest

from app.edge.errors import CircuitOpen, Saturated
from app.edge.protection import AdaptiveLimit, Breaker, BreakerState, Bulkhead, Deadlines
from tests.edge.conftest import PATIENT


class World:
    """A breaker with a clock, and a jitter that can be set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spread = 1.0
        self.breaker = Breaker(clock=lambda: self.now, spread=lambda _low, _high: self.spread)

    def call(self, results: str) -> None:
        """Make calls that end so: ``+`` well, ``-`` badly, ``?`` without a verdict."""
        for result in results:
            success = {"+": True, "-": False, "?": None}[result]
            self.breaker.record(self.breaker.allow(), success=success)

    def state(self) -> BreakerState:
        """The state of this moment."""
        return self.breaker.state

    def wait(self) -> float:
        """Seconds that a caller is asked to wait."""
        with pytest.raises(CircuitOpen) as caught:
            self.breaker.allow()
        return caught.value.retry_after


@pytest.fixture
def world() -> World:
    """A closed breaker."""
    return World()


class TestOpening:
    """What opens it."""

    def test_five_in_a_row(self, world: World) -> None:
        """Five failures in a row open it, four do not."""
        world.call("+" * 15 + "-" * 4)
        assert world.state() is BreakerState.CLOSED
        world.call("-")
        assert world.state() is BreakerState.OPEN

    def test_half_of_the_window(self, world: World) -> None:
        """Half of the last calls failing opens it, from five calls on."""
        world.call("-+-+")
        assert world.state() is BreakerState.CLOSED
        world.call("-")
        assert world.state() is BreakerState.OPEN

    def test_less_than_half(self, world: World) -> None:
        """Nine failures of twenty keep it closed, ten open it; older calls do not count."""
        world.call("---+" + "+" * 20)
        world.call("-+" * 9)
        assert world.state() is BreakerState.CLOSED
        world.call("-")
        assert world.state() is BreakerState.OPEN

    def test_no_verdict(self, world: World) -> None:
        """Calls that say nothing about the function count as nothing."""
        world.call("?" * 50)
        world.call("-" * 4)
        assert world.state() is BreakerState.CLOSED

    def test_recorded_once(self, world: World) -> None:
        """A permission counts once."""
        permission = world.breaker.allow()
        for _ in range(10):
            world.breaker.record(permission, success=False)
        assert world.state() is BreakerState.CLOSED


class TestOpen:
    """While it is open."""

    def test_refuses(self, world: World) -> None:
        """Every call is refused with the time that is left."""
        world.call("-" * 5)
        assert world.wait() == 30.0
        world.now = 29.0
        assert world.wait() == 1.0

    def test_late_results(self, world: World) -> None:
        """What calls from before the opening bring is ignored."""
        late = [world.breaker.allow() for _ in range(8)]
        world.call("-" * 5)
        for permission in late:
            world.breaker.record(permission, success=True)
        assert world.state() is BreakerState.OPEN
        world.now = 30.0
        probe = world.breaker.allow()
        world.breaker.record(probe, success=True)
        assert world.state() is BreakerState.CLOSED

    @pytest.mark.parametrize(("spread", "first"), [(0.9, 27.0), (1.1, 33.0)])
    def test_jitter(self, world: World, spread: float, first: float) -> None:
        """A pause is up to a tenth shorter or longer."""
        world.spread = spread
        world.call("-" * 5)
        assert world.wait() == pytest.approx(first)

    def test_doubling(self, world: World) -> None:
        """Each failed probe doubles the pause, up to 300 s; a good one begins anew."""
        world.spread = 1.1
        world.call("-" * 5)
        pauses = []
        for _ in range(6):
            pauses.append(world.wait())
            world.now += pauses[-1]
            world.call("-")
        assert pauses == pytest.approx([33, 66, 132, 264, 300, 300])
        world.now += world.wait()
        world.call("+")
        world.call("-" * 5)
        assert world.wait() == pytest.approx(33)


class TestHalfOpen:
    """When the pause is over."""

    def test_one_probe(self, world: World) -> None:
        """Of many threads that come at once exactly one goes through."""
        world.call("-" * 5)
        world.now = 30.0
        assert world.state() is BreakerState.HALF_OPEN
        gate, through, refused = threading.Barrier(16), [], []

        def caller() -> None:
            gate.wait()
            try:
                through.append(world.breaker.allow())
            except CircuitOpen as refusal:
                refused.append(refusal.retry_after)

        threads = [threading.Thread(target=caller) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (probe,) = through
        assert len(refused) == 15
        assert all(seconds > 0 for seconds in refused)
        world.breaker.record(probe, success=True)
        assert world.state() is BreakerState.CLOSED
        assert world.breaker.retry_after == 0

    def test_probe_without_a_verdict(self, world: World) -> None:
        """A probe whose caller went away makes room for another."""
        world.call("-" * 5)
        world.now = 30.0
        world.call("?")
        assert world.state() is BreakerState.HALF_OPEN
        world.call("+")
        assert world.state() is BreakerState.CLOSED

    def test_old_failures_are_forgotten(self, world: World) -> None:
        """After it closed again it takes as much as at first to open it."""
        world.call("-" * 5)
        world.now = 30.0
        world.call("+" + "-" * 4)
        assert world.state() is BreakerState.CLOSED


def test_no_lock_during_a_call(world: World) -> None:
    """Calls under way keep no other call from beginning or ending."""
    permissions = [world.breaker.allow() for _ in range(100)]
    for permission in permissions:
        world.breaker.record(permission, success=True)
    assert world.state() is BreakerState.CLOSED


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


class TestDeadlines:
    """What must be over by a time."""

    def test_order(self) -> None:
        """Actions are done at their times, the earliest first, and never for what is over."""
        deadlines, done, last = Deadlines(), list[str](), threading.Event()
        begin = time.monotonic()
        watches = {
            name: deadlines.watch(begin + seconds, lambda name=name: done.append(name))  # type: ignore[misc]
            for name, seconds in (("second", 0.2), ("first", 0.1), ("over", 0.15))
        }
        watches["over"].cancel()
        deadlines.watch(begin + 0.3, last.set)
        assert last.wait(PATIENT)
        assert time.monotonic() >= begin + 0.3
        assert done == ["first", "second"]
        assert [watches[name].expired for name in ("first", "second", "over")] == [
            True,
            True,
            False,
        ]
        deadlines.close()

    def test_close(self) -> None:
        """Closing does at once what is left, and ends the thread; a later watch works again."""
        deadlines, ended, again = Deadlines(), threading.Event(), threading.Event()
        watch = deadlines.watch(time.monotonic() + 1000, ended.set)
        deadlines.close()
        assert (ended.is_set(), watch.expired) == (True, True)
        deadlines.watch(time.monotonic(), again.set)
        assert again.wait(PATIENT)
        deadlines.close()

"""The circuit breaker, state by state, with a clock of the test's own."""

from __future__ import annotations

import threading

import pytest

from app.edge.errors import CircuitOpen
from app.edge.protection import Breaker, BreakerState


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

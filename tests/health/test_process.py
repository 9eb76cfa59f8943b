"""How busy the request threads are, and whether the clock can be right."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from app.healing.report import Check
from app.health.process import RELEASED, Load, WallClock


def _only(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


class Times:
    """A wall clock and a steady one, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = RELEASED + 1e6, 50.0

    def pass_by(self, seconds: float, *, set_by: float = 0) -> None:
        """Let time pass; ``set_by`` is what somebody turns the wall clock by meanwhile."""
        self.steady += seconds
        self.wall += seconds + set_by


class TestLoad:
    """How busy the request threads are."""

    @pytest.fixture
    def times(self) -> Times:
        """Clocks under the test's control."""
        return Times()

    @pytest.fixture
    def load(self, times: Times) -> Load:
        """A pool of two threads."""
        return Load(2, lambda: times.steady)

    def test_idle(self, load: Load, times: Times) -> None:
        """A pool without requests is well, and says how busy it was."""
        times.pass_by(100)
        check = _only(load.checks())
        assert (check.name, check.ok, check.observed, check.unit) == (
            "worker_pool", True, 0.0, "percent",
        )  # fmt: skip

    def test_requests_are_counted(self, load: Load, times: Times) -> None:
        """The share is that of the time since the last look."""
        load.enter()
        assert load.busy == 1
        times.pass_by(10)
        load.leave()
        assert load.busy == 0
        times.pass_by(10)
        assert _only(load.checks()).observed == 25.0
        times.pass_by(10)
        assert _only(load.checks()).observed == 0.0

    def test_saturated(self, load: Load, times: Times) -> None:
        """A pool that is full for ten seconds fails, says for how long, and recovers."""
        load.enter()
        load.enter()
        times.pass_by(5)
        assert _only(load.checks()).ok
        times.pass_by(5)
        check = _only(load.checks())
        assert (check.ok, check.reason, check.critical) == (False, "saturated", False)
        assert check.advice is not None
        assert "for 10 s" in check.advice
        load.leave()
        times.pass_by(5)
        assert _only(load.checks()).ok

    def test_looking_twice_at_once(self, load: Load, times: Times) -> None:
        """A look right after another does not forget what that one saw."""
        load.enter()
        times.pass_by(10)
        assert [_only(load.checks()).observed for _ in range(3)] == [50.0] * 3

    def test_no_bound(self) -> None:
        """Where nothing bounds the requests nothing can be saturated."""
        assert list(Load(None).checks()) == []

    def test_many_threads(self) -> None:
        """No request is lost in the count."""
        load = Load(8)

        def answer() -> None:
            for _ in range(2000):
                load.enter()
                load.leave()

        threads = [threading.Thread(target=answer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert load.busy == 0


class TestWallClock:
    """The date."""

    @pytest.fixture
    def times(self) -> Times:
        """Clocks under the test's control."""
        return Times()

    @pytest.fixture
    def clock(self, times: Times) -> WallClock:
        """The check of them."""
        return WallClock(lambda: times.wall, lambda: times.steady)

    def test_runs(self, clock: WallClock, times: Times) -> None:
        """A clock that runs is well, and so is one that is set by some seconds."""
        for correction in (0, 59, -59):
            times.pass_by(5, set_by=correction)
            assert _only(clock.checks()).ok

    @pytest.mark.parametrize("jump", [61, -61, 1e6])
    def test_jumps(self, clock: WallClock, times: Times, jump: float) -> None:
        """A jump between two looks is reported for five minutes."""
        assert _only(clock.checks()).ok
        times.pass_by(5, set_by=jump)
        assert _only(clock.checks()).reason == "clock_jumped"
        times.pass_by(299)
        assert _only(clock.checks()).reason == "clock_jumped"
        times.pass_by(1)
        assert _only(clock.checks()).ok

    def test_never_set(self, clock: WallClock, times: Times) -> None:
        """A date before this release cannot be right."""
        times.wall = RELEASED - 1
        check = _only(clock.checks())
        assert (check.ok, check.reason, check.critical) == (False, "clock_wrong", False)

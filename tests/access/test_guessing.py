"""How wrong tokens are counted, and how long who sends them has to wait."""

from __future__ import annotations

import threading

import pytest

from app.access.guessing import ALLOWED, FORGOTTEN, LAST_PAUSE, FailedAttempts, origin_of
from tests.support.clock import Clock

WAIT = 20


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


class TestFailedAttempts:
    """How wrong tokens are counted."""

    def test_pauses_grow(self, clock: Clock) -> None:
        """Five failures begin a pause, each further one a pause twice as long, up to a minute."""
        failures = FailedAttempts(clock=clock)
        assert [failures.failed("a") for _ in range(ALLOWED - 1)] == [0, 0, 0, 0]
        assert failures.pause("a") == 0
        pauses = []
        for _ in range(9):
            pauses.append(failures.failed("a"))
            assert failures.pause("a") == pauses[-1]
            clock.pass_by(pauses[-1])
            assert failures.pause("a") == 0
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]

    def test_others_are_free(self, clock: Clock) -> None:
        """A pause is for one origin alone."""
        failures = FailedAttempts(clock=clock)
        for _ in range(ALLOWED):
            failures.failed("a")
        assert failures.pause("a") > 0
        assert failures.pause("b") == 0

    def test_success(self, clock: Clock) -> None:
        """A success ends the count."""
        failures = FailedAttempts(clock=clock)
        for _ in range(3 * ALLOWED):
            failures.failed("a")
            failures.succeeded("a")
        assert failures.pause("a") == 0
        assert len(failures) == 0

    def test_forgotten(self, clock: Clock) -> None:
        """A minute without a failure or a pause ends the count; a shorter time does not."""
        failures = FailedAttempts(clock=clock)
        for _ in range(20):
            clock.pass_by(LAST_PAUSE + FORGOTTEN)
            failures.failed("a")
        clock.pass_by(FORGOTTEN + 1)
        assert failures.failed("a") == 0
        assert [failures.failed("a") for _ in range(ALLOWED)] == [0, 0, 0, 1, 2]
        clock.pass_by(2 + FORGOTTEN + 1)
        assert failures.failed("a") == 0

    def test_bounded(self, clock: Clock) -> None:
        """Only so many origins are remembered; the one that failed longest ago goes first."""
        failures = FailedAttempts(clock=clock, max_origins=3)
        for origin in ("old", "newer"):
            for _ in range(ALLOWED):
                failures.failed(origin)
        failures.failed("old")
        for number in range(2):
            failures.failed(f"stranger {number}")
        assert len(failures) == 3
        assert failures.pause("newer") == 0
        assert failures.pause("old") > 0

    @pytest.mark.parametrize(
        ("address", "origin"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            (None, "local"),
            ("", "local"),
            ("192.0.2.1:40001", "192.0.2.1"),
            ("[2001:db8:1:2::3]:40001", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
            ("unix:", "unknown"),
            ("_hidden", "unknown"),
            ("192.0.2.1:x", "unknown"),
        ],
    )
    def test_origins(self, address: str | None, origin: str) -> None:
        """IPv6 addresses of one network are one origin, and so is all that is no address."""
        assert origin_of(address) == origin

    def test_many_threads(self, clock: Clock) -> None:
        """Failures at the same time are all counted."""
        failures = FailedAttempts(clock=clock)

        def fail() -> None:
            for number in range(100):
                failures.failed(f"{number}")

        threads = [threading.Thread(target=fail) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert [failures.failed(f"{number}") for number in range(100)] == [1] * 100

"""The thread that a worker's services take turns in: it outlives what fails, and ends when told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.healing.background import BackgroundLoop
from tests.support.processes import wait_until

NAME = "loop of a test"


class Turns:
    """Counts turns; one can be made to fail or to wait."""

    def __init__(self) -> None:
        self.taken = 0
        self.pause = 0.01
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self) -> float:
        """Take one."""
        self.taken += 1
        self.go_on.wait(20)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self.pause


@pytest.fixture
def turns() -> Turns:
    """What is done in each turn."""
    return Turns()


@pytest.fixture
def loop(turns: Turns) -> Iterator[BackgroundLoop]:
    """A loop, stopped after the test."""
    made = BackgroundLoop(turns, NAME, 0.05)
    yield made
    turns.go_on.set()
    made.stop()
    assert not _threads()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_from_start_to_stop(loop: BackgroundLoop, turns: Turns) -> None:
    """Nothing runs before and after; starting and stopping twice is doing it once."""
    assert (turns.taken, loop.running) == (0, False)
    loop.start()
    loop.start()
    assert len(_threads()) == 1
    wait_until(lambda: turns.taken > 3)
    loop.stop()
    loop.stop()
    assert (loop.running, _threads()) == (False, [])


def test_begun_again(loop: BackgroundLoop, turns: Turns) -> None:
    """What was stopped can be started."""
    loop.start()
    loop.stop()
    before = turns.taken
    loop.start()
    wait_until(lambda: turns.taken > before)


def test_a_turn_that_fails(
    loop: BackgroundLoop, turns: Turns, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its trace, and the next one comes."""
    turns.error = LookupError("no")
    loop.start()
    wait_until(lambda: turns.taken > 2)
    (record,) = [r for r in caplog.records if r.message == "background turn failed"]
    assert vars(record)["fields"] == {"of": NAME}
    assert record.exc_info is not None


def test_a_turn_that_keeps_failing(caplog: pytest.LogCaptureFixture) -> None:
    """The same failure is logged once, another one and one after a success again."""
    errors = [LookupError("a"), LookupError("a"), LookupError("b"), None, LookupError("b")]
    left = iter(errors)
    ended = threading.Event()

    def turn() -> float:
        error = next(left, ended)
        if error is ended:
            ended.set()
        elif isinstance(error, Exception):
            raise error
        return 0.0

    loop = BackgroundLoop(turn, NAME, 0.001)
    loop.start()
    assert ended.wait(20)
    loop.stop()
    assert [r.message for r in caplog.records] == ["background turn failed"] * 3


def test_the_longest_pause(loop: BackgroundLoop, turns: Turns) -> None:
    """However long a turn wants to wait, the next one comes after that."""
    turns.pause = 3600.0
    loop.start()
    wait_until(lambda: turns.taken > 2)


def test_a_turn_that_hangs(loop: BackgroundLoop, turns: Turns) -> None:
    """Stopping does not wait for it for ever, and no other turn follows."""
    turns.go_on.clear()
    loop.start()
    wait_until(lambda: turns.taken == 1)
    loop.stop()
    assert not loop.running
    turns.go_on.set()
    wait_until(lambda: not _threads())
    assert turns.taken == 1

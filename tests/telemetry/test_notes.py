"""Work in batches: everything once and in order, in any process, and no thread that stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest

from app.telemetry.notes import MOST_WAITING, Batches
from tests.support.processes import ROOT, wait_until

NAME = "batches of a test"


class Done:
    """Keeps what was done, batch by batch; can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()

    def __call__(self, items: Sequence[int]) -> None:
        """Do it."""
        self.entered.set()
        self.go_on.wait(20)
        self.batches.append(list(items))

    @property
    def items(self) -> list[int]:
        """All that was done."""
        return [item for batch in self.batches for item in batch]


def threads() -> list[threading.Thread]:
    """The threads that do batches."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def done() -> Done:
    """What was done."""
    return Done()


@pytest.fixture
def gathering(done: Done) -> Iterator[Batches[int]]:
    """Batches whose thread is soon idle, and gone after the test."""
    yield Batches(done, NAME, idle=0.1)
    wait_until(lambda: not threads())


class TestPut:
    """What is put is done a moment later."""

    def test_together_and_in_order(self, gathering: Batches[int], done: Done) -> None:
        """Many are done in few batches, each once."""
        for number in range(500):
            gathering.put(number)
        wait_until(lambda: len(done.items) == 500)
        assert done.items == list(range(500))
        assert len([batch for batch in done.batches if batch]) < 50

    def test_by_many_threads(self, gathering: Batches[int], done: Done) -> None:
        """Nothing is lost and nothing done twice, whoever puts it, and by one thread at a time."""

        def put(first: int) -> None:
            for number in range(first, first + 2000):
                gathering.put(number)

        callers = [threading.Thread(target=put, args=(n * 2000,)) for n in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        wait_until(lambda: len(done.items) >= 16_000)
        assert sorted(done.items) == list(range(16_000))
        wait_until(lambda: len(threads()) <= 1)

    def test_more_than_may_wait(self, gathering: Batches[int], done: Done) -> None:
        """Who brings too much waits for the work, so memory stays bounded."""
        done.go_on.clear()
        gathering.put(0)
        assert done.entered.wait(20)
        for number in range(1, MOST_WAITING + 1):
            gathering.put(number)
        last = threading.Thread(target=gathering.put, args=(MOST_WAITING + 1,))
        last.start()
        last.join(0.3)
        assert last.is_alive()
        done.go_on.set()
        last.join(20)
        assert not last.is_alive()
        assert done.items == list(range(MOST_WAITING + 2))


class TestThread:
    """There is a thread while there is work."""

    def test_ends_when_idle_and_begins_again(self, gathering: Batches[int], done: Done) -> None:
        """Without work it goes; the next item brings another."""
        assert threads() == []
        for number in range(3):
            gathering.put(number)
            wait_until(lambda: done.items == list(range(number + 1)))  # noqa: B023 - waits here
            wait_until(lambda: not threads())

    def test_nothing_is_left_behind_at_its_end(self, gathering: Batches[int], done: Done) -> None:
        """What comes just as it ends is done all the same."""
        for number in range(24):
            gathering.put(number)
            threading.Event().wait(0.12 + number % 8 / 100)
            if number % 4 == 3:
                wait_until(lambda: done.items == list(range(number + 1)))  # noqa: B023

    def test_when_there_is_none_to_be_had(self, gathering: Batches[int], done: Done) -> None:
        """Who puts something does the work."""
        usual = threading.stack_size(1 << 45)
        try:
            gathering.put(1)
            assert done.items == [1]
        finally:
            threading.stack_size(usual)
        gathering.put(2)
        wait_until(lambda: done.items == [1, 2])


class TestFlush:
    """What was put is done now."""

    def test_at_once(self, gathering: Batches[int], done: Done) -> None:
        """It returns when all is done."""
        gathering.flush()
        for number in range(10):
            gathering.put(number)
        gathering.flush()
        assert done.items == list(range(10))


def test_a_forked_child() -> None:
    """It does what it put itself, and nothing of its parent's, whatever the parent was at."""
    code = """
import os, sys, threading, time
from app.telemetry.notes import Batches
lock = threading.Lock()
def work(items):
    with lock:
        for item in items:
            os.write(1, f"{os.getpid() == parent} {item}\\n".encode())
parent = os.getpid()
gathering = Batches(work, "x")
gathering.put("early")
gathering.flush()
gathering.put("waiting")
if os.fork() == 0:
    gathering.put("child")
    time.sleep(0.5)
    gathering.put("flushed")
    gathering.flush()
    os._exit(0)
os.wait()
gathering.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=dict(os.environ),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert sorted(done.stdout.splitlines()) == [
        "False child",
        "False flushed",
        "True early",
        "True waiting",
    ]

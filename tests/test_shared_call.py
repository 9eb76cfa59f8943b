"""One computation for all who ask at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.healing.background import SharedCall

WAIT = 10


def test_one_after_another() -> None:
    """Calls that do not overlap are each made."""
    calls: list[int] = []
    call = SharedCall(lambda: calls.append(1))
    call()
    call()
    assert len(calls) == 2
    assert not call.running


def test_a_failure_is_everybodys_and_is_over() -> None:
    """Who shares a call gets its exception too, and the next call is made anew."""
    entered, gate = threading.Event(), threading.Event()

    def fail() -> None:
        entered.set()
        assert gate.wait(WAIT)
        raise LookupError

    call = SharedCall(fail)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(call)
        assert entered.wait(WAIT)
        assert call.running
        others = [pool.submit(call) for _ in range(4)]
        gate.set()
        for outcome in (first, *others):
            with pytest.raises(LookupError):
                outcome.result(WAIT)
    assert not call.running

"""Single flight: locks that the kernel releases when their holder dies.

``flock`` belongs to the open file, so it keeps threads of one process apart as well as processes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: How often a waiter looks again, in seconds: first and longest pause.
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.01


class Busy(Exception):
    """Another holder kept the lock for longer than the caller would wait."""


class Overtaken(Exception):
    """What the lock was wanted for has been done by another meanwhile."""


def never() -> bool:
    """No, nobody has done it."""
    return False


@contextmanager
def exclusive(path: Path, wait: float = 10.0, done: Callable[[], bool] = never) -> Iterator[int]:
    """Hold the lock file at ``path``; its directory must exist. The file itself stays.

    Yields the descriptor. A child that inherits it keeps the lock when this process is killed,
    until it has ended too; a child that stays behind after a normal end keeps nothing.

    Raises:
        Busy: when it is not free within ``wait`` seconds.
        Overtaken: when ``done``, asked while another holds it, says so.
        OSError: when the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, wait, done)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, wait: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + wait
    look = FIRST_LOOK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if done():
                raise Overtaken from None
            if time.monotonic() >= deadline:
                raise Busy from None
            time.sleep(look)
            look = min(LONGEST_LOOK, look * 2)
        else:
            return

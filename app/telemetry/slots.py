"""Which files of the shared directory are a process's own: those of its slot.

A slot is a small number that a process claims for as long as it lives. The kernel frees it when the
process dies, and the next one takes it over with the counts in its files. So there are as many
files as there ever were processes at once, however often workers are replaced, and no count goes
back. Process ids, prometheus_client's own way, would leave new files behind with every worker.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from pathlib import Path

#: Bytes that each kind of file gets at once. A file system in memory that is full would kill a
#: process that writes to a file's memory; like this it is told before. They hold the series of
#: every route, with room to spare; prometheus_client makes a file larger when it must.
SIZES = {"counter": 128 * 1024, "histogram": 512 * 1024}
_OURS = 0o600


class Slot:
    """The slot of the process that calls it, claimed at its first call and anew after a fork."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._owner = 0
        self._number = 0
        self._descriptor: int | None = None

    def __call__(self) -> int:
        """The slot's number.

        Raises:
            OSError: when the directory cannot be written, or has no room.
        """
        if os.getpid() != self._owner:
            self._claim()
        return self._number

    def _claim(self) -> None:
        if self._descriptor is not None:
            # It came with the fork, and is still the parent's.
            os.close(self._descriptor)
            self._descriptor = None
        number, descriptor = self._first_free()
        try:
            for kind, size in SIZES.items():
                _allocate(self._directory / f"{kind}_{number}.db", size)
        except BaseException:
            os.close(descriptor)
            raise
        self._owner, self._number, self._descriptor = os.getpid(), number, descriptor

    def _first_free(self) -> tuple[int, int]:
        for number in itertools.count():
            descriptor = _lock(self._directory / f"{number}.slot")
            if descriptor is not None:
                return number, descriptor
        raise AssertionError("counting has no end")


def _lock(path: Path) -> int | None:
    """A descriptor that holds the file for as long as it is open; None when another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OURS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _allocate(path: Path, size: int) -> None:
    """Make room for so many bytes; what the file holds already stays."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OURS)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)

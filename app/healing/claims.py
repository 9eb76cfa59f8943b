"""Claims: who of all processes of a host works on a subject, and what the dead have left undone.

A claim is a lock file that the kernel releases when its holder dies. While an attempt is under way
the file says which one, so whoever claims the subject next knows of an attempt that never ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from urllib.parse import quote

#: How often a waiter looks again, in seconds: first and longest pause.
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.01
#: The longest subject that names its file itself.
MAX_NAME = 100
MAX_MARK_BYTES = 1 << 16


class Busy(Exception):
    """Another holder kept the lock for longer than the caller would wait."""


class Overtaken(Exception):
    """What the lock was wanted for has been done by another meanwhile."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a claim's file says of the attempt that is under way.

    ``outcome`` is how it ended, where the journal could not be written when it did.
    """

    kind: str
    subject: str
    attempt: str
    cause: str
    basis: str
    outcome: str = ""


class Claims:
    """The claims under one home. A claim that is held is a descriptor; children may inherit it."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "claims"

    @contextmanager
    def hold(
        self, kind: str, subject: str, wait: float, done: Callable[[], bool] = lambda: False
    ) -> Iterator[int]:
        """Be the only one on this host who works on a subject, for as long as the block lasts.

        Raises:
            Busy: when another does for longer than ``wait`` seconds.
            Overtaken: when ``done``, asked while another does, says that the work is done.
            OSError: when the home cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with exclusive(self._path(kind, subject), wait, done) as descriptor:
            yield descriptor

    def marks(self) -> list[Mark]:
        """The attempts that are under way, by the living or the dead.

        A mark that speaks of another subject than its file is none.
        """
        found = []
        for path in sorted(self.directory.glob("*.*")):
            with suppress(OSError), path.open("rb") as file:
                mark = read_mark(file.fileno())
                if mark is not None and self._path(mark.kind, mark.subject) == path:
                    found.append(mark)
        return found

    def _path(self, kind: str, subject: str) -> Path:
        name = quote(subject, safe="", errors="surrogatepass")
        if len(name) > MAX_NAME:
            name = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()
        return self.directory / f"{kind}.{name}"


def read_mark(claim: int) -> Mark | None:
    """The attempt that is under way, or that a dead holder never ended; a torn mark is none."""
    data = os.pread(claim, MAX_MARK_BYTES, 0)
    with suppress(ValueError, TypeError, RecursionError):
        mark = Mark(**json.loads(data))
        return mark if all(isinstance(value, str) for value in astuple(mark)) else None
    return None


def write_mark(claim: int, mark: Mark | None) -> None:
    """Say which attempt is under way; None when it has ended.

    Raises:
        OSError: when that cannot be written.
    """
    os.ftruncate(claim, 0)
    if mark is not None:
        os.pwrite(claim, json.dumps(asdict(mark)).encode(), 0)


@contextmanager
def exclusive(
    path: Path, wait: float = 10.0, done: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """Hold the lock file at ``path``; its directory must exist. The file itself stays.

    Yields the descriptor. ``flock`` belongs to the open file, so it keeps threads of one process
    apart as well as processes. A child that inherits the descriptor keeps the lock when this
    process is killed, until it has ended too; after a normal end it keeps nothing.

    Raises:
        Busy: when it is not free within ``wait`` seconds.
        Overtaken: when ``done``, asked while another holds it, says so.
        OSError: when the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline, look = time.monotonic() + wait, FIRST_LOOK
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if done():
                    raise Overtaken from None
                if time.monotonic() >= deadline:
                    raise Busy from None
                time.sleep(look)
                look = min(LONGEST_LOOK, look * 2)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)

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
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

#: How often a waiter looks again, in seconds: first and longest pause.
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.01
#: The longest subject that names its file itself.
MAX_NAME = 100
MAX_MARK_BYTES = 4096


class Busy(Exception):
    """Another holder kept the lock for longer than the caller would wait."""


class Overtaken(Exception):
    """What the lock was wanted for has been done by another meanwhile."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a claim's file says of the attempt that is under way."""

    kind: str
    subject: str
    attempt: str
    cause: str
    basis: str


class Claims:
    """The claims under one home."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "claims"

    def prepare(self) -> None:
        """Make the directory.

        Raises:
            OSError: when the home cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(
        self, kind: str, subject: str, wait: float, done: Callable[[], bool] = lambda: False
    ) -> Iterator[Claim]:
        """Be the only one on this host who works on a subject.

        Raises:
            Busy: when another does for longer than ``wait`` seconds.
            Overtaken: when ``done``, asked while another does, says that the work is done.
            OSError: when the file cannot be opened.
        """
        self.prepare()
        name = quote(subject, safe="")
        if len(name) > MAX_NAME:
            name = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()
        with exclusive(self.directory / f"{kind}.{name}", wait, done) as descriptor:
            yield Claim(descriptor)

    def marks(self) -> list[Mark]:
        """The attempts that are under way, by the living or the dead."""
        return [mark for path in sorted(self.directory.glob("*.*")) if (mark := _mark_in(path))]


class Claim:
    """A claim that is held; children that inherit its ``descriptor`` hold it too."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @property
    def mark(self) -> Mark | None:
        """The attempt that is under way, or that a dead holder never ended."""
        return _parse(os.pread(self.descriptor, MAX_MARK_BYTES, 0))

    def write(self, mark: Mark | None) -> None:
        """Say which attempt is under way; None when it has ended.

        Raises:
            OSError: when that cannot be written.
        """
        os.ftruncate(self.descriptor, 0)
        if mark is not None:
            os.pwrite(self.descriptor, json.dumps(asdict(mark)).encode(), 0)


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


def _mark_in(path: Path) -> Mark | None:
    with suppress(OSError), path.open("rb") as file:
        return _parse(file.read(MAX_MARK_BYTES))
    return None


def _parse(data: bytes) -> Mark | None:
    """What a file says; a torn or foreign one says nothing."""
    with suppress(ValueError, TypeError):
        return Mark(**json.loads(data)) if data else None
    return None

"""Small files of the operator's: read within bounds, and read again when they have changed."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds between two looks at a file that is followed.
LOOK_SECONDS = 1.0


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; a pipe or a device is not waited for.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file or is larger, or its name is none.
    """
    # A pipe in the file's place would wait for somebody who writes to it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("expected a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError("expected a smaller file")
    return data


def signature_of(path: Path) -> tuple[int, int, int, int] | None:
    """What changes with the file's content; None while there is no file.

    The change time moves with the content and with the permissions, and nobody can set it back.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def replace_whole(path: Path, content: bytes) -> None:
    """Put a content in the place of a file, for this user alone; one writer at a time.

    Whoever is killed, or loses power, leaves the old file or the new one.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    fresh = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a directory's entries, on the disk.

    Raises:
        OSError: that is not possible.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FollowedFile:
    """Loads a file at once, and again when it has changed; safe to use from any thread.

    Args:
        path: the file; it need not exist, and may come and go.
        load: reads it; called by one thread at a time.
        look_seconds: how long lies between two looks at least.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[], None],
        *,
        look_seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._load = load
        self._look_seconds = look_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        # Taken before it is loaded, so that a change meanwhile is seen at the next look.
        self._signature = signature_of(path)
        load()

    def refresh(self) -> None:
        """Load the file if it has changed.

        Costs one ``stat`` a second at most. Who comes while another thread loads it goes on with
        what was loaded before.
        """
        if self._clock() - self._looked_at < self._look_seconds:
            return
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._looked_at = self._clock()
            signature = signature_of(self._path)
            if signature != self._signature:
                self._signature = signature
                self._load()
        finally:
            self._lock.release()

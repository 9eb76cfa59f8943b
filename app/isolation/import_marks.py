"""Imports that are under way, written down so that one that ends its process is known afterwards.

While a process imports a blueprint, a small file under the home says so, and the process holds a
kernel lock on it. So a file that can be locked was left by a process that died, whatever its
process id is by now; where there are no locks, the file says whose it is. What was being imported
when that happened twice is not imported in a worker again before a child has shown that it can be,
or before its source is another one.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from app.healing.locks import SHARED, holder, lives, lock
from app.kinds.dependency.on_disk import find_on_disk

logger = logging.getLogger(__name__)

#: Processes that have to die in an import before it is taken for the cause.
DEATHS = 2


class ImportMarks:
    """The marks under one home; safe to use from any thread. Creating it touches nothing."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "imports"
        self._own: set[Path] = set()
        self._mutex = threading.Lock()

    @contextmanager
    def during(self, name: str, path: str) -> Iterator[None]:
        """Within: this process imports the module ``path`` of the blueprint ``name``.

        An end of any kind but the process's own clears the blueprint's record. A home that cannot
        be written costs the mark alone.
        """
        try:
            descriptor, mark = self._begin(name, source_of(path))
        except OSError as error:
            logger.debug("import cannot be marked", extra={"fields": {"error": str(error)}})
            yield
            return
        try:
            yield
        finally:
            with suppress(OSError):
                mark.unlink(missing_ok=True)
            os.close(descriptor)
            with self._mutex:
                self._own.discard(mark)
            self.clear(name)

    def crashed(self, name: str, path: str) -> bool:
        """Whether importing the module as it is now has ended as many processes as are enough."""
        source = source_of(path)
        return sum(found == source for _, found in self._left(name)) >= DEATHS

    def clear(self, name: str) -> None:
        """Forget the processes that died while they imported the blueprint."""
        for mark, _ in self._left(name):
            with suppress(OSError):
                mark.unlink(missing_ok=True)

    def close(self) -> None:
        """Take this process's marks away: it ends, and no import is the cause."""
        with self._mutex:
            for mark in self._own:
                with suppress(OSError):
                    mark.unlink(missing_ok=True)
            self._own.clear()

    def _begin(self, name: str, source: str) -> tuple[int, Path]:
        """Write a mark, locked before it is in place: nobody sees it unlocked while we live."""
        self._directory.mkdir(parents=True, exist_ok=True)
        mark = self._directory / f"{quote(name, safe='')}.{uuid.uuid4().hex}"
        fresh = mark.with_name(f".{mark.name}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            lock(descriptor)
            os.write(descriptor, f"{holder()}\n{source}".encode())
            fresh.rename(mark)
        except BaseException:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        with self._mutex:
            self._own.add(mark)
        return descriptor, mark

    def _left(self, name: str) -> Iterator[tuple[Path, str]]:
        """The marks of a blueprint that dead processes left, and the source that each was of."""
        try:
            marks = [m for m in self._directory.iterdir() if m.stem == quote(name, safe="")]
        except OSError:
            return
        for mark in marks:
            with suppress(OSError), mark.open("rb") as file:
                who, _, source = file.read().decode(errors="replace").partition("\n")
                dead = lock(file.fileno(), SHARED)
                # Of another host's process nobody knows whether it lives, where there are no locks.
                if dead or (dead is None and lives(who) is False):
                    yield mark, source


def source_of(path: str) -> str:
    """What changes when the file of a module is written again; "" without such a file."""
    spec = find_on_disk(path)
    try:
        state = os.stat((spec and spec.origin) or "")  # noqa: PTH116 - is text
    except OSError:
        return ""
    return f"{state.st_mtime_ns} {state.st_size}"

"""Imports that are under way, written down so that one that ends its process is known afterwards.

While a process imports a blueprint, a small file under the home says so, and the process holds a
kernel lock on it. So a file that can be locked was left by a process that died, whatever its
process id is by now; where there are no locks, the file says whose it is. What was being imported
when that happened twice is not imported in a worker again before a child has shown that it can be,
or before its source is another one. One that has patched what threads wait with keeps its file
until the process has shown that it serves.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from app.healing.home import make_directory
from app.healing.locks import SHARED, holder, lives, lock
from app.isolation.watchdog import patched, watchdog
from app.kinds.dependency.on_disk import find_on_disk

logger = logging.getLogger(__name__)

#: Processes that have to die in an import before it is taken for the cause.
DEATHS = 2
#: What follows the source in the mark of an import that has patched what threads wait with.
PATCHED = "\npatched"


class ImportMarks:
    """The marks under one home; safe to use from any thread. Creating it touches nothing."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "imports"
        self._own: set[Path] = set()
        #: By blueprint: the mark of its import that has patched this process, and its descriptor.
        self._suspects: dict[str, tuple[Path, int]] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def during(self, name: str, path: str) -> Iterator[None]:
        """Within: this process imports the module ``path`` of the blueprint ``name``.

        It ends there when its interpreter stands still. An end of any kind but the process's own
        clears the blueprint's record. A home that cannot be written costs the mark alone.
        """
        before = patched()
        with watchdog.watching():
            try:
                descriptor, mark = self._begin(name, source_of(path))
            except OSError as error:
                logger.debug("import cannot be marked", extra={"fields": {"error": str(error)}})
                yield
                return
            try:
                yield
            finally:
                if patched() and not before and not self._suspects:
                    with suppress(OSError):
                        os.write(descriptor, PATCHED.encode())
                    self._suspects[name] = mark, descriptor
                    watchdog.demand()
                else:
                    self._end(name, mark, descriptor)

    @contextmanager
    def proving(self) -> Iterator[None]:
        """Within: this process shows that it serves, or ends for not doing so in time."""
        watchdog.demand()
        yield
        suspects, self._suspects = self._suspects, {}
        for name, (mark, descriptor) in suspects.items():
            self._end(name, mark, descriptor)
        watchdog.satisfied()

    @property
    def suspected(self) -> bool:
        """Whether an import has patched this process, or its parent, and no proof has followed."""
        return any(mark.exists() for mark, _ in self._suspects.values())

    def deaths(self, name: str, path: str) -> int:
        """How many processes have died of importing the module as it is now, since one has not."""
        source = source_of(path)
        # What another has patched, as the eventlet worker does, no import can make deaf.
        counted = {source} if patched() else {source, source + PATCHED}
        return sum(text in counted for text in self._left(name).values())

    def died_at(self, name: str) -> float:
        """When the last process died of it, in seconds since the epoch; 0 when none has."""
        times = [0.0]
        for mark in self._left(name):
            with suppress(OSError):
                times.append(mark.stat().st_mtime)
        return max(times)

    def crashed(self, name: str, path: str) -> bool:
        """Whether those are enough for it not to be imported."""
        return self.deaths(name, path) >= DEATHS

    def patches(self, name: str, path: str) -> bool:
        """Whether one died because the import patched it: that it ends in a child says nothing."""
        return source_of(path) + PATCHED in self._left(name).values()

    def clear(self, name: str) -> None:
        """Forget the processes that died while they imported the blueprint."""
        for mark in self._left(name):
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
        make_directory(self._directory)
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

    def _end(self, name: str, mark: Path, descriptor: int) -> None:
        with suppress(OSError):
            mark.unlink(missing_ok=True)
        os.close(descriptor)
        with self._mutex:
            self._own.discard(mark)
        self.clear(name)

    def _left(self, name: str) -> dict[Path, str]:
        """The marks of a blueprint that dead processes left, and the source that each was of."""
        found = {}
        with suppress(OSError):
            form = re.compile(re.escape(quote(name, safe="")) + r"\.[0-9a-f]{32}")
            marks = [mark for mark in self._directory.iterdir() if form.fullmatch(mark.name)]
            for mark in marks:
                with suppress(OSError), mark.open("rb") as file:
                    who, _, source = file.read().decode(errors="replace").partition("\n")
                    dead = lock(file.fileno(), SHARED)
                    # Of another host's process nobody knows whether it lives, where there are no
                    # locks.
                    if dead or (dead is None and lives(who) is False):
                        found[mark] = source
        return found


def source_of(path: str) -> str:
    """What changes when the file of a module is written again; "" without such a file."""
    spec = find_on_disk(path)
    try:
        state = os.stat((spec and spec.origin) or "")  # noqa: PTH116 - is text
    except OSError:
        return ""
    return f"{state.st_mtime_ns} {state.st_size}"

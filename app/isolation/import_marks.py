"""Imports that are under way, written down so that one that ends its process is known afterwards.

While a process imports a blueprint, a mark under the home says so (:mod:`app.healing.marks`). What
was being imported when a process died twice is not imported in a worker again before a child has
shown that it can be, or before its source is another one. One that has patched what threads wait
with keeps its mark until the process has shown that it serves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.healing.marks import Mark, Marks
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
        self._marks = Marks(home / "imports")
        #: The marks of the import that has patched this process.
        self._suspects: list[Mark] = []

    @contextmanager
    def during(self, name: str, path: str) -> Iterator[None]:
        """Within: this process imports the module ``path`` of the blueprint ``name``.

        It ends there when its interpreter stands still. An end of any kind but the process's own
        clears the blueprint's record. A home that cannot be written costs the mark alone.
        """
        before = patched()
        with watchdog.watching():
            try:
                mark = self._marks.begin(name, source_of(path))
            except OSError as error:
                logger.debug("import cannot be marked", extra={"fields": {"error": str(error)}})
                yield
                return
            try:
                yield
            finally:
                if patched() and not before and not self._suspects:
                    with suppress(OSError):
                        mark.add(PATCHED)
                    self._suspects.append(mark)
                    watchdog.demand()
                else:
                    self._end(mark)

    @contextmanager
    def proving(self) -> Iterator[None]:
        """Within: this process shows that it serves, or ends for not doing so in time."""
        watchdog.demand()
        yield
        suspects, self._suspects = self._suspects, []
        for mark in suspects:
            self._end(mark)
        watchdog.satisfied()

    @property
    def suspected(self) -> bool:
        """Whether an import has patched this process, or its parent, and no proof has followed."""
        return any(mark.path.exists() for mark in self._suspects)

    def deaths(self, name: str, path: str) -> int:
        """How many processes have died of importing the module as it is now, since one has not."""
        source = source_of(path)
        # What another has patched, as the eventlet worker does, no import can make deaf.
        counted = {source} if patched() else {source, source + PATCHED}
        return sum(text in counted for text in self._left(name))

    def crashed(self, name: str, path: str) -> bool:
        """Whether those are enough for it not to be imported."""
        return self.deaths(name, path) >= DEATHS

    def patches(self, name: str, path: str) -> bool:
        """Whether one died because the import patched it: that it ends in a child says nothing."""
        return source_of(path) + PATCHED in self._left(name)

    def close(self) -> None:
        """Take this process's marks away: it ends, and no import is the cause."""
        self._marks.close()

    def _end(self, mark: Mark) -> None:
        self._marks.end(mark)
        self._marks.clear(mark.name)

    def _left(self, name: str) -> list[str]:
        """The sources that dead processes were importing a blueprint from."""
        return [mark.text for mark in self._marks.left() if mark.name == name]


def source_of(path: str) -> str:
    """What changes when the file of a module is written again; "" without such a file."""
    spec = find_on_disk(path)
    try:
        state = os.stat((spec and spec.origin) or "")  # noqa: PTH116 - is text
    except OSError:
        return ""
    return f"{state.st_mtime_ns} {state.st_size}"

"""What a power cut leaves of a directory, at each moment of what a process does to it.

A file has what it had when it was last synced, and nothing of what was written since or a part of
it: file systems may have its name on the disk long before its content. Names are there as they are
or, where their directory was not synced, as they were before, which an earlier moment shows.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

#: What Python says before it changes names.
CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"})
#: What becomes of what was not synced: of a file, by its place among the others, what is left.
FATES: dict[str, Callable[[int, bytes, bytes], bytes]] = {
    "lost": lambda _, synced, __: synced,
    "torn": lambda _, synced, now: now[: max(len(now) // 2, len(synced))],
    "even": lambda place, synced, now: synced if place % 2 else now,
    "odd": lambda place, synced, now: now if place % 2 else synced,
}


class PowerCuts:
    """Writes down what is left of ``watched`` at each moment, as directories below ``into``.

    They are called ``NUMBER-FATE``. It counts for the whole process, from ``begin`` on.
    """

    def __init__(self, watched: Path, into: Path) -> None:
        self._watched, self._into = watched, into
        self._synced: dict[int, bytes] = {}
        self._states: list[dict[str, tuple[bytes, bytes] | None]] = []
        self._mutex = threading.RLock()
        self._looking = False
        self._fsync = os.fsync

    def begin(self) -> None:
        """Look from now on, whatever thread does something."""
        os.fsync = self._sync  # type: ignore[assignment]
        sys.addaudithook(self._event)

    def end(self) -> int:
        """Write down what was seen, and return how many moments that were."""
        with self._mutex:
            self._look()
            self._looking = True
        for number, state in enumerate(self._states):
            for fate, left in FATES.items():
                root = self._into / f"{number:04}-{fate}"
                root.mkdir(0o700, parents=True)
                for place, (name, content) in enumerate(state.items()):
                    if content is None:
                        (root / name).mkdir(0o700)
                    else:
                        (root / name).write_bytes(left(place, *content))
        return len(self._states)

    def _event(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if writes or event in CHANGES:
            with self._mutex:
                self._look()

    def _sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        with self._mutex:
            self._look()
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                self._synced[found.st_ino] = os.pread(descriptor, found.st_size, 0)
            self._look()

    def _look(self) -> None:
        """Add a state, unless nothing has changed since the last one."""
        if self._looking:
            return
        self._looking = True
        state: dict[str, tuple[bytes, bytes] | None] = {}
        for directory, names, files in os.walk(self._watched):
            for name in sorted(names):
                state[str(Path(directory, name).relative_to(self._watched))] = None
            for name in sorted(files):
                path = Path(directory, name)
                try:
                    inode, now = path.stat().st_ino, path.read_bytes()
                except FileNotFoundError:
                    continue
                relative = str(path.relative_to(self._watched))
                state[relative] = self._synced.get(inode, b""), now
        if not self._states or self._states[-1] != state:
            self._states.append(state)
        self._looking = False

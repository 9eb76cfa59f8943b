"""Marks: files that say what a process is in the middle of, for those that outlive it.

A process holds a kernel lock on its mark. So a mark that can be locked was left by a process that
died, whatever its process id is by now; where there are no locks, the mark says whose it is.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from app.healing.background import free_after_fork
from app.healing.home import make_directory
from app.healing.locks import SHARED, holder, lives, lock

#: What the file of a mark is called: the name of what it is about, and an id of its own.
FORM = re.compile(r"(.+)\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: what it is about, in a name and a text. A dead process's has no descriptor."""

    path: Path
    name: str
    text: str
    descriptor: int = -1

    def add(self, text: str) -> None:
        """Write more text behind the rest.

        Raises:
            OSError: when the home cannot be written, or it is gone.
        """
        # Not to append: that would make the file anew, unlocked, where it is gone.
        with self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(text.encode())


class Marks:
    """The marks in one directory; safe to use from any thread. Creating it touches nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._own: set[Path] = set()
        # A signal that ends the process can come while the main thread has it.
        self._mutex = free_after_fork(threading.RLock())

    def begin(self, name: str, text: str) -> Mark:
        """Leave a mark, locked before it is in place: nobody sees it unlocked while we live.

        Raises:
            OSError: when the home cannot be written.
        """
        make_directory(self.directory)
        path = self.directory / f"{quote(name, safe='')}.{uuid.uuid4().hex}"
        fresh = path.with_name(f".{path.name}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            lock(descriptor)
            os.write(descriptor, f"{holder()}\n{text}".encode())
            fresh.rename(path)
        except BaseException:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        with self._mutex:
            self._own.add(path)
        return Mark(path, name, text, descriptor)

    def end(self, mark: Mark) -> None:
        """Take a mark of this process away: it is in the middle of that no more."""
        with suppress(OSError):
            mark.path.unlink(missing_ok=True)
        os.close(mark.descriptor)
        with self._mutex:
            self._own.discard(mark.path)

    def left(self) -> list[Mark]:
        """The marks of processes that have died."""
        found = []
        with suppress(OSError):
            for path in tuple(self.directory.iterdir()):
                match = FORM.fullmatch(path.name)
                if match is None or path.name.startswith("."):
                    continue
                with suppress(OSError), path.open("rb") as file:
                    who, _, text = file.read().decode(errors="replace").partition("\n")
                    dead = lock(file.fileno(), SHARED)
                    # Of another host's process nobody knows whether it lives, where there are no
                    # locks.
                    if dead or (dead is None and lives(who) is False):
                        found.append(Mark(path, unquote(match[1]), text))
        return found

    def clear(self, name: str, text: str = "") -> None:
        """Remove the marks that dead processes left of a name, of a text that begins so."""
        for mark in self.left():
            if mark.name == name and mark.text.startswith(text):
                with suppress(OSError):
                    mark.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Take this process's marks away: it ends, and nothing that it is doing is the cause."""
        with self._mutex:
            for path in self._own:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            self._own.clear()

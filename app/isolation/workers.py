"""What each worker process of a host says of itself, in one small file each.

A worker holds a kernel lock on its file for as long as it lives. So a file that can be locked
belongs to a dead worker, whatever its process id is by now, and is removed by whoever sees it.
Where there are no locks the file says whose it is, and since when it has given no sign of life.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.healing.home import make_directory
from app.healing.locks import SHARED, holder, lives, lock

logger = logging.getLogger(__name__)

#: ``HOST-PID.json``: what is called otherwise is nobody's here.
NAME = re.compile(r".+-\d+\.json", re.DOTALL)
#: The largest state that is read, in bytes.
MAX_STATE = 1 << 20
#: The members that others read of a state, and what each is made of.
SHAPES: Mapping[str, type] = {
    "holder": str,
    "booted_at": str,
    "mode": str,
    "active": list,
    "quarantined": dict,
    "needs_restart": list,
    "measured": dict,
    "faults": list,
}
#: Seconds between two signs of life.
SIGN_SECONDS = 5.0
#: Seconds without one after which a worker of another host counts as gone, if no lock tells.
SILENT_SECONDS = 4 * SIGN_SECONDS


class WorkerBoard:
    """The workers under one home. One object serves one process after its fork."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = home / "workers"
        self._clock = clock
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._state: Mapping[str, object] | None = None
        self._sign_at = 0.0

    def write(self, state: Mapping[str, object]) -> None:
        """Say what holds for this process, replacing what it said before; it is seen whole or not.

        The same state again is a sign of life, given every few seconds; it writes the file anew
        where that was taken away. A home that cannot be written costs the others' view of this
        process, nothing else.
        """
        if state == self._state and self._clock() < self._sign_at:
            return
        self._sign_at = self._clock() + SIGN_SECONDS
        if state == self._state and self._descriptor is not None:
            with suppress(OSError):
                os.utime(self._descriptor)
                if os.fstat(self._descriptor).st_nlink:
                    return
        self._state = state
        name = f"{socket.gethostname()}-{os.getpid()}"
        fresh = self._directory / f".{name}.{uuid.uuid4().hex}"
        try:
            make_directory(self._directory)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Locked before it is in place: nobody ever sees it unlocked while its owner lives.
                lock(descriptor)
                who = {"host": socket.gethostname(), "pid": os.getpid(), "holder": holder()}
                os.write(descriptor, json.dumps({**who, **state}).encode())
                self._path = fresh.rename(self._directory / f"{name}.json")
            except BaseException:
                os.close(descriptor)
                fresh.unlink(missing_ok=True)
                raise
        except OSError as error:
            logger.debug("worker state cannot be written", extra={"fields": {"error": str(error)}})
            return
        self._release()
        self._descriptor = descriptor

    def read(self) -> tuple[dict[str, Any], ...]:
        """The living workers, each with ``last_seen`` in seconds since the epoch."""
        try:
            files = sorted(path for path in self._directory.iterdir() if NAME.fullmatch(path.name))
        except OSError:
            return ()
        found = [self._living(path) for path in files]
        return tuple(state for state in found if state is not None)

    def close(self) -> None:
        """Take this process's file away."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _living(self, path: Path) -> dict[str, Any] | None:
        """What the owner of a file says; None when it is dead, and then its file is removed."""
        with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
            state, seen = json.loads(file.read(MAX_STATE)), os.fstat(file.fileno())
            # What names none is no file of a worker's, and not to be removed.
            if not _is_state(state):
                return None
            who = state.pop("holder")
            free = path != self._path and lock(file.fileno(), SHARED)
            if free is None:
                free = _is_gone(who, seen.st_mtime)
            if not free:
                return {**state, "last_seen": seen.st_mtime}
            # A living owner lets go of a file only after it has put another in its place.
            if path.stat().st_ino != seen.st_ino:
                return self._living(path)
            path.unlink(missing_ok=True)
        return None


def _is_state(found: object) -> bool:
    """Whether it names its holder, and what others read of it is what this release would write."""
    if not isinstance(found, dict) or "holder" not in found:
        return False
    members = SHAPES.keys() & found.keys()
    return (
        all(isinstance(found[name], SHAPES[name]) for name in members)
        and all(isinstance(name, str) for name in found.get("active", ()))
        and all(map(_is_fault, found.get("faults", ())))
    )


def _is_fault(row: object) -> bool:
    """Whether it is kind, subject, cause, and since when."""
    match row:
        case [str(), str(), str(), int() | float()]:
            return True
    return False


def _is_gone(who: str, seen: float) -> bool:
    """Whether a file's owner is dead, or of another host and silent; asked where no lock tells."""
    alive = lives(who)
    return time.time() - seen > SILENT_SECONDS if alive is None else not alive

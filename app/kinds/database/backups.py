"""Backups of SQLite files: copies of databases in use, and the newest sound one in a file's place.

Nothing is ever dropped: a file that is replaced is set aside with its companions, and stays.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from app.healing.background import BoundedCall
from app.healing.home import make_directory
from app.healing.locks import Busy, exclusive
from app.settings.errors import OrchestratorError
from app.settings.files import sync

logger = logging.getLogger(__name__)

#: What may lie beside a file and belongs to it: SQLite would replay it into any other one there.
COMPANIONS = ("-wal", "-shm", "-journal")
#: Backups of one file that are kept, and seconds between two of them.
KEPT, EVERY = 3, 3600.0
#: Seconds between two looks at whether one is due. The first one waits, too: a command, which ends
#: at once, makes none.
FIRST_LOOK, LOOK = 2.0, 30.0
NAME = re.compile(r".*\.backup-(\d{6,})")


class Unsound(OrchestratorError):
    """A copy does not pass ``quick_check``: what it was made of is damaged."""


class Schedule:
    """Has the files of one process backed up, each in a thread of its own."""

    def __init__(self) -> None:
        self._calls: dict[Path, BoundedCall[Path | None]] = {}
        self._look_at: dict[Path, float] = {}

    def look(self, path: Path, directory: Path) -> BaseException | None:
        """Begin a backup that is due; what the last one failed for, said once."""
        call, now = self._calls.get(path), time.monotonic()
        if call is not None and not call.orphaned:
            if not call.done:
                return None
            del self._calls[path]
            try:
                call.wait(0)
            except (OSError, sqlite3.Error, Unsound) as error:
                fields = {"file": path.name, "error": type(error).__name__, "detail": str(error)}
                logger.warning("database cannot be backed up", extra={"fields": fields})
                return error
        elif now >= self._look_at.setdefault(path, now + FIRST_LOOK) and path.exists():
            self._look_at[path] = now + LOOK
            if is_due(path, directory, EVERY):
                make = partial(back_up, path, directory, every=EVERY)
                self._calls[path] = BoundedCall(make, f"back up {path.name}")
        return None


def backups_of(path: Path, directory: Path) -> list[Path]:
    """The backups of a file, newest first."""
    # By what a link of the operator's leads to, not by what the link is called.
    name = path.resolve().name
    found = [one for one in directory.glob(f"{name}.backup-*") if NAME.fullmatch(one.name)]
    return sorted(found, key=_number, reverse=True)


def is_due(path: Path, directory: Path, every: float) -> bool:
    """Whether the newest backup of a file is older than ``every`` seconds, or there is none."""
    newest = next(iter(backups_of(path, directory)), None)
    # One from the future was made before the clock was set back.
    return newest is None or not 0 <= time.time() - newest.stat().st_mtime < every


def back_up(
    path: Path, directory: Path, *, keep: int = KEPT, every: float = 0.0, wait: float = 5.0
) -> Path | None:
    """Copy a database in use, and keep the newest few copies that pass ``quick_check``.

    A copy that does not pass is no backup, and replaces none. None while another process makes one,
    or where one was made less than ``every`` seconds ago.

    Raises:
        Unsound: the copy does not pass.
        sqlite3.Error: when it cannot be read.
        OSError: when the copy cannot be written.
    """
    path = path.resolve()
    make_directory(directory)
    with suppress(Busy), exclusive(directory / f".{path.name}.lock", wait=0.0):
        before = backups_of(path, directory)
        if before and not is_due(path, directory, every):
            return None
        fresh = directory / f".{path.name}.partial"
        try:
            _copy(path, fresh, wait)
            if not is_sound(fresh):
                raise Unsound(path.name)
            sync(fresh)
            number = _number(before[0]) + 1 if before else 1
            made = fresh.rename(directory / f"{path.name}.backup-{number:06}")
            sync(directory)
        finally:
            fresh.unlink(missing_ok=True)
        for older in before[max(keep, 1) - 1 :]:
            older.unlink(missing_ok=True)
        return made
    return None


def restore(path: Path, directory: Path) -> Path | None:
    """Put the newest backup that passes ``quick_check`` in a file's place; which one it was.

    What was there is set aside whole, as ``NAME.corrupt-TIME`` with its companions. Where there is
    no such backup nothing is touched, and the answer is None. Connections that are open have the
    file that was set aside.

    Raises:
        OSError: when the disk does not do its part; the backup is in place then, or nothing is.
    """
    path = path.resolve()
    fresh = path.with_name(f"{path.name}.restoring")
    try:
        for backup in backups_of(path, directory):
            shutil.copyfile(backup, fresh)
            if not is_sound(fresh):
                continue
            if path.exists():
                _belong_alike(fresh, path)
            sync(fresh)
            _set_aside(path)
            fresh.replace(path)
            sync(path.parent)
            return backup
    finally:
        fresh.unlink(missing_ok=True)
    return None


def is_sound(path: Path) -> bool:
    """Whether a file that nobody uses passes ``quick_check``."""
    with suppress(sqlite3.Error), connected(path, "ro&immutable=1") as connection:
        return passes(connection, "quick_check")
    return False


@contextmanager
def connected(path: Path, mode: str, wait: float = 0.0) -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions, which waits so many seconds for others."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)) as connection:
        yield connection


def passes(connection: sqlite3.Connection, check: str) -> bool:
    """Whether a database passes ``quick_check`` or ``integrity_check``."""
    found: tuple[str] = connection.execute(f"PRAGMA {check}(1)").fetchone()
    return found == ("ok",)


def _copy(path: Path, fresh: Path, wait: float) -> None:
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with connected(path, "rw", wait) as source, connected(fresh, "rw") as target:
        # At one go: a copy in parts begins anew with each write of another process.
        source.backup(target, pages=-1)


def _set_aside(path: Path) -> None:
    """Give the file a second name, and its companions another: the file is never away.

    Who finds no file makes an empty one, and who finds an old log replays it into the new file.
    """
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    with suppress(FileNotFoundError):
        try:
            aside.hardlink_to(path)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
                raise
            path.rename(aside)
    for suffix in COMPANIONS:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))


def _belong_alike(fresh: Path, path: Path) -> None:
    """Give a file the mode of another, and its owner as far as that may be done."""
    shutil.copymode(path, fresh)
    with suppress(PermissionError):
        os.chown(fresh, path.stat().st_uid, path.stat().st_gid)


def _number(backup: Path) -> int:
    """Its place among the backups: no clock, which may go back, decides which one is newest."""
    found = NAME.fullmatch(backup.name)
    return int(found[1]) if found else 0

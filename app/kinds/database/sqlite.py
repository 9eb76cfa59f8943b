"""SQLite files: what is wrong with one, backups of it, and putting the newest of them in its place.

Nothing is ever dropped: a file that is replaced is set aside with its companions, and stays.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from app.healing.home import LEAST_BYTES, free_bytes, make_directory
from app.healing.locks import Busy, exclusive


class SQLiteCause(StrEnum):
    """What can be wrong with a database that is a file."""

    LOCKED = "database_locked"
    READONLY = "database_readonly"
    CORRUPT = "database_corrupt"
    MISSING_DIRECTORY = "database_missing_directory"
    NOT_A_DATABASE = "database_not_a_database"
    DISK_FULL = "database_disk_full"
    UNREACHABLE = "database_unreachable"


#: Causes by SQLite's primary result codes; what is not here is no fault of the file.
CAUSES = {
    sqlite3.SQLITE_BUSY: SQLiteCause.LOCKED,
    sqlite3.SQLITE_LOCKED: SQLiteCause.LOCKED,
    sqlite3.SQLITE_PROTOCOL: SQLiteCause.LOCKED,
    sqlite3.SQLITE_READONLY: SQLiteCause.READONLY,
    sqlite3.SQLITE_PERM: SQLiteCause.READONLY,
    sqlite3.SQLITE_CANTOPEN: SQLiteCause.READONLY,
    sqlite3.SQLITE_CORRUPT: SQLiteCause.CORRUPT,
    sqlite3.SQLITE_NOTADB: SQLiteCause.NOT_A_DATABASE,
    sqlite3.SQLITE_FULL: SQLiteCause.DISK_FULL,
    sqlite3.SQLITE_IOERR: SQLiteCause.UNREACHABLE,
    sqlite3.SQLITE_NOMEM: SQLiteCause.UNREACHABLE,
}
#: Those for which a backup takes the file's place.
DAMAGED = frozenset({SQLiteCause.CORRUPT, SQLiteCause.NOT_A_DATABASE})
#: What may lie beside a file and belongs to it: SQLite would replay it into any other one there.
COMPANIONS = ("-wal", "-shm", "-journal")
#: Backups of one file that are kept.
BACKUPS = 3
BACKUP = re.compile(r".*\.backup-(\d{6,})")


def cause_of(error: BaseException, path: Path) -> SQLiteCause | None:
    """Why SQLite refused something, by its result code and by what is at ``path`` now.

    None for what is wrong with a statement, and for what is no error of SQLite's.
    """
    code = getattr(error, "sqlite_errorcode", None)
    cause = None if code is None else CAUSES.get(code & 0xFF)
    if cause is None or cause in DAMAGED or cause is SQLiteCause.LOCKED:
        return cause
    # Each of the others is also what SQLite says when it cannot make a companion.
    if not path.parent.is_dir():
        return SQLiteCause.MISSING_DIRECTORY
    if path.is_dir():
        return SQLiteCause.NOT_A_DATABASE
    if free_bytes(path.parent) < LEAST_BYTES:
        return SQLiteCause.DISK_FULL
    if code == sqlite3.SQLITE_CANTOPEN and os.access(path.parent, os.W_OK):
        return SQLiteCause.UNREACHABLE
    return cause


def examine(path: Path, *, write: bool, wait: float, thorough: bool = False) -> SQLiteCause | None:
    """What is wrong with the file at ``path``; None when it does what it is for.

    One that is not there is made by who connects first, where its directory lets that be done.

    Args:
        path: the file.
        write: whether it has to take writes; nothing is written to find out.
        wait: seconds for which others may lock it.
        thorough: reads all of it, its indexes too, which takes as long as that takes.
    """
    if path.parent.is_dir() and write and not os.access(path.parent, os.W_OK):
        return SQLiteCause.READONLY
    if path.parent.is_dir() and write and free_bytes(path.parent) < LEAST_BYTES:
        return SQLiteCause.DISK_FULL
    if path.parent.is_dir() and not path.exists():
        return None
    try:
        with connected(path, "rw" if write else "ro", wait) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if write:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            if thorough and not _passes(connection, "integrity_check"):
                return SQLiteCause.CORRUPT
    except sqlite3.Error as error:
        # Nothing is wrong with these statements: a file that cannot be read by them is garbled.
        return cause_of(error, path) or SQLiteCause.CORRUPT
    return None


def checkpoint(path: Path, wait: float) -> None:
    """Have the write-ahead log written into the file and emptied, which makes room.

    Raises:
        sqlite3.Error: when that cannot be done.
    """
    with connected(path, "rw", wait) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def backups_of(path: Path, directory: Path) -> list[Path]:
    """The backups of a file, newest first."""
    # By what a link of the operator's leads to, not by what the link is called.
    name = path.resolve().name
    found = [one for one in directory.glob(f"{name}.backup-*") if BACKUP.fullmatch(one.name)]
    return sorted(found, key=_number, reverse=True)


def mend(path: Path, cause: SQLiteCause, *, backups: Path | None, wait: float) -> Path | None:
    """Do what can be done about a cause; which backup took the file's place, if one did.

    Whether it has helped says ``examine``, which also waits for a lock to be released.

    Raises:
        sqlite3.Error: when the file does not let that be done.
        OSError: when the disk does not do its part.
    """
    if cause is SQLiteCause.MISSING_DIRECTORY:
        make_directory(path.parent)
    elif cause is SQLiteCause.DISK_FULL and path.exists():
        checkpoint(path, wait)
    lost = cause in DAMAGED or (cause is SQLiteCause.MISSING_DIRECTORY and not path.exists())
    return restore(path, backups) if lost and backups is not None else None


def back_up(path: Path, directory: Path, *, keep: int = BACKUPS, wait: float = 5.0) -> Path | None:
    """Copy a database in use, and keep the newest few copies that pass ``quick_check``.

    A copy that does not pass is no backup, and replaces none. None, too, while another process
    makes one.

    Raises:
        sqlite3.Error: when it cannot be read.
        OSError: when the copy cannot be written.
    """
    path = path.resolve()
    make_directory(directory)
    try:
        with exclusive(directory / f".{path.name}.lock", wait=0.0):
            before = backups_of(path, directory)
            number = _number(before[0]) + 1 if before else 1
            fresh = directory / f".{path.name}.partial"
            try:
                with connected(path, "rw", wait) as source, fresh_file(fresh) as target:
                    # At one go: a copy in parts begins anew with each write of another process.
                    source.backup(target, pages=-1)
                if not passes_quick_check(fresh):
                    return None
                _sync(fresh)
                made = fresh.rename(directory / f"{path.name}.backup-{number:06}")
                _sync(directory)
            finally:
                fresh.unlink(missing_ok=True)
            for older in before[max(keep, 1) - 1 :]:
                older.unlink(missing_ok=True)
            return made
    except Busy:
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
            if not passes_quick_check(fresh):
                continue
            if path.exists():
                _belong_alike(fresh, path)
            _sync(fresh)
            _set_aside(path)
            fresh.replace(path)
            _sync(path.parent)
            return backup
    finally:
        fresh.unlink(missing_ok=True)
    return None


def passes_quick_check(path: Path) -> bool:
    """Whether a file that nobody uses is a sound database."""
    with suppress(sqlite3.Error), connected(path, "ro&immutable=1", 0.0) as connection:
        return _passes(connection, "quick_check")
    return False


@contextmanager
def connected(path: Path, mode: str, wait: float) -> Iterator[sqlite3.Connection]:
    """A connection without implicit transactions, which waits so many seconds for others."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)) as connection:
        yield connection


@contextmanager
def fresh_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a new file, for this user alone."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with connected(path, "rw", 0.0) as connection:
        yield connection


def _passes(connection: sqlite3.Connection, check: str) -> bool:
    found: tuple[str] = connection.execute(f"PRAGMA {check}(1)").fetchone()
    return found == ("ok",)


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
    """Give a file the owner, as far as that may be done, and the mode of another."""
    shutil.copymode(path, fresh)
    with suppress(PermissionError):
        os.chown(fresh, path.stat().st_uid, path.stat().st_gid)


def _number(backup: Path) -> int:
    """Its place among the backups: no clock, which may go back, decides which one is newest."""
    found = BACKUP.fullmatch(backup.name)
    return int(found[1]) if found else 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Databases that are SQLite files: what is wrong with one, and what can be done about it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from app.healing.home import LEAST_BYTES, free_bytes, make_directory
from app.kinds.database.backups import connected, passes, restore
from app.kinds.database.causes import Cause, cause_of
from app.settings.errors import OrchestratorError

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Causes for which a backup takes the file's place.
DAMAGED = frozenset({Cause.CORRUPT, Cause.NOT_A_DATABASE})
#: What is done about each cause of a file, as a plan shows it.
STEPS = {
    Cause.LOCKED: "wait until the lock is released",
    Cause.DISK_FULL: "write the write-ahead log into the file, which makes room",
    Cause.MISSING_DIRECTORY: "make the directory, and put the newest sound backup into it",
    Cause.CORRUPT: "set the file aside, and put the newest sound backup in its place",
    Cause.NOT_A_DATABASE: "set the file aside, and put the newest sound backup in its place",
}


class NoBackup(OrchestratorError):
    """No backup of a damaged file passes ``quick_check``."""


def path_of(url: str) -> Path | None:
    """The file that a URL of SQLite's names; None for a database in memory, or a URI of its own."""
    name = url.partition(":///")[2].partition("?")[0]
    return None if not name or name.startswith((":memory:", "file:")) else Path(name)


def cause_at(path: Path, error: BaseException) -> Cause | None:
    """Why SQLite refused something, by its result code and by what is at ``path`` now.

    None for what is wrong with a statement, and for what is no error of SQLite's.
    """
    cause = cause_of(error)
    if cause is None or cause in DAMAGED or cause is Cause.LOCKED:
        return cause
    # Each of the others is also what SQLite says when it cannot make a companion of the file.
    if not path.parent.is_dir():
        return Cause.MISSING_DIRECTORY
    if path.is_dir():
        return Cause.NOT_A_DATABASE
    if free_bytes(path.parent) < LEAST_BYTES:
        return Cause.DISK_FULL
    if not os.access(path.parent, os.W_OK):
        return Cause.READONLY
    return cause


def examine(path: Path, *, write: bool, wait: float, thorough: bool = False) -> Cause | None:
    """What is wrong with the file at ``path``; None when it does what it is for.

    One that is not there is made by who connects first, where its directory lets that be done.

    Args:
        path: the file.
        write: whether it has to take writes; nothing is written to find out.
        wait: seconds for which others may lock it.
        thorough: reads all of it, its indexes too, which takes as long as that takes.
    """
    if path.parent.is_dir():
        log = path.with_name(f"{path.name}-wal")
        # Where there is a log no other companion has to be made.
        if write and not (os.access(path.parent, os.W_OK) or log.exists()):
            return Cause.READONLY
        if write and free_bytes(path.parent) < LEAST_BYTES:
            return Cause.DISK_FULL
        if not path.exists():
            return None
    try:
        with connected(path, "rw" if write else "ro", wait) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if write:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            if thorough and not passes(connection, "integrity_check"):
                return Cause.CORRUPT
    except sqlite3.Error as error:
        # Nothing is wrong with these statements: a file that cannot be read by them is garbled.
        return cause_at(path, error) or Cause.CORRUPT
    return None


def versions(path: Path, wait: float) -> set[str]:
    """The migrations that Alembic has written down in a file; none where it has written none."""
    if not path.exists():
        return set()
    with connected(path, "ro", wait) as connection:
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.OperationalError:
            return set()
    return {str(version) for (version,) in rows}


def mend(path: Path, cause: str, *, copies: Path | None, wait: float) -> Path | None:
    """Do what can be done about a cause; which backup took the file's place, if one did.

    Whether it has helped says ``examine``, which also waits for a lock to be released.

    Args:
        path: the file.
        cause: what ``examine`` or a statement found.
        copies: the directory of its backups.
        wait: seconds for which others may lock it.

    Raises:
        NoBackup: the file is damaged, and no backup can take its place.
        sqlite3.Error: when the file does not let that be done.
        OSError: when the disk does not do its part.
    """
    if cause == Cause.MISSING_DIRECTORY:
        make_directory(path.parent)
        lost = not path.exists()
    else:
        # A statement may have met a damage that is mended by now.
        lost = cause in DAMAGED and examine(path, write=False, wait=wait, thorough=True) in DAMAGED
    if cause == Cause.DISK_FULL and path.exists():
        with connected(path, "rw", wait) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    restored = restore(path, copies) if lost and copies is not None else None
    if lost and restored is None and cause in DAMAGED:
        raise NoBackup(path.name)
    return restored


def connect_anew_when_replaced(engine: Engine, path: Path) -> None:
    """Have a pool give out no connection to a file in whose place there is another one."""
    from sqlalchemy import event
    from sqlalchemy.exc import DisconnectionError

    def connect(_: object, record: object) -> None:
        record.info["file"] = _identity(path)  # type: ignore[attr-defined]

    def checkout(_: object, record: object, __: object) -> None:
        if record.info.get("file") != _identity(path):  # type: ignore[attr-defined]
            raise DisconnectionError

    event.listen(engine, "connect", connect)
    event.listen(engine, "checkout", checkout)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""The journal: one SQLite file in which every attempt of every process of a host is written down.

Rows are only ever appended. Their number is bounded: the oldest are dropped once their counts are
kept in ``totals``, so counters never go back. A journal that cannot be used costs history, which
is logged, and never service: reads are then empty and writes return False.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.healing.flight import exclusive
from app.healing.policy import EXPIRY, Failures

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

SCHEMA_VERSION = 1
#: Rows kept in full; older ones live on in the totals.
MAX_ROWS = 10_000
#: Rows over MAX_ROWS that are tolerated before the oldest are dropped in one go.
SLACK = 500
RESET = "reset"
COLUMNS = (
    "attempt",
    "at",
    "host",
    "pid",
    "kind",
    "subject",
    "cause",
    "requirement",
    "installed",
    "hashes",
    "lock",
    "outcome",
    "seconds",
    "error_class",
)
SCHEMA = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    attempt TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    cause TEXT NOT NULL,
    requirement TEXT NOT NULL,
    installed TEXT NOT NULL,
    hashes TEXT NOT NULL,
    lock TEXT NOT NULL,
    outcome TEXT NOT NULL,
    seconds REAL NOT NULL,
    error_class TEXT NOT NULL
);
CREATE INDEX attempts_by_subject ON attempts (kind, subject, id);
CREATE TABLE totals (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    cause TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count INTEGER NOT NULL,
    seconds REAL NOT NULL,
    last_at REAL NOT NULL,
    PRIMARY KEY (kind, subject, cause, outcome)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as it is recorded; ``at`` is seconds since the epoch."""

    attempt: str
    subject: str
    cause: str
    outcome: str
    kind: str = "dependency"
    requirement: str = ""
    installed: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    lock: str = ""
    seconds: float = 0.0
    error_class: str = ""
    at: float = 0.0
    host: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """How often attempts on one subject for one cause ended in one way."""

    kind: str
    subject: str
    cause: str
    outcome: str
    count: int
    seconds: float
    last_at: float


class Journal:
    """The journal at ``path``; each call has its own connection, so forks and threads are safe."""

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._max_rows = max_rows
        self._busy_timeout = busy_timeout

    def append(self, attempt: Attempt) -> bool:
        """Write one row, once; False when it could not be written."""
        row = (
            attempt.attempt,
            attempt.at or time.time(),
            attempt.host or socket.gethostname(),
            attempt.pid or os.getpid(),
            attempt.kind,
            attempt.subject,
            attempt.cause,
            attempt.requirement,
            json.dumps(attempt.installed),
            json.dumps(attempt.hashes),
            attempt.lock,
            attempt.outcome,
            attempt.seconds,
            attempt.error_class,
        )
        return bool(self._use("append", lambda connection: self._insert(connection, row), 0))

    def attempts(self, limit: int = 100, subject: str | None = None) -> tuple[Attempt, ...]:
        """The newest attempts that are still kept in full, newest first."""
        where = "" if subject is None else "WHERE subject = ?"
        rows = self._rows(
            f"SELECT {', '.join(COLUMNS)} FROM attempts {where} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (limit,) if subject is None else (subject, limit),
        )
        return tuple(_attempt(row) for row in rows)

    def totals(self) -> tuple[Total, ...]:
        """Every count since the journal began, rolled-up rows included."""
        query = "SELECT kind, subject, cause, outcome, count, seconds, last_at FROM totals"
        return tuple(Total(*row) for row in self._rows(query))

    def failures(self, kind: str, subject: str, lock: str, now: float) -> Failures:
        """The failures under this lock since the last success or reset, none older than a day."""
        query = (
            "SELECT count(*), coalesce(max(at), 0) FROM attempts WHERE kind = :kind"
            " AND subject = :subject AND lock = :lock AND at > :since AND id > (SELECT"
            " coalesce(max(id), 0) FROM attempts WHERE kind = :kind AND subject = :subject"
            " AND outcome IN ('healed', 'reset'))"
        )
        values = {"kind": kind, "subject": subject, "lock": lock, "since": now - EXPIRY}
        return next((Failures(*row) for row in self._rows(query, values)), Failures(0, 0.0))

    def last(self, kind: str, subject: str) -> tuple[int, str]:
        """The id and outcome of the newest row of a subject, ``(0, "")`` when there is none."""
        query = (
            "SELECT id, outcome FROM attempts WHERE kind = ? AND subject = ?"
            " ORDER BY id DESC LIMIT 1"
        )
        return next(((row[0], row[1]) for row in self._rows(query, (kind, subject))), (0, ""))

    def _insert(self, connection: sqlite3.Connection, row: tuple[object, ...]) -> int:
        connection.execute("BEGIN IMMEDIATE")
        inserted = connection.execute(
            f"INSERT OR IGNORE INTO attempts VALUES (NULL, {', '.join('?' * len(row))})",  # noqa: S608
            row,
        ).rowcount
        if inserted:
            _, at, _, _, kind, subject, cause, _, _, _, _, outcome, seconds, _ = row
            connection.execute(
                "INSERT INTO totals VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET"
                " count = count + 1, seconds = seconds + excluded.seconds,"
                " last_at = max(last_at, excluded.last_at)",
                (kind, subject, cause, outcome, seconds, at),
            )
            self._drop_oldest(connection)
        connection.execute("COMMIT")
        return 1

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Ids only grow, so the span between the first and the last bounds the number of rows."""
        first, last = connection.execute("SELECT min(id), max(id) FROM attempts").fetchone()
        if last - first >= self._max_rows + SLACK:
            connection.execute("DELETE FROM attempts WHERE id <= ?", (last - self._max_rows,))

    def _rows(
        self, query: str, values: tuple[object, ...] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        return self._use("read", lambda db: db.execute(query, values).fetchall(), [])

    def _use(
        self, purpose: str, work: Callable[[sqlite3.Connection], Result], default: Result
    ) -> Result:
        """Run ``work``; a file that is no journal is set aside and the work done on a new one."""
        for last_try in (False, True):
            try:
                return self._work(work)
            except (sqlite3.Error, OSError) as error:
                corrupt = type(error) is sqlite3.DatabaseError
                logger.warning(
                    "the journal cannot be used",
                    extra={"fields": {"purpose": purpose, "error": f"{error}", "corrupt": corrupt}},
                )
                if last_try or not corrupt or not self._set_aside():
                    break
        return default

    def _work(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if not self._path.exists():
            self._create()
        with closing(self._connect()) as connection:
            return work(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,
        )
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            _check_version(version)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        """Put a complete journal in place at once; whoever is second uses the first one's."""
        fresh = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}")
        try:
            with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"{SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION};")
            with suppress(FileExistsError):
                os.link(fresh, self._path)
        finally:
            fresh.unlink(missing_ok=True)

    def _set_aside(self) -> bool:
        """Move a file that is no journal out of the way; False when that cannot be done."""
        try:
            with exclusive(self._path.with_name(f"{self._path.name}.lock")):
                if self._usable():
                    return True
                aside = self._path.with_name(f"{self._path.name}.corrupt-{time.time_ns()}")
                for suffix in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._path.rename(aside)
        except OSError:
            return False
        logger.error(
            "the journal was corrupt: it is set aside and a new one is begun",
            extra={"fields": {"aside": aside.name}},
        )
        return True

    def _usable(self) -> bool:
        """Whether the file is a journal by now, because another process has mended it."""
        try:
            with closing(self._connect()) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            return True
        except sqlite3.DatabaseError:
            return False
        return bool(verdict == "ok")


def _check_version(version: int) -> None:
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version} is not {SCHEMA_VERSION}")


def _attempt(row: tuple[Any, ...]) -> Attempt:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("installed", "hashes"):
        values[name] = tuple(json.loads(values[name]))
    return Attempt(**values)

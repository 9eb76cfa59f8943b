"""The journal: one SQLite file in which every attempt of every process of a host is written down.

Rows are only ever appended. Their number is bounded: the oldest are dropped once their counts are
kept in ``totals``, so counters never go back. A journal that cannot be used costs history, which
is logged, and never service: reads are then empty and writes return False. What this process could
not write it remembers, so that the budget holds, and writes it as soon as that works again.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from app.healing.budget import EXPIRY, LONGEST_PAUSE, Failures
from app.healing.claims import Busy, exclusive

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

SCHEMA_VERSION = 1
#: Rows kept in full; older ones live on in the totals.
MAX_ROWS = 10_000
#: The share of rows over the bound that is tolerated before the oldest are dropped in one go.
SLACK = 0.05
#: How often an operation is begun on a file that others are replacing at the same time.
TRIES = 4
#: SQLite's words for a file that is not there.
CANNOT_OPEN = "unable to open database file"
RESET = "reset"
#: Attempts that could not be written and are kept in memory until they can.
KEPT_UNWRITTEN = 100
#: Corrupt journals that are kept to be looked at.
KEPT_ASIDE = 3
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
INSERT = f"INSERT OR IGNORE INTO attempts VALUES (NULL, :{', :'.join(COLUMNS)})"  # noqa: S608
COUNT = (
    "INSERT INTO totals VALUES (:kind, :subject, :cause, :outcome, 1, :seconds, :at)"
    " ON CONFLICT DO UPDATE SET count = count + 1, seconds = seconds + excluded.seconds,"
    " last_at = max(last_at, excluded.last_at)"
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
    """One attempt as it is recorded.

    ``at`` is when it ended, in seconds since the epoch; it had begun ``seconds`` before that.
    """

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

    def to_dict(self) -> dict[str, object]:
        """What the attempt was and how it ended, as JSON shows it; when and where is left out."""
        return {
            "kind": self.kind,
            "module": self.subject,
            "cause": self.cause,
            "outcome": self.outcome,
            "requirement": self.requirement,
            "installed": list(self.installed),
            "seconds": round(self.seconds, 3),
        }


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
        self._unwritten: deque[Attempt] = deque(maxlen=KEPT_UNWRITTEN)

    def append(self, attempt: Attempt) -> bool:
        """Write one row, once; False when it could not be written for now."""
        signed = replace(
            attempt,
            at=attempt.at or time.time(),
            host=attempt.host or socket.gethostname(),
            pid=attempt.pid or os.getpid(),
        )
        waiting = tuple(self._unwritten)
        if not self._use("append", lambda db: self._insert(db, (*waiting, signed)), default=False):
            self._unwritten.append(signed)
            return False
        for written in waiting:
            with suppress(ValueError):
                self._unwritten.remove(written)
        return True

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
        """The failures under this lock since the last success or reset, none older than a day.

        One from a clock that ran more than an hour ahead does not count: it would block for years.
        """
        query = (
            "SELECT count(*), coalesce(max(at), 0) FROM attempts WHERE kind = :kind"
            " AND subject = :subject AND lock = :lock AND at > :since AND at < :until AND id >"
            " (SELECT coalesce(max(id), 0) FROM attempts WHERE kind = :kind"
            " AND subject = :subject AND outcome IN ('healed', 'reset'))"
        )
        since, until = now - EXPIRY, now + LONGEST_PAUSE
        values = {"kind": kind, "subject": subject, "lock": lock, "since": since, "until": until}
        count, last_at = next(iter(self._rows(query, values)), (0, 0.0))
        here = [
            attempt.at
            for attempt in tuple(self._unwritten)
            if (attempt.kind, attempt.subject, attempt.lock) == (kind, subject, lock)
            and since < attempt.at < until
        ]
        return Failures(count + len(here), max([last_at, *here]))

    def readable(self) -> bool:
        """Whether it can be opened and read now, or has yet to be begun; changes nothing."""
        try:
            if self._path.exists():
                with closing(self._connect()) as connection:
                    connection.execute("SELECT count FROM totals LIMIT 1").fetchone()
        except (sqlite3.Error, OSError):
            return False
        return True

    def last(self, kind: str, subject: str) -> tuple[int, str]:
        """The id and outcome of the newest row of a subject, ``(0, "")`` when there is none."""
        query = (
            "SELECT id, outcome FROM attempts WHERE kind = ? AND subject = ?"
            " ORDER BY id DESC LIMIT 1"
        )
        return next(((row[0], row[1]) for row in self._rows(query, (kind, subject))), (0, ""))

    def _insert(self, connection: sqlite3.Connection, attempts: Iterable[Attempt]) -> bool:
        connection.execute("BEGIN IMMEDIATE")
        for attempt in attempts:
            if connection.execute(INSERT, row_of(attempt)).rowcount:
                connection.execute(COUNT, row_of(attempt))
        self._drop_oldest(connection)
        connection.execute("COMMIT")
        return True

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Ids only grow, so the span between the first and the last bounds the number of rows."""
        first, last = connection.execute("SELECT min(id), max(id) FROM attempts").fetchone()
        if last - first >= self._max_rows * (1 + SLACK):
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
        for tries_left in reversed(range(TRIES)):
            try:
                return self._work(work)
            except (sqlite3.Error, OSError, Busy) as error:
                if tries_left and CANNOT_OPEN in str(error):
                    # It was there a moment ago: another process is setting it aside.
                    continue
                corrupt = type(error) is sqlite3.DatabaseError
                logger.warning(
                    "the journal cannot be used",
                    extra={"fields": {"purpose": purpose, "error": f"{error}", "corrupt": corrupt}},
                )
                if not (tries_left and corrupt and self._set_aside()):
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
        with self._alone():
            if self._path.exists():
                return
            fresh = self._beside(".new")
            fresh.unlink(missing_ok=True)
            with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                # Nothing is lost if this does not reach the disk: there is nothing in it yet.
                connection.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL;")
                connection.executescript(f"{SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION};")
            self._drop_sidecars()
            fresh.rename(self._path)

    def _set_aside(self) -> bool:
        """Move a file that is no journal out of the way; False when that cannot be done."""
        try:
            with self._alone():
                if self._usable():
                    return True
                aside = self._beside(f".corrupt-{time.time_ns()}")
                self._drop_sidecars()
                self._path.rename(aside)
                older = sorted(self._path.parent.glob(f"{self._path.name}.corrupt-*"))
                for path in older[:-KEPT_ASIDE]:
                    path.unlink(missing_ok=True)
        except (OSError, Busy):
            return False
        logger.error(
            "the journal was corrupt: it is set aside and a new one is begun",
            extra={"fields": {"aside": aside.name}},
        )
        return True

    def _alone(self) -> AbstractContextManager[int]:
        return exclusive(self._beside(".lock"), self._busy_timeout)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _drop_sidecars(self) -> None:
        """SQLite would replay a write-ahead log that another journal has left into a new one."""
        for suffix in ("-wal", "-shm"):
            self._beside(suffix).unlink(missing_ok=True)

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


def row_of(attempt: Attempt) -> dict[str, object]:
    """The values of an attempt for ``INSERT`` and ``COUNT``, by the names of the columns."""
    row = {name: getattr(attempt, name) for name in COLUMNS}
    lists = {name: json.dumps(row[name]) for name in ("installed", "hashes")}
    return row | lists


def _attempt(row: tuple[Any, ...]) -> Attempt:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("installed", "hashes"):
        values[name] = tuple(json.loads(values[name]))
    return Attempt(**values)

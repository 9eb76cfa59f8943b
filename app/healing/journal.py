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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from app.healing.kind import Outcome
from app.healing.locks import exclusive
from app.healing.sqlite_file import SQLiteFile

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
#: Seconds that a read waits for a file that is locked. While it stays locked, no read waits again
#: for so many seconds: a page that reads several times is answered all the same.
READ_WAIT, NO_WAIT_FOR = 0.2, 2.0
#: Attempts that could not be written and are kept in memory until they can.
KEPT_UNWRITTEN = 100
#: The columns in their order. The one of the basis is called after the first kind's basis, its
#: lock: the file outlives the code that wrote it.
COLUMNS = (
    *("attempt", "at", "host", "pid", "kind", "subject", "cause", "requirement"),
    *("installed", "hashes", "lock", "outcome", "seconds", "error_class"),
)
FIELDS = tuple("basis" if column == "lock" else column for column in COLUMNS)
LISTS = ("installed", "hashes")
INSERT = f"INSERT OR IGNORE INTO attempts VALUES (NULL, :{', :'.join(FIELDS)})"  # noqa: S608
#: The rows of a subject from its newest one back, without those that do not count for their time.
NEWEST = (
    "SELECT id, outcome, lock, at, at > :since AND at < :until FROM attempts"
    " WHERE kind = :kind AND subject = :subject AND (at > :since AND at < :until"
    " OR outcome IN ('healed', 'reset') OR id = (SELECT max(id) FROM attempts"
    " WHERE kind = :kind AND subject = :subject)) ORDER BY id DESC"
)
COUNT = (
    "INSERT INTO totals VALUES (:kind, :subject, :cause, :outcome, 1, :seconds, :at)"
    " ON CONFLICT DO UPDATE SET count = count + 1, seconds = seconds + excluded.seconds,"
    " last_at = max(last_at, excluded.last_at)"
)
SCHEMA = f"""
PRAGMA user_version = {SCHEMA_VERSION};
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


class NewerJournal(OSError):
    """The file was begun by a later release, whose history is not this one's to touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as it is recorded.

    ``at`` is when it ended, in seconds since the epoch; it had begun ``seconds`` before that.
    ``basis`` is what its failure counts for: see :meth:`app.healing.kind.Kind.basis`.
    """

    attempt: str
    kind: str
    subject: str
    cause: str
    outcome: str
    requirement: str = ""
    installed: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    basis: str = ""
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


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one subject since its last success or reset: how many, and the last one."""

    count: int
    last_at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a subject: its newest row (``0, ""`` when it has none), and its failures.

    The failures are those on one basis that lie in the span that was asked for.
    """

    id: int
    outcome: str
    failures: Failures


class Rates(NamedTuple):
    """What the attempts on something came to; a rate of nothing is None."""

    attempts: int
    successes: int
    failures: int
    success_rate: float | None
    failure_rate: float | None

    @classmethod
    def of(cls, totals: Iterable[Total]) -> Rates:
        """The rates over all of these totals."""
        counted = [(total.count, total.outcome == Outcome.HEALED) for total in totals]
        made = sum(count for count, _ in counted)
        healed = sum(count for count, success in counted if success)
        shares = (healed / made, (made - healed) / made) if made else (None, None)
        return cls(made, healed, made - healed, *shares)


class Journal:
    """The journal at ``path``; each call has its own connection, so forks and threads are safe."""

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._file = SQLiteFile(path)
        self._max_rows = max_rows
        self._busy_timeout = busy_timeout
        self._unwritten: deque[Attempt] = deque(maxlen=KEPT_UNWRITTEN)
        self._no_wait_until = float("-inf")
        #: By purpose: why it could not be used the last time, so that the log has it once.
        self._troubles: dict[str, str] = {}

    def append(self, attempt: Attempt) -> bool:
        """Write one row, once; False when it could not be written for now."""
        signed = replace(
            attempt,
            at=attempt.at or time.time(),
            host=attempt.host or socket.gethostname(),
            pid=attempt.pid or os.getpid(),
        )
        waiting = tuple(self._unwritten)
        # Remembered first, so that it counts while others have the file.
        if all(each.attempt != signed.attempt for each in waiting):
            self._unwritten.append(signed)
            waiting = (*waiting, signed)
        return self._write(waiting, self._busy_timeout)

    def write_waiting(self) -> bool:
        """Write what could not be written before, waiting for nobody; False when it cannot be."""
        return not self._unwritten or self._write(tuple(self._unwritten), wait=0)

    def _write(self, attempts: tuple[Attempt, ...], wait: float) -> bool:
        def insert(connection: sqlite3.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            for each in attempts:
                if connection.execute(INSERT, row_of(each)).rowcount:
                    connection.execute(COUNT, row_of(each))
            # Ids only grow, so the span between the first and the last bounds the number of rows.
            first, last = connection.execute("SELECT min(id), max(id) FROM attempts").fetchone()
            if last - first >= self._max_rows * (1 + SLACK):
                connection.execute("DELETE FROM attempts WHERE id <= ?", (last - self._max_rows,))
            connection.execute("COMMIT")
            return True

        if not self._use("append", insert, default=False, wait=wait):
            return False
        for written in attempts:
            with suppress(ValueError):
                self._unwritten.remove(written)
        return True

    def attempts(
        self, limit: int = 100, *, kind: str = "", subject: str = "", outcome: str = ""
    ) -> tuple[Attempt, ...]:
        """The newest attempts that are still kept in full, newest first.

        Only those of one kind, subject or outcome, where one is given.
        """
        given = {"kind": kind, "subject": subject, "outcome": outcome}
        only = {column: value for column, value in given.items() if value}
        where = " AND ".join(f"{column} = :{column}" for column in only) or "TRUE"
        rows = self._rows(
            f"SELECT {', '.join(COLUMNS)} FROM attempts WHERE {where}"  # noqa: S608
            " ORDER BY id DESC LIMIT :limit",
            {**only, "limit": limit},
        )
        found = [dict(zip(FIELDS, row, strict=True)) for row in rows]
        lists = [{name: tuple(json.loads(row[name])) for name in LISTS} for row in found]
        return tuple(Attempt(**{**row, **own}) for row, own in zip(found, lists, strict=True))

    def totals(self) -> tuple[Total, ...]:
        """Every count of attempts since the journal began, rolled-up rows included."""
        query = (
            "SELECT kind, subject, cause, outcome, count, seconds, last_at FROM totals"
            " WHERE outcome != ?"
        )
        return tuple(Total(*row) for row in self._rows(query, (RESET,)))

    def standings(
        self, bases: Mapping[tuple[str, str], str | None], since: float, until: float
    ) -> dict[tuple[str, str], Standing]:
        """How it stands with each of these subjects, by kind and subject, read at one moment.

        Failures count from ``since`` to ``until``, in seconds since the epoch; without a basis
        those that have the basis of the newest row.
        """
        span = {"since": since, "until": until}

        def look(connection: sqlite3.Connection) -> dict[tuple[str, str], Standing]:
            return {
                (kind, subject): _standing(
                    connection.execute(NEWEST, {"kind": kind, "subject": subject, **span}), basis
                )
                for (kind, subject), basis in bases.items()
            }

        found: dict[tuple[str, str], Standing] = self._read(look, {})
        waiting = tuple(self._unwritten)
        for key, basis in bases.items():
            standing = found.get(key) or Standing(0, "", Failures(0, 0.0))
            for attempt in waiting:
                if (attempt.kind, attempt.subject) == key:
                    standing = _later(standing, attempt, basis, **span)
            found[key] = standing
        return found

    @property
    def lacks(self) -> str | None:
        """What its file system lacks and it does without: ``locks`` or ``shared_memory``."""
        return self._file.lacks

    def readable(self) -> bool:
        """Whether it can be opened and read now, or has yet to be begun; changes nothing."""
        try:
            if self._path.exists():
                with self._open(self._read_wait()) as connection:
                    connection.execute("SELECT count FROM totals LIMIT 1").fetchone()
        except (sqlite3.Error, OSError):
            return False
        return True

    def _rows(
        self, query: str, values: tuple[object, ...] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        return self._read(lambda connection: connection.execute(query, values).fetchall(), [])

    def _read(self, work: Callable[[sqlite3.Connection], Result], default: Result) -> Result:
        """What ``work`` reads; the default where nothing is written, or can be read, for now."""
        try:
            begun = self._path.exists()
        except OSError:
            # A name that no file system takes: there is no such file.
            begun = False
        if not begun:
            return default
        return self._use("read", work, default, self._read_wait())

    def _read_wait(self) -> float:
        if self._file.lacks == "locks":
            # Readers have their turns as everybody has, and wait for them as writers do.
            return self._busy_timeout
        waits = time.monotonic() >= self._no_wait_until
        return min(READ_WAIT, self._busy_timeout) * waits

    def _use(
        self,
        purpose: str,
        work: Callable[[sqlite3.Connection], Result],
        default: Result,
        wait: float,
    ) -> Result:
        """Run ``work``; a file that is no journal is set aside and the work done on a new one."""
        for tries_left in reversed(range(TRIES)):
            try:
                if not self._path.exists():
                    self._file.create(SCHEMA, wait)
                with self._open(wait) as connection:
                    result = work(connection)
            except (sqlite3.Error, OSError) as error:
                if tries_left and CANNOT_OPEN in str(error):
                    # It was there a moment ago: another process is setting it aside.
                    continue
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY and wait:
                    self._no_wait_until = time.monotonic() + NO_WAIT_FOR
                corrupt = type(error) is sqlite3.DatabaseError
                self._log_trouble(purpose, error, corrupt=corrupt)
                if not (tries_left and corrupt and self._replace(wait)):
                    break
            else:
                if self._troubles.pop(purpose, None) is not None:
                    fields = {"purpose": purpose}
                    logger.info("the journal can be used again", extra={"fields": fields})
                return result
        return default

    def _log_trouble(self, purpose: str, error: Exception, *, corrupt: bool) -> None:
        """Say once, not every time that it is met again, why the journal cannot be used."""
        if self._troubles.get(purpose) != str(error):
            self._troubles[purpose] = str(error)
            fields = {"purpose": purpose, "error": str(error), "corrupt": corrupt}
            logger.warning("the journal cannot be used", extra={"fields": fields})

    @contextmanager
    def _open(self, wait: float) -> Iterator[sqlite3.Connection]:
        with self._file.open(wait) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            _check_version(version)
            yield connection

    def _replace(self, wait: float) -> bool:
        """Move a file that is no journal out of the way; False when that cannot be done."""
        try:
            with exclusive(self._file.lock, wait):
                if self._is_mended(wait):
                    return True
                aside = self._file.set_aside()
        except OSError:
            return False
        logger.error(
            "the journal was corrupt: it is set aside and a new one is begun",
            extra={"fields": {"aside": aside.name}},
        )
        return True

    def _is_mended(self, wait: float) -> bool:
        """Whether the file is a journal by now, because another process has replaced it."""
        try:
            with self._open(wait) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            return True
        except sqlite3.DatabaseError:
            return False
        return bool(verdict == "ok")


def _standing(rows: Iterable[tuple[Any, ...]], basis: str | None) -> Standing:
    """How it stands by the rows of ``NEWEST``."""
    newest: tuple[int, str] | None = None
    count, last_at, lost = 0, 0.0, False
    for id_, outcome, its_basis, at, counts in rows:
        newest = newest or (id_, outcome)
        basis = its_basis if basis is None else basis
        if outcome == Outcome.HEALED and lost:
            # A fix that did not last was no success: it is the same attempt.
            lost = False
            continue
        if outcome in {Outcome.HEALED, RESET}:
            break
        lost = lost or outcome == Outcome.LOST
        if counts and its_basis == basis:
            count, last_at = count + 1, max(last_at, at)
    return Standing(*(newest or (0, "")), Failures(count, last_at))


def _later(
    before: Standing, attempt: Attempt, basis: str | None, since: float, until: float
) -> Standing:
    """How it stands after an attempt that is not written yet."""
    failures = before.failures
    if attempt.outcome in {Outcome.HEALED, RESET}:
        failures = Failures(0, 0.0)
    elif basis in {None, attempt.basis} and since < attempt.at < until:
        failures = Failures(failures.count + 1, max(failures.last_at, attempt.at))
    return Standing(before.id, attempt.outcome, failures)


def _check_version(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise NewerJournal(f"schema version {version} is of a later release")
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version} is not {SCHEMA_VERSION}")


def row_of(attempt: Attempt) -> dict[str, object]:
    """The values of an attempt for ``INSERT`` and ``COUNT``, by their names."""
    row = {name: getattr(attempt, name) for name in FIELDS}
    return row | {name: json.dumps(row[name]) for name in LISTS}

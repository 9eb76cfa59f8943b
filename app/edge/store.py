"""The one owner of ``edge.sqlite3``: what the workers of a host count and find out together.

Counts only ever grow, so what several workers add is their sum, and a restart changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from app.edge.errors import ErrorKind
from app.edge.health import FunctionHealth, HealthState
from app.healing.home import make_directory
from app.healing.sqlite_file import SQLiteFile

FILE = "edge.sqlite3"
#: Seconds that a statement waits for another process's.
BUSY_SECONDS = 2.0
#: The windows of an uptime in seconds, by name.
WINDOWS = {"1h": 3600, "24h": 86400, "7d": 604800}
#: Checks are counted in spans of so many seconds, the finest first; for how long each is kept.
SPANS = {300: 2 * 3600, 3600: 8 * 86400}
#: A worker that has not said anything for so long, in seconds, is gone.
WORKER_LIFETIME = 15.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcomes (
    function TEXT, outcome TEXT, calls INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (function, outcome)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latency (
    function TEXT, bucket INTEGER, calls INTEGER NOT NULL,
    PRIMARY KEY (function, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (
    function TEXT PRIMARY KEY, healthy INTEGER, state TEXT, streak INTEGER, status INTEGER,
    error TEXT, milliseconds REAL, checked_at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uptime (
    span INTEGER, start INTEGER, function TEXT, up INTEGER NOT NULL, down INTEGER NOT NULL,
    PRIMARY KEY (span, start, function)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS workers (
    id TEXT PRIMARY KEY, seen REAL, state TEXT) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Counts:
    """What was counted: calls and seconds by function and outcome, latencies by bucket."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    latency: Counter[tuple[str, int]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Shared:
    """What is known of one host: counts, last checks by function, and what each worker says."""

    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    latency: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    checks: Mapping[str, FunctionHealth] = field(default_factory=dict)
    workers: tuple[dict[str, Any], ...] = ()


class EdgeStore:
    """The file under a home, or, with none, a store of this process alone.

    Every method raises ``sqlite3.Error`` or ``OSError`` when the disk does not do its part. A file
    that is none of SQLite's is set aside, and a new one begun.
    """

    def __init__(self, home: Path | None) -> None:
        self._file = SQLiteFile(home / FILE) if home else None
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    def add(self, counts: Counts, rounds: Iterable[Iterable[FunctionHealth]], now: float) -> None:
        """Add what was counted since the last time, and rounds of health checks."""
        with self._open() as db:
            db.executemany(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET calls = calls + excluded.calls, seconds = seconds + excluded.seconds",
                [(*key, calls, counts.seconds[key]) for key, calls in counts.calls.items()],
            )
            db.executemany(
                "INSERT INTO latency VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET calls = calls + excluded.calls",
                [(*key, calls) for key, calls in counts.latency.items()],
            )
            for result in (result for results in rounds for result in results):
                db.execute(
                    "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    astuple(result),
                )
                up, down = int(result.healthy), int(not result.healthy)
                db.executemany(
                    "INSERT INTO uptime VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET up = up + excluded.up, down = down + excluded.down",
                    [(span, int(now) // span * span, result.name, up, down) for span in SPANS],
                )
            for span, age in SPANS.items():
                db.execute("DELETE FROM uptime WHERE span = ? AND start < ?", (span, now - age))

    def announce(self, worker: str, state: Mapping[str, object], now: float) -> None:
        """Say what holds for one worker; forget those that are gone."""
        with self._open() as db:
            row = (worker, now, json.dumps(state))
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", row)
            db.execute("DELETE FROM workers WHERE seen < ?", (now - WORKER_LIFETIME,))

    def forget(self, worker: str) -> None:
        """Take back what a worker said that ends."""
        with self._open() as db:
            db.execute("DELETE FROM workers WHERE id = ?", (worker,))

    def read(self, now: float) -> Shared:
        """Everything but the uptime."""
        outcomes: dict[str, dict[str, int]] = defaultdict(dict)
        seconds: dict[str, float] = defaultdict(float)
        latency: dict[str, dict[int, int]] = defaultdict(dict)
        checks: dict[str, FunctionHealth] = {}
        with self._open() as db:
            for function, outcome, calls, spent in db.execute("SELECT * FROM outcomes"):
                outcomes[function][outcome] = calls
                seconds[function] += spent
            for function, bucket, calls in db.execute("SELECT * FROM latency"):
                latency[function][bucket] = calls
            for name, healthy, state, streak, status, error, milliseconds, at in db.execute(
                "SELECT * FROM checks"
            ):
                checks[name] = FunctionHealth(
                    name=name,
                    healthy=bool(healthy),
                    state=HealthState(state),
                    streak=streak,
                    status=status,
                    error=None if error is None else ErrorKind(error),
                    milliseconds=milliseconds,
                    checked_at=at,
                )
            alive = db.execute(
                "SELECT state FROM workers WHERE seen >= ? ORDER BY id", (now - WORKER_LIFETIME,)
            )
            workers = tuple(json.loads(state) for (state,) in alive)
        return Shared(outcomes, seconds, latency, checks, workers)

    def uptime(self, now: float) -> dict[str, dict[str, float | None]]:
        """The share of health checks that went well, by function and window."""
        found: dict[str, dict[str, float | None]] = defaultdict(lambda: dict.fromkeys(WINDOWS))
        with self._open() as db:
            for window, length in WINDOWS.items():
                span = next(span for span, age in SPANS.items() if length <= age)
                rows = db.execute(
                    "SELECT function, SUM(up), SUM(down) FROM uptime"
                    " WHERE span = ? AND start > ? GROUP BY function",
                    (span, now - length - span),
                )
                for function, up, down in rows:
                    found[function][window] = up / (up + down)
        return found

    def __del__(self) -> None:
        if self._memory is not None:
            self._memory.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection, in a transaction; one thread at a time.

        The file is closed again each time: a connection must not be carried over a fork, and this
        is done every other second at most.
        """
        with self._lock, contextlib.ExitStack() as stack:
            try:
                connection = self._connect(stack)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                if self._file is None:
                    raise
                stack.close()
                self._file.set_aside()
                connection = self._connect(stack)
            with connection:
                connection.execute("BEGIN")
                yield connection

    def _connect(self, stack: contextlib.ExitStack) -> sqlite3.Connection:
        if self._file is None:
            connection = self._memory = self._memory or sqlite3.connect(
                ":memory:", isolation_level=None, check_same_thread=False
            )
        else:
            make_directory(self._file.path.parent)
            if not self._file.path.exists():
                self._file.create(_SCHEMA, BUSY_SECONDS)
            connection = stack.enter_context(self._file.open(BUSY_SECONDS))
        connection.executescript(_SCHEMA)
        return connection

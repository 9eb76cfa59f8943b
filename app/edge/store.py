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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.edge.errors import ErrorKind
from app.edge.health import FunctionHealth, HealthState

FILE = "edge.sqlite3"
#: Seconds that a statement waits for another process's.
BUSY_SECONDS = 2.0
#: The windows of an uptime in seconds, by name; what each is counted in; how long that is kept.
WINDOWS = {"1h": 3600, "24h": 86400, "7d": 604800}
FINE, COARSE = 300, 3600
_FINE_KEPT, _COARSE_KEPT = 2 * 3600, 8 * 86400
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
        self._path = home / FILE if home else None
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    def add(self, counts: Counts) -> None:
        """Add what was counted since the last time."""
        calls = [(*key, n, counts.seconds[key]) for key, n in counts.calls.items()]
        with self._open() as db:
            db.executemany(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET calls = calls + excluded.calls, seconds = seconds + excluded.seconds",
                calls,
            )
            db.executemany(
                "INSERT INTO latency VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET calls = calls + excluded.calls",
                [(*key, n) for key, n in counts.latency.items()],
            )

    def add_checks(self, results: Iterable[FunctionHealth], now: float) -> None:
        """Keep the results of a round of health checks, and count them towards the uptime."""
        results = list(results)
        with self._open() as db:
            db.executemany(
                "INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(result) for result in results],
            )
            for span, kept in ((FINE, _FINE_KEPT), (COARSE, _COARSE_KEPT)):
                start = int(now) // span * span
                db.executemany(
                    "INSERT INTO uptime VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET up = up + excluded.up, down = down + excluded.down",
                    [(span, start, r.name, int(r.healthy), int(not r.healthy)) for r in results],
                )
                db.execute("DELETE FROM uptime WHERE span = ? AND start < ?", (span, now - kept))

    def tell(self, worker: str, state: Mapping[str, object], now: float) -> None:
        """Say what holds for one worker; forget those that are gone."""
        with self._open() as db:
            row = (worker, now, json.dumps(state))
            db.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", row)
            db.execute("DELETE FROM workers WHERE seen < ?", (now - WORKER_LIFETIME,))

    def forget(self, worker: str) -> None:
        """A worker that ends takes its word back."""
        with self._open() as db:
            db.execute("DELETE FROM workers WHERE id = ?", (worker,))

    def read(self, now: float) -> Shared:
        """Everything but the uptime."""
        outcomes: dict[str, dict[str, int]] = defaultdict(dict)
        seconds: dict[str, float] = defaultdict(float)
        latency: dict[str, dict[int, int]] = defaultdict(dict)
        with self._open() as db:
            for function, outcome, calls, spent in db.execute("SELECT * FROM outcomes"):
                outcomes[function][outcome] = calls
                seconds[function] += spent
            for function, bucket, calls in db.execute("SELECT * FROM latency"):
                latency[function][bucket] = calls
            checks = {row[0]: _health(row) for row in db.execute("SELECT * FROM checks")}
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
                span = FINE if length <= _FINE_KEPT else COARSE
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
        with self._lock:
            connection = self._memory or self._connect()
            try:
                with connection as db:
                    db.execute("BEGIN")
                    yield db
            finally:
                if self._path is None:
                    self._memory = connection
                else:
                    connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._prepared()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            if self._path is None:
                raise
            self._path.replace(self._path.with_name(f"{FILE}.corrupt"))
            for rest in ("-wal", "-shm"):
                self._path.with_name(FILE + rest).unlink(missing_ok=True)
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._path or ":memory:",
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


def _row(result: FunctionHealth) -> tuple[object, ...]:
    return (
        result.name,
        int(result.healthy),
        str(result.state),
        result.streak,
        result.status,
        None if result.error is None else str(result.error),
        result.milliseconds,
        result.checked_at,
    )


def _health(row: tuple[Any, ...]) -> FunctionHealth:
    name, healthy, state, streak, status, error, milliseconds, checked_at = row
    return FunctionHealth(
        name=name,
        healthy=bool(healthy),
        state=HealthState(state),
        streak=streak,
        status=status,
        error=None if error is None else ErrorKind(error),
        milliseconds=milliseconds,
        checked_at=checked_at,
    )

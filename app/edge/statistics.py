"""What this worker counts, and what all workers of the host have counted together.

Counting costs a call a dictionary's update. The disk is met in the background, and when it fails
what was counted waits in memory: it costs history at most, never a call.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.edge.health import FunctionHealth
from app.edge.histogram import bucket_of
from app.edge.store import WINDOWS, Counts, EdgeStore, Shared

logger = logging.getLogger(__name__)

#: Seconds for which what was read counts as up to date; the monitor reads more often.
FRESH_SECONDS = 5.0
UPTIME_SECONDS = 30.0
#: Seconds between two attempts on a disk that failed.
RETRY_SECONDS = 2.0
MOST_ROUNDS = 20
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
OK = "ok"

Uptime = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """One function's counts over all workers of the host, restarts included."""

    outcomes: Mapping[str, int]
    seconds: float
    latency: Mapping[int, int]
    uptime: Mapping[str, float | None]


class Statistics:
    """Counts calls and health checks; safe to use from any thread.

    Args:
        store: what the workers share.
        clock: seconds since the epoch.
    """

    def __init__(self, store: EdgeStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._pending = Counts()
        # Bounded, for the time in which the disk fails.
        self._rounds: deque[tuple[FunctionHealth, ...]] = deque(maxlen=MOST_ROUNDS)
        self._shared = Shared()
        self._uptime: Uptime = {}
        self._read_at = self._said_at = self._uptime_at = self._failed_at = float("-inf")
        self._worker, self._pid = "", 0
        self._state: Mapping[str, object] | None = None

    def count(self, function: str, outcome: str, seconds: float | None = None) -> None:
        """Count a call that ended so, after so many seconds when it was made at all."""
        with self._lock:
            key = function, outcome
            self._pending.calls[key] += 1
            if seconds is not None:
                self._pending.seconds[key] += seconds
                self._pending.latency[function, bucket_of(seconds)] += 1

    def count_checks(self, results: Iterable[FunctionHealth]) -> None:
        """Keep a round of health checks; it is shared with the next exchange."""
        with self._lock:
            self._rounds.append(tuple(results))

    def shared(self, *, now: bool = False) -> Shared:
        """What all workers know together: a few seconds old, or with ``now`` of this moment."""
        if now or self._clock() - self._read_at > FRESH_SECONDS:
            self.refresh()
        return self._shared

    def uptime(self) -> Uptime:
        """The share of health checks that went well, by function and window."""
        if self._clock() - self._uptime_at > UPTIME_SECONDS:
            self._uptime_at = self._clock()
            self._try(self._read_uptime)
        return self._uptime

    def of(self, function: str, *, shared: Shared | None = None) -> FunctionStatistics:
        """The statistics of one function, of what is shared or of an earlier reading of it."""
        shared = shared or self.shared()
        return FunctionStatistics(
            shared.outcomes.get(function, {}),
            shared.seconds.get(function, 0.0),
            shared.latency.get(function, {}),
            self.uptime().get(function) or dict.fromkeys(WINDOWS),
        )

    def refresh(self, state: Mapping[str, object] | None = None, *, idle: float = 0.0) -> None:
        """Write what is pending, say what holds for this worker, and read what all have counted.

        While nothing is new here, the last exchange counts for ``idle`` seconds.
        """
        now = self._clock()
        news = self._pending.calls or self._rounds or state != self._state
        if now - self._failed_at < RETRY_SECONDS or (not news and now - self._said_at < idle):
            return
        self._read_at = now
        if state is not None:
            self._state, self._said_at = state, now
        self._try(lambda: self._exchange(state))

    def close(self) -> None:
        """Write what is pending, and take back what this worker said."""
        self._try(self._flush)
        if self._pid == os.getpid():
            self._try(lambda: self._store.forget(self._worker))

    def _exchange(self, state: Mapping[str, object] | None) -> None:
        self._flush()
        if state is not None:
            self._tell(state)
        self._shared = self._store.read(self._clock())

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, Counts()
            rounds = tuple(self._rounds)
            self._rounds.clear()
        try:
            if pending.calls:
                self._store.add(pending)
        except (sqlite3.Error, OSError):
            self._put_back(pending)
            self._rounds.extendleft(reversed(rounds))
            raise
        for results in rounds:
            self._store.add_checks(results, self._clock())

    def _put_back(self, counts: Counts) -> None:
        with self._lock:
            self._pending.calls.update(counts.calls)
            self._pending.latency.update(counts.latency)
            for key, seconds in counts.seconds.items():
                self._pending.seconds[key] += seconds

    def _tell(self, state: Mapping[str, object]) -> None:
        if self._pid != os.getpid():
            self._worker, self._pid = uuid.uuid4().hex, os.getpid()
        who = {"host": socket.gethostname(), "pid": self._pid}
        self._store.tell(self._worker, {**who, **state}, self._clock())

    def _read_uptime(self) -> None:
        self._uptime = self._store.uptime(self._clock())

    def _try(self, action: Callable[[], None]) -> None:
        """Do what needs the disk; a failure is told once, and costs history alone."""
        try:
            action()
        except (sqlite3.Error, OSError) as error:
            if self._failed_at == float("-inf"):
                fields = {"error": f"{type(error).__name__}: {error}"}
                logger.warning("edge statistics cannot be kept", extra={"fields": fields})
            self._failed_at = self._clock()
        else:
            self._failed_at = float("-inf")

"""What this worker counts, and what all workers of the host have counted together.

Counting costs a call a dictionary's update. The disk is met in the background, and when it fails
what was counted waits in memory: it costs history at most, never a call.

Latencies are histograms with log-scaled buckets: small, mergeable, of a known error. Each bucket is
9% wider than the one before (eight to an octave), so a percentile is at most 4.5% off, whatever the
latencies are. Histograms of several processes add up exactly.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.edge.health import FunctionHealth
from app.edge.store import WINDOWS, Counts, EdgeStore, Shared

logger = logging.getLogger(__name__)

#: Seconds for which what was read counts as up to date; the monitor reads more often.
FRESH_SECONDS = 5.0
UPTIME_SECONDS = 30.0
#: Seconds between two attempts on a disk that failed.
RETRY_SECONDS = 2.0
MOST_ROUNDS = 20
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

BUCKETS_PER_OCTAVE = 8
#: The buckets that end at about 0.1 ms and at 256 s; what is beyond counts in the last of a side.
FIRST_BUCKET, LAST_BUCKET = -13 * BUCKETS_PER_OCTAVE, 8 * BUCKETS_PER_OCTAVE
#: Every octave's end, which is exact in binary: what Prometheus is shown.
OCTAVES = range(-10, 8)


def bucket_of(seconds: float) -> int:
    """The number of the bucket that ``seconds`` falls into."""
    if seconds <= 0:
        return FIRST_BUCKET
    return min(LAST_BUCKET, max(FIRST_BUCKET, math.ceil(math.log2(seconds) * BUCKETS_PER_OCTAVE)))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency, in seconds, that a ``share`` of the calls stayed within; None without calls."""
    wanted = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            # The middle of the bucket.
            return float(2 ** ((bucket - 0.5) / BUCKETS_PER_OCTAVE))
    return None


def cumulative(counts: Mapping[int, int]) -> Iterator[tuple[float, int]]:
    """For every octave: its end in seconds, and how many calls stayed within it."""
    by_octave: Counter[int] = Counter()
    for bucket, count in counts.items():
        by_octave[max(OCTAVES[0], math.ceil(bucket / BUCKETS_PER_OCTAVE))] += count
    total = 0
    for octave in OCTAVES:
        total += by_octave[octave]
        yield float(2.0**octave), total


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
        self._uptime: Mapping[str, Mapping[str, float | None]] = {}
        self._read_at = self._announced_at = self._uptime_at = self._failed_at = float("-inf")
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

    def of(self, function: str, *, shared: Shared | None = None) -> FunctionStatistics:
        """The statistics of one function, of what is shared or of an earlier reading of it."""
        shared = shared or self.shared()
        if self._clock() - self._uptime_at > UPTIME_SECONDS:
            self._uptime_at = self._clock()
            with self._tolerating_the_disk():
                self._uptime = self._store.uptime(self._clock())
        return FunctionStatistics(
            shared.outcomes.get(function, {}),
            shared.seconds.get(function, 0.0),
            shared.latency.get(function, {}),
            self._uptime.get(function) or dict.fromkeys(WINDOWS),
        )

    def refresh(self, state: Mapping[str, object] | None = None, *, idle: float = 0.0) -> None:
        """Write what is pending, announce the state of this worker, and read what all have counted.

        While nothing is new here, the last exchange counts for ``idle`` seconds.
        """
        now = self._clock()
        news = self._pending.calls or self._rounds or state != self._state
        if now - self._failed_at < RETRY_SECONDS or (not news and now - self._announced_at < idle):
            return
        self._read_at = now
        with self._tolerating_the_disk():
            self._flush()
            if state is not None:
                self._state, self._announced_at = state, now
                if self._pid != os.getpid():
                    self._worker, self._pid = uuid.uuid4().hex, os.getpid()
                who = {"host": socket.gethostname(), "pid": self._pid}
                self._store.announce(self._worker, {**who, **state}, now)
            self._shared = self._store.read(now)

    def close(self) -> None:
        """Write what is pending, and take back what this worker said."""
        with self._tolerating_the_disk():
            self._flush()
            if self._pid == os.getpid():
                self._store.forget(self._worker)

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, Counts()
            rounds = tuple(self._rounds)
            self._rounds.clear()
        if not pending.calls and not rounds:
            return
        try:
            self._store.add(pending, rounds, self._clock())
        except (sqlite3.Error, OSError):
            with self._lock:
                self._pending.calls.update(pending.calls)
                self._pending.latency.update(pending.latency)
                for key, seconds in pending.seconds.items():
                    self._pending.seconds[key] += seconds
                self._rounds.extendleft(reversed(rounds))
            raise

    @contextlib.contextmanager
    def _tolerating_the_disk(self) -> Iterator[None]:
        """What fails in the block for the disk is logged once, and costs history alone."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if self._failed_at == float("-inf"):
                fields = {"error": f"{type(error).__name__}: {error}"}
                logger.warning("edge statistics cannot be kept", extra={"fields": fields})
            self._failed_at = self._clock()
        else:
            self._failed_at = float("-inf")

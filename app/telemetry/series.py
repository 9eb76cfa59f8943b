"""The series that a process counts itself: requests, failed authentications, attempts to heal.

With a shared directory each process counts in files of its own there, and a scrape adds them up. A
process's files are those of its slot: a small number that it claims for as long as it lives. The
kernel frees it when the process dies, and the next one takes it over with the counts in its files.
So there are as many files as there ever were processes at once, however often workers are replaced,
and no count goes back. Process ids, prometheus_client's own way, would leave new files behind with
every worker.

Needs prometheus_client, which may have to be healed first: nothing but the blueprint of /metrics
imports this, and a process counts from then on (:mod:`app.telemetry.metrics`). Every
label takes values of a closed set, so memory is bounded whatever callers send.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Histogram, Metric, disable_created_metrics, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.healing.journal import Attempt
from app.telemetry.metrics import METHODS, AuthenticationFailure

logger = logging.getLogger(__name__)

OTHER = "other"
#: Upper ends of the buckets, in seconds. A request: from what a cached answer takes to what a call
#: of an edge function may. A heal: 0.05 to 4 s as measured, up to an installer's deadline.
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HEAL_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
#: Those of RFC 9110: three digits that begin with 1 to 5.
STATUSES = range(100, 600)
#: Bytes that each kind of file gets at once. A file system in memory that is full would kill a
#: process that writes to a file's memory; like this it gets an error before. They hold the series
#: of every route, with room to spare; prometheus_client makes a file larger when it must.
SIZES = {"counter": 128 * 1024, "histogram": 512 * 1024}


class Series:
    """Counts in the files of this process's slot, or in this process alone.

    Its methods are those of :class:`app.telemetry.metrics.Metrics`. They raise OSError when this
    process's files cannot be made, after a fork for one.

    Args:
        directory: the one that ``PROMETHEUS_MULTIPROC_DIR`` names, or None. One that cannot be
            used is logged and counts as none.
    """

    def __init__(self, directory: Path | None) -> None:
        # The time stamps of the first count are not shared between processes.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._directory: Path | None = None
        values.ValueClass = values.MutexValue
        if directory is not None:
            try:
                values.ValueClass = values.MultiProcessValue(Slot(directory))  # type: ignore[no-untyped-call]
                self._directory = directory
            except OSError as error:
                fields = {"error": str(error)}
                logger.warning("this worker counts for itself alone", extra={"fields": fields})
        # HELP texts are stored with every value, so they are short.
        counter = partial(Counter, registry=None)
        self._requests = counter(
            "http_requests_total", "Requests answered by all workers", ["route", "method", "status"]
        )
        self._refused = counter(
            "http_requests_refused_total",
            "Requests refused before the application by all workers",
            ["status"],
        )
        self._not_authenticated = counter(
            "http_authentication_failures_total",
            "Tokens that did not count in all workers",
            ["outcome"],
        )
        self._hooks = counter(
            "blueprint_hook_failures_total",
            "Hooks for all requests that raised in all workers",
            ["blueprint"],
        )
        histogram = partial(Histogram, registry=None)
        self._request_seconds = histogram(
            "http_request_duration_seconds",
            "How long requests took in all workers",
            ["route", "method"],
            buckets=REQUEST_SECONDS,
        )
        self._heal_seconds = histogram(
            "auto_fix_heal_duration_seconds",
            "How long attempts to heal took in all workers",
            ["module", "outcome"],
            buckets=HEAL_SECONDS,
        )
        #: The counters of kinds of fault by name, and how far each subject has been counted.
        self._measured: dict[str, Counter] = {}
        self._counted: dict[tuple[str, str], float] = {}
        #: What counts requests, by the labels that they get: finding that takes longer than this.
        self._known: dict[
            tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]
        ] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in METHODS else OTHER
        code = status if status in STATUSES else 0
        counting = self._known.get((route, known, code))
        if counting is None:
            counting = self._known[route, known, code] = (
                self._requests.labels(route, known, code or OTHER).inc,
                self._request_seconds.labels(route, known).observe,
            )
        count, observe = counting
        count()
        observe(seconds)

    def refusal(self, status: int) -> None:
        """Count a request that was refused."""
        self._refused.labels(status).inc()

    def authentication_failure(self, outcome: AuthenticationFailure) -> None:
        """Count a token that did not count."""
        self._not_authenticated.labels(outcome).inc()

    def hook_failure(self, blueprint: str) -> None:
        """Count a hook that raised."""
        self._hooks.labels(blueprint).inc()

    def measured(
        self, kind: str, counters: Mapping[str, str], subjects: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Count what a kind has counted since it was last asked."""
        for name, text in counters.items():
            if name not in self._measured:
                self._measured[name] = Counter(name, text, [kind], registry=None)
            for subject, measured in subjects.items():
                before = self._counted.get((name, subject), 0.0)
                self._counted[name, subject] = measured[name]
                self._measured[name].labels(subject).inc(max(0.0, measured[name] - before))

    def heal(self, attempt: Attempt) -> None:
        """Count an attempt."""
        self._heal_seconds.labels(attempt.subject, str(attempt.outcome)).observe(attempt.seconds)

    def collect(self) -> Iterable[Metric]:
        """The series, summed over the living and the dead that have counted in the directory."""
        if self._directory is None:
            counters = (self._requests, self._refused, self._not_authenticated, self._hooks)
            histograms = (self._request_seconds, self._heal_seconds)
            own = (*counters, *self._measured.values(), *histograms)
            return [metric for series in own for metric in series.collect()]
        # A file is empty for the moment in which its process makes it.
        files = [str(path) for path in self._directory.glob("*.db") if path.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


class Slot:
    """The slot of the process that calls it, claimed at its first call and anew after a fork."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._owner = 0
        self._number = 0
        self._descriptor: int | None = None

    def __call__(self) -> int:
        """The slot's number.

        Raises:
            OSError: when the directory cannot be written, or has no room.
        """
        if os.getpid() == self._owner:
            return self._number
        if self._descriptor is not None:
            # It came with the fork, and is still the parent's.
            os.close(self._descriptor)
            self._descriptor = None
        # The first number that no living process has, with room in its files.
        for number in itertools.count():
            descriptor = _open(self._directory / f"{number}.slot")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for kind, size in SIZES.items():
                    file = _open(self._directory / f"{kind}_{number}.db")
                    try:
                        # What it holds already stays.
                        os.posix_fallocate(file, 0, size)
                    finally:
                        os.close(file)
            except BlockingIOError:
                os.close(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                self._owner, self._number, self._descriptor = os.getpid(), number, descriptor
                break
        return self._number


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

"""What this process counts for Prometheus, with or without prometheus_client.

The module needs the standard library alone: who has prometheus_client hands the series in, which
are those of :mod:`app.telemetry.series`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.healing.journal import Attempt

if TYPE_CHECKING:
    from prometheus_client import Metric

    from app.telemetry.series import Series

logger = logging.getLogger(__name__)

#: The methods of RFC 9110 and 5789; anything else that a caller sends is counted as one.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
#: Attempts to heal that are remembered until they can be counted: that of prometheus_client itself
#: is one of them.
MOST_WAITING = 100


class AuthenticationFailure(StrEnum):
    """Why a token that was given did not count.

    It was none of ours, or was not looked at because too many before it were wrong: in a pause
    nobody knows whether it was right.
    """

    WRONG = "wrong"
    PAUSED = "paused"


class Metrics:
    """A process's counts, whichever of its applications answers; safe to use from any thread.

    Nothing is counted before ``begin``, and no file is made before there is something to count. A
    forked child counts for itself, beside its parent.

    Args:
        directory: where the processes of a server count together; None for this process alone.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._make: Callable[[Path | None], Series] | None = None
        self._series: Series | None = None
        #: Each with the process that made it: a fork's child has them too, and must not count them.
        self._waiting: deque[tuple[int, Attempt]] = deque(maxlen=MOST_WAITING)

    def begin(self, make: Callable[[Path | None], Series]) -> None:
        """Count from now on, in what ``make`` returns; beginning twice is beginning once."""
        self._make = make
        if self._waiting:
            self._count_attempts()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that is over.

        Args:
            route: the rule that it matched, or a constant for those that matched none: any text
                becomes a series for good.
            method: one that no standard knows is counted as ``other``.
            status: likewise.
            seconds: how long it took.
        """
        self._count(lambda series: series.request(route, method, status, seconds))

    def refusal(self, status: int) -> None:
        """Count a request that the server refused before the application saw it.

        Args:
            status: the one of the answer, of those that the server gives.
        """
        self._count(lambda series: series.refusal(status))

    def authentication_failure(self, outcome: AuthenticationFailure) -> None:
        """Count a request whose token did not count, whether it was answered or refused."""
        self._count(lambda series: series.authentication_failure(outcome))

    def hook_failure(self, blueprint: str) -> None:
        """Count a hook for all requests that raised.

        Args:
            blueprint: whose it is, of those of the manifest.
        """
        self._count(lambda series: series.hook_failure(blueprint))

    def measured(
        self, kind: str, counters: Mapping[str, str], subjects: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Count what a kind of fault has counted of its subjects since it was last asked.

        Args:
            kind: its name.
            counters: the names of its series, with what each is.
            subjects: by subject, how far this process has counted, by the names of the series.
        """
        self._count(lambda series: series.measured(kind, counters, subjects))

    def heal(self, attempt: Attempt) -> None:
        """Count an attempt to heal that is over; one that comes too early is counted later.

        Raises what is wrong with this process's files, which the engine logs.
        """
        self._waiting.append((os.getpid(), attempt))
        self._count_attempts()

    def collect(self) -> Iterable[Metric]:
        """The series of all processes that count together; none before ``begin``."""
        series = self._made()
        return () if series is None else series.collect()

    def _count(self, count: Callable[[Series], None]) -> None:
        try:
            series = self._made()
            if series is not None:
                count(series)
        except Exception:
            # Requests are answered, whatever is wrong with this process's files. It counts no more,
            # or each of them would meet that again.
            self._make = self._series = None
            logger.exception("nothing can be counted any more")

    def _made(self) -> Series | None:
        """The series; None before ``begin``."""
        series = self._series
        if series is None:
            with self._lock:
                series = self._series
                if series is None and self._make is not None:
                    series = self._series = self._make(self._directory)
        return series

    def _count_attempts(self) -> None:
        series = self._made()
        # None left: this thread has counted the last one, or another thread has.
        with suppress(IndexError):
            while series is not None:
                owner, attempt = self._waiting.popleft()
                if owner == os.getpid():
                    series.heal(attempt)

"""The series that a process counts itself: requests, failed authentications, attempts to heal.

Needs prometheus_client, which may have to be healed first: nothing but the blueprint of /metrics
imports this, and a process counts from then on (:mod:`app.telemetry.metrics`). With a shared
directory the counts are those of all processes that use it. Every label takes values of a closed
set, so what is kept is bounded whatever callers send.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from prometheus_client import Counter, Histogram, Metric, disable_created_metrics, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.healing.journal import Attempt
from app.telemetry.methods import METHODS
from app.telemetry.metrics import AuthenticationFailure
from app.telemetry.slots import Slot

logger = logging.getLogger(__name__)

OTHER = "other"
#: Upper ends of the buckets, in seconds. A request: from what a cached answer takes to what a call
#: of an edge function may. A heal: 0.05 to 4 s as measured, up to an installer's deadline.
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HEAL_SECONDS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
#: Those of RFC 9110: three digits that begin with 1 to 5.
_FIRST_STATUS, _LAST_STATUS = 100, 599

_Key = tuple[str, str, int]
_Counting = tuple[Callable[[], None], Callable[[float], None]]


class Series:
    """Counts in the files of this process's slot, or in this process alone.

    Args:
        directory: the one that ``PROMETHEUS_MULTIPROC_DIR`` names, or None. One that cannot be
            used is logged and counts as none.
    """

    def __init__(self, directory: Path | None) -> None:
        # The time stamps of the first count are not shared between processes.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._directory = _use(directory)
        # HELP texts are kept with every value, so they are short.
        self._requests = Counter(
            "http_requests_total",
            "Requests answered by all workers",
            ["route", "method", "status"],
            registry=None,
        )
        self._refused = Counter(
            "http_requests_refused_total",
            "Requests refused before the application by all workers",
            ["status"],
            registry=None,
        )
        self._not_authenticated = Counter(
            "http_authentication_failures_total",
            "Tokens that did not count in all workers",
            ["outcome"],
            registry=None,
        )
        self._request_seconds = Histogram(
            "http_request_duration_seconds",
            "How long requests took in all workers",
            ["route", "method"],
            buckets=REQUEST_SECONDS,
            registry=None,
        )
        self._heal_seconds = Histogram(
            "auto_fix_heal_duration_seconds",
            "How long attempts to heal took in all workers",
            ["module", "outcome"],
            buckets=HEAL_SECONDS,
            registry=None,
        )
        self._counting: dict[_Key, _Counting] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; see :meth:`app.telemetry.metrics.Metrics.request`.

        Raises:
            OSError: when this process's files cannot be made, after a fork for one.
        """
        counting = self._counting.get((route, method, status)) or self._of(route, method, status)
        count, observe = counting
        count()
        observe(seconds)

    def refusal(self, status: int) -> None:
        """Count a request that was refused; see :meth:`app.telemetry.metrics.Metrics.refusal`.

        Raises:
            OSError: as ``request`` does.
        """
        self._refused.labels(status).inc()

    def authentication_failure(self, outcome: AuthenticationFailure) -> None:
        """Count a token that did not count.

        Raises:
            OSError: as ``request`` does.
        """
        self._not_authenticated.labels(outcome).inc()

    def heal(self, attempt: Attempt) -> None:
        """Count an attempt.

        Raises:
            OSError: as ``request`` does.
        """
        self._heal_seconds.labels(attempt.subject, str(attempt.outcome)).observe(attempt.seconds)

    def collect(self) -> Iterable[Metric]:
        """The series, summed over the living and the dead that have counted in the directory."""
        if self._directory is None:
            own = (
                self._requests,
                self._refused,
                self._not_authenticated,
                self._request_seconds,
                self._heal_seconds,
            )
            return chain.from_iterable(series.collect() for series in own)
        # A file is empty for the moment in which its process makes it.
        files = [str(path) for path in self._directory.glob("*.db") if path.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged

    def _of(self, route: str, method: str, status: int) -> _Counting:
        """What counts such requests, remembered by the labels that they get."""
        known = method if method in METHODS else OTHER
        code = status if _FIRST_STATUS <= status <= _LAST_STATUS else 0
        counting = self._counting.get((route, known, code))
        if counting is None:
            counting = (
                self._requests.labels(route, known, code or OTHER).inc,
                self._request_seconds.labels(route, known).observe,
            )
            self._counting[route, known, code] = counting
        return counting


def _use(directory: Path | None) -> Path | None:
    """Have values kept in the directory, or in this process where that cannot be."""
    if directory is not None:
        try:
            values.ValueClass = values.MultiProcessValue(Slot(directory))  # type: ignore[no-untyped-call]
        except OSError as error:
            fields = {"error": str(error)}
            logger.warning("this worker counts for itself alone", extra={"fields": fields})
        else:
            return directory
    values.ValueClass = values.MutexValue
    return None

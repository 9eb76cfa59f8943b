"""What is left to do when a request is over: it is counted and gets its access line.

That is done a moment later and for many at a time. Done for each at its end it took the throughput
of a busy worker down by a fifth (``benchmarks/observation.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.logs import ACCESS
from app.telemetry.metrics import Metrics
from app.utils.batches import Batches

logger = logging.getLogger(__name__)
access = logging.getLogger(ACCESS)


class Note(NamedTuple):
    """A request that is over.

    ``ended_at`` is seconds since the epoch. ``line`` has the fields of its access line, and is None
    where it gets none.
    """

    route: str
    method: str
    status: int
    seconds: float
    ended_at: float
    line: Mapping[str, object] | None


class RequestNotes:
    """Writes down each request of this process, whichever of its applications answered it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._batches = Batches(self._write_down, "request notes")

    def add(self, note: Note) -> None:
        """Have a request counted, and its line written, within a moment."""
        self._batches.put(note)

    def flush(self) -> None:
        """Do it now for all that are over; belongs before the end of the process."""
        self._batches.flush()

    def _write_down(self, notes: Sequence[Note]) -> None:
        try:
            for note in notes:
                self._metrics.request(note.route, note.method, note.status, note.seconds)
            if access.isEnabledFor(logging.INFO):
                _tell([note for note in notes if note.line is not None])
        except Exception:
            # The requests have been answered; somebody's log handler or filter may raise anything.
            logger.exception("requests cannot be written down")


def _tell(notes: Sequence[Note]) -> None:
    for note in notes:
        # As Logger.info does, but at the request's time and without a search for who calls.
        record = logging.LogRecord(access.name, logging.INFO, "", 0, "request", (), None)
        record.created, record.msecs = note.ended_at, note.ended_at % 1 * 1000
        record.fields = note.line
        access.handle(record)
    for handler in logging.getLogger().handlers if notes else ():
        handler.flush()

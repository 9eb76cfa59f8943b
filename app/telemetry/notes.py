"""What is left to do when a request is over: it is counted and gets its access line.

That is done a moment later and for many at a time. Done for each at its end it took the throughput
of a busy worker down by a fifth (``benchmarks/observation.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from app.telemetry.batches import Batches
from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)
access = logging.getLogger(ACCESS)


class Note(NamedTuple):
    """A request that is over.

    ``ended_at`` is seconds since the epoch, ``size`` the bytes of the body that were sent.
    ``broken_off`` says what kept the answer from being delivered whole. ``told`` is whether the
    request gets an access line. ``client`` is the caller's address, or what is known in its place.
    """

    client: str
    route: str
    method: str
    path: str
    status: int
    seconds: float
    size: int
    broken_off: str | None
    request_id: str
    trace_id: str
    ended_at: float
    told: bool


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
                _tell([note for note in notes if note.told])
        except Exception:
            # The requests have been answered; somebody's log handler or filter may raise anything.
            logger.exception("requests cannot be written down")


def _tell(notes: Sequence[Note]) -> None:
    """Log them as Logger.info would, but at their own times and without looking for who calls."""
    same = vars(logging.LogRecord(access.name, logging.INFO, "", 0, "request", (), None))
    for note in notes:
        record = logging.LogRecord.__new__(logging.LogRecord)
        # Making each by itself takes half as long as making its line.
        vars(record).update(same, created=note.ended_at, msecs=note.ended_at % 1 * 1000)
        record.fields = _fields(note)
        access.handle(record)
    for handler in logging.getLogger().handlers if notes else ():
        handler.flush()


def _fields(note: Note) -> dict[str, object]:
    fields: dict[str, object] = {
        "client": note.client,
        "method": note.method,
        "route": note.route,
        "path": _text(note.path),
        "status": note.status,
        "milliseconds": round(note.seconds * 1000, 3),
        "bytes": note.size,
        "request_id": note.request_id,
        "trace_id": note.trace_id,
    }
    if note.broken_off is not None:
        fields["broken_off"] = note.broken_off
    return fields


def _text(path: str) -> str:
    """A path as it was meant: WSGI hands its bytes over as Latin-1."""
    return path if path.isascii() else path.encode("latin-1").decode("utf-8", "replace")

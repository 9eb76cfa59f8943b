"""What is left to do when a request is over: it is counted and gets its access line.

That is done a moment later and for many at a time: one system call in which a thread gives its turn
away instead of many, and code that is in the processor's caches. Done for each at its end it took
the throughput of a busy worker down by a fifth (``benchmarks/observation.py``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)
access = logging.getLogger(ACCESS)

T = TypeVar("T")

#: Seconds for which something may wait for more.
GATHER_SECONDS = 0.05
#: Who adds more than so many does the work itself: memory stays bounded, whatever the work does.
MOST_WAITING = 1000
#: Seconds without work after which the thread ends.
IDLE_SECONDS = 5.0


class Batches(Generic[T]):
    """Hands what is put to ``work``, many at a time and in order, from a thread of its own.

    The thread is there while there is something to do. It is a daemon: who ends the process has to
    ``flush``, and one that is killed loses what came in its last 50 ms. A forked child begins anew:
    what its parent has gathered is its parent's to do. Safe to use from any thread.

    Args:
        work: gets what was gathered, never two batches at once; must not raise.
        name: of the thread.
        idle: seconds without work after which the thread ends.
    """

    def __init__(
        self, work: Callable[[Sequence[T]], None], name: str, *, idle: float = IDLE_SECONDS
    ) -> None:
        self._work = work
        self._name = name
        self._idle = idle
        #: By process. The one of the parent, which comes with a fork, is nobody's here.
        self._gathered: dict[int, Gathered[T]] = {}

    def put(self, item: T) -> None:
        """Have it done soon."""
        process = os.getpid()
        gathered = self._gathered.get(process)
        if gathered is None:
            gathered = self._gathered.setdefault(process, Gathered())
        gathered.items.append(item)
        if len(gathered.items) > MOST_WAITING:
            self.flush()
        elif not gathered.attended:
            self._attend(gathered)
        elif not gathered.wake.is_set():
            gathered.wake.set()

    def flush(self) -> None:
        """Have all done that was put; returns when it is."""
        gathered = self._gathered.get(os.getpid())
        if gathered is not None:
            with gathered.lock:
                items = gathered.items
                self._work([items.popleft() for _ in range(len(items))])

    def _attend(self, gathered: Gathered[T]) -> None:
        """Start the thread, unless another caller has."""

        def run() -> None:
            while gathered.wake.wait(self._idle):
                time.sleep(GATHER_SECONDS)
                # First: what comes in between wakes this thread once more.
                gathered.wake.clear()
                self.flush()
            gathered.attended = False
            # What came while nobody knew that this thread would end.
            self.flush()

        with gathered.lock:
            if gathered.attended:
                return
            gathered.wake = threading.Event()
            gathered.wake.set()
            gathered.attended = True
            try:
                threading.Thread(target=run, name=self._name, daemon=True).start()
            except RuntimeError:
                # The system has no thread left: then it is done here.
                gathered.attended = False
                self.flush()


class Gathered(Generic[T]):
    """What one process has gathered. The lock may be met again: by a signal's handler that logs."""

    __slots__ = ("attended", "items", "lock", "wake")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.lock = threading.RLock()
        self.attended = False
        self.wake = threading.Event()


class Note(NamedTuple):
    """A request that is over.

    ``ended_at`` is seconds since the epoch, ``size`` the bytes of the body that were sent.
    ``broken_off`` says what interrupted the delivery of the answer. ``logged`` is whether the
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
    logged: bool

    def fields(self) -> dict[str, object]:
        """The fields of its access line."""
        path = self.path
        if not path.isascii():
            # WSGI hands its bytes over as Latin-1.
            path = path.encode("latin-1").decode("utf-8", "replace")
        fields: dict[str, object] = {
            "client": self.client,
            "method": self.method,
            "route": self.route,
            "path": path,
            "status": self.status,
            "milliseconds": round(self.seconds * 1000, 3),
            "bytes": self.size,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
        }
        if self.broken_off is not None:
            fields["broken_off"] = self.broken_off
        return fields


class RequestNotes(Batches[Note]):
    """Counts and logs each request of this process, whichever of its applications answered it.

    ``flush`` belongs before the end of the process.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(self.write, "request notes")
        self._metrics = metrics

    def write(self, notes: Sequence[Note]) -> None:
        """Count the requests, and log those that are to be: at their own times, not at this one."""
        try:
            for note in notes:
                self._metrics.request(note.route, note.method, note.status, note.seconds)
            logged = [note for note in notes if note.logged]
            if not logged or not access.isEnabledFor(logging.INFO):
                return
            # As Logger.info would, but without looking for who calls; and making each record by
            # itself takes half as long as making its line.
            same = vars(logging.LogRecord(access.name, logging.INFO, "", 0, "request", (), None))
            for note in logged:
                record = logging.LogRecord.__new__(logging.LogRecord)
                vars(record).update(same, created=note.ended_at, msecs=note.ended_at % 1 * 1000)
                record.fields = note.fields()
                access.handle(record)
            for handler in logging.getLogger().handlers:
                handler.flush()
        except Exception:
            # The requests have been answered; somebody's log handler or filter may raise anything.
            logger.exception("requests cannot be written down")

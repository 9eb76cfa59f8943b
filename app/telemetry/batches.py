"""Work that may be done a moment later, and for many at a time.

What each request leaves behind (a line, a count) costs a fraction of it in a batch: one system call
in which a thread gives its turn away instead of many, and code that is in the processor's caches.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds for which something may wait for more.
GATHER_SECONDS = 0.05
#: Who brings more than so many does the work itself: memory stays bounded, whatever the work does.
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
        self._gathered: dict[int, _Gathered[T]] = {}

    def put(self, item: T) -> None:
        """Have it done soon."""
        process = os.getpid()
        gathered = self._gathered.get(process)
        if gathered is None:
            gathered = self._gathered.setdefault(process, _Gathered())
        gathered.items.append(item)
        if len(gathered.items) > MOST_WAITING:
            self._do(gathered)
        elif not gathered.attended:
            self._attend(gathered)
        elif not gathered.wake.is_set():
            gathered.wake.set()

    def flush(self) -> None:
        """Have all done that was put; returns when it is."""
        gathered = self._gathered.get(os.getpid())
        if gathered is not None:
            self._do(gathered)

    def _do(self, gathered: _Gathered[T]) -> None:
        with gathered.lock:
            items = gathered.items
            self._work([items.popleft() for _ in range(len(items))])

    def _attend(self, gathered: _Gathered[T]) -> None:
        with gathered.lock:
            if gathered.attended:
                return
            gathered.wake = threading.Event()
            gathered.wake.set()
            gathered.attended = True
            run = threading.Thread(target=self._run, args=(gathered,), name=self._name, daemon=True)
            try:
                run.start()
            except RuntimeError:
                # The system has no thread left: then it is done here.
                gathered.attended = False
                self._do(gathered)

    def _run(self, gathered: _Gathered[T]) -> None:
        while gathered.wake.wait(self._idle):
            time.sleep(GATHER_SECONDS)
            # First: what comes in between wakes this thread once more.
            gathered.wake.clear()
            self._do(gathered)
        gathered.attended = False
        # What came while nobody knew that this thread would end.
        self._do(gathered)


class _Gathered(Generic[T]):
    """What one process has gathered. The lock may be met again: by a signal's handler that logs."""

    __slots__ = ("attended", "items", "lock", "wake")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.lock = threading.RLock()
        self.attended = False
        self.wake = threading.Event()

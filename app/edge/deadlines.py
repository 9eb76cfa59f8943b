"""Ends what takes too long and cannot be given a timeout: a socket that drips, above all."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable

Action = Callable[[], None]


class Watch:
    """One thing that must be over by a time; cancel it when it is."""

    __slots__ = ("_action", "expired")

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action
        self.expired = False

    def cancel(self) -> None:
        """It is over: nothing will be done."""
        self._action = None

    def expire(self) -> None:
        """Do what is to be done, unless it was cancelled."""
        action, self._action = self._action, None
        if action is not None:
            self.expired = True
            action()


class Deadlines:
    """Watches in the order of their times, with one thread that begins with the first of them.

    An action must be quick and must not raise; it runs in that thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None

    def watch(self, until: float, action: Action) -> Watch:
        """Do ``action`` at ``until`` (of ``time.monotonic``) unless the watch is cancelled."""
        if self._thread is None or self._pid != os.getpid():
            self._begin()
        watch = Watch(action)
        with self._changed:
            heapq.heappush(self._heap, (until, next(self._numbers), watch))
            if self._heap[0][2] is watch:
                self._changed.notify()
        return watch

    def close(self) -> None:
        """Do now what is left to be done, and end the thread; the next watch begins anew."""
        with self._changed:
            left = [watch for _, _, watch in self._heap]
            self._heap.clear()
            self._thread = None
            self._changed.notify()
        for watch in left:
            watch.expire()

    def _begin(self) -> None:
        """Start the thread; one of a parent process is not in this one."""
        if self._pid != os.getpid():
            self._changed, self._heap, self._pid = threading.Condition(), [], os.getpid()
            self._thread = None
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="request-deadlines", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while (watch := self._next()) is not None:
            watch.expire()

    def _next(self) -> Watch | None:
        """Wait for the first watch whose time has come; None when this thread is to end."""
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(self._heap[0][0] - now if self._heap else None)
        return None

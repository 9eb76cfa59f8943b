"""Ends this process when its interpreter stands still, or does not show in time that it serves.

An import may hold the interpreter's lock for ever (a catastrophic regular expression does), or put
other functions in the place of those that threads wait with (eventlet, gevent). No code of Python
ends a process then, a signal's handler neither, and gunicorn's master ends no worker that has not
begun to serve. So a thread of C does, the one of ``faulthandler``, which writes where each thread
stands before. A thread of Python puts it off for as long as all is well.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds without a sign of life after which the process ends; with a quarter of a processor a sign
#: comes tenths of a second late. An import that holds the lock for longer and then lets go ends
#: processes after pauses that double (``app.isolation.reconciler``).
SECONDS = 8.0
#: Seconds between two signs.
TICK = 0.5
#: Seconds that are none, to a timer that wants more than 0.
AT_ONCE = 0.001
STDERR = 2
_sleep, _now = time.sleep, time.monotonic
_start_thread = _thread.start_new_thread
#: What is patched by whoever makes threads green.
_WAITS = ((time, "sleep"), (socket, "socket"), (select, "select"), (_thread, "start_new_thread"))


class Watchdog:
    """The one of a process: there is one such timer in it. It does nothing until ``enable``.

    It uses what the interpreter itself brings, before anybody can put another in its place.
    """

    def __init__(self) -> None:
        self._enabled = False
        self._mutex = _thread.allocate_lock()
        #: How many of its users are under way, and whether its thread is.
        self._users = 0
        self._running = False
        #: When it has to be shown that this process serves; None when that is not asked for.
        self._due: float | None = None
        os.register_at_fork(
            before=self._pause, after_in_parent=self._go_on, after_in_child=self._reset
        )

    def enable(self) -> None:
        """From now on it may end this process: somebody else begins another one."""
        self._enabled = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within: the process ends when its interpreter stands still for ``SECONDS``."""
        self._begin()
        try:
            yield
        finally:
            with self._mutex:
                # In a child that was forked within, there are none.
                self._users = max(0, self._users - 1)

    def demand(self) -> None:
        """From now on the process ends when it is not ``satisfied`` within ``SECONDS``.

        Called again, it gives as much time anew.
        """
        with self._mutex:
            asked, self._due = self._due is not None, _now() + SECONDS
        if not asked:
            self._begin()

    def prolong(self) -> None:
        """Give as much time anew where something is demanded: there is progress."""
        with self._mutex:
            if self._due is not None:
                self._due = _now() + SECONDS

    def satisfied(self) -> None:
        """The process has shown that it serves."""
        with self._mutex:
            if self._due is not None:
                self._due = None
                self._users -= 1

    def _begin(self) -> None:
        with self._mutex:
            self._users += 1
            if self._enabled and not self._running:
                self._running = True
                # Here, because the thread may not get its first turn.
                _arm(SECONDS)
                _start_thread(self._run, ())

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._users:
                    faulthandler.cancel_dump_traceback_later()
                    self._running = False
                    return
                overdue = self._due is not None and _now() >= self._due
                _arm(AT_ONCE if overdue else SECONDS)
            _sleep(TICK)

    def _pause(self) -> None:
        """Before a fork: a child without that thread of C would wait for it for ever."""
        self._mutex.acquire()
        if self._running:
            faulthandler.cancel_dump_traceback_later()

    def _go_on(self) -> None:
        self._mutex.release()

    def _reset(self) -> None:
        """In a forked child: what its parent does is no matter of its own."""
        self._mutex = _thread.allocate_lock()
        self._users, self._running, self._due = 0, False, None


def _arm(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)


#: The one of this process.
watchdog = Watchdog()


def patched() -> bool:
    """Whether others (eventlet, gevent) stand in the place of what threads wait with."""
    return any(getattr(module, name).__module__ != module.__name__ for module, name in _WAITS)

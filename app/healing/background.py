"""Work beside the requests: calls that may be given up, calls that are shared, loops.

All threads are daemons: what hangs in one does not keep
the process alive.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
AnyLock = TypeVar("AnyLock")

#: Seconds that stopping waits for a turn that is under way. The thread is a daemon: what hangs in a
#: turn does not keep the process alive.
STOP_WAIT = 2.0
_forked_free: weakref.WeakSet[Any] = weakref.WeakSet()


def free_after_fork(lock: AnyLock) -> AnyLock:
    """The lock, free in each process that is forked: who held it is not there to release it."""
    _forked_free.add(lock)
    return lock


def _free() -> None:
    for lock in tuple(_forked_free):
        lock._at_fork_reinit()  # noqa: SLF001 - what the standard library does with its own


os.register_at_fork(after_in_child=_free)


class BoundedCall(Generic[T]):
    """Runs ``function`` in a thread of its own; whoever waits for it may give up.

    The thread is a daemon: it ends with the process and never keeps it alive. It runs in a copy of
    its caller's context, so its log lines bear the id of the request that began it. Whatever the
    function raises is raised again by ``wait``.
    """

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._function = function
        self._done = threading.Event()
        self._pid = os.getpid()
        self._result: T
        self._error: BaseException | None = None
        self._ended_at = 0.0
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return self._done.is_set()

    @property
    def age(self) -> float:
        """Seconds since the call ended; 0 while it runs."""
        return time.monotonic() - self._ended_at if self.done else 0.0

    @property
    def orphaned(self) -> bool:
        """Whether the process was forked while the call ran: its thread is not in this one."""
        return not self.done and self._pid != os.getpid()

    def wait(self, seconds: float) -> T:
        """The result; the call's thread has ended too by then.

        Raises:
            TimeoutError: when the call has not ended within ``seconds``.
        """
        if not self._done.wait(seconds):
            raise TimeoutError
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            self._error = error
        finally:
            self._ended_at = time.monotonic()
            self._done.set()


class SharedCall(Generic[T]):
    """Calls ``function`` for one caller at a time; who comes meanwhile shares that call's outcome.

    No lock is held during the call.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._call: Future[T] | None = None

    @property
    def running(self) -> bool:
        """Whether a call is under way."""
        return self._call is not None

    def __call__(self) -> T:
        """The result of the call under way, or else of a call of one's own.

        Raises:
            Exception: what the function raised, for everybody who shares the call.
        """
        with self._lock:
            shared = self._call
            call = self._call = shared or Future()
        return call.result() if shared else self._run(call)

    def _run(self, call: Future[T]) -> T:
        try:
            result = self._function()
        except BaseException as error:
            self._end()
            call.set_exception(error)
            raise
        self._end()
        call.set_result(result)
        return result

    def _end(self) -> None:
        with self._lock:
            self._call = None


class BackgroundLoop:
    """Takes turns in a thread of its own, from ``start`` to ``stop``.

    Args:
        turn: does what is due and returns the seconds until there is more to do. What it raises is
            logged, once while it stays the same, and costs this turn alone.
        name: of the thread, and of what failed in the log.
        longest_pause: the most seconds between two turns, and those after one that failed.
    """

    def __init__(self, turn: Callable[[], float], name: str, longest_pause: float) -> None:
        self._turn = turn
        self._name = name
        self._longest_pause = longest_pause
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped again."""
        return self._thread is not None

    def start(self) -> None:
        """Begin with a turn at once; starting twice is starting once.

        Belongs after the fork of a pre-forking server: a child has none of its parent's threads.
        """
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join(STOP_WAIT)

    def _run(self) -> None:
        pause, logged = 0.0, ""
        while not self._stopping.wait(pause):
            try:
                pause, logged = min(self._turn(), self._longest_pause), ""
            except Exception as error:
                # The thread must outlive whatever one turn met; the next one tries again.
                met = f"{type(error).__name__}: {error}"
                if met != logged:
                    logger.exception("background turn failed", extra={"fields": {"of": self._name}})
                pause, logged = self._longest_pause, met

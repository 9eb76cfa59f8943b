"""Calls that may take longer than their caller can wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

T = TypeVar("T")


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

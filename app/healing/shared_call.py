"""One computation for all who ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


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

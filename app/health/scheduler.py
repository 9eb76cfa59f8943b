"""The background thread of a worker that has checks run when they are due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds after which the thread looks again although nothing seemed due: a run that hung longer
#: than its interval may have ended.
LONGEST_PAUSE = 1.0
STOP_WAIT = 2.0


class Scheduler:
    """Takes turns until it is stopped.

    Args:
        turn: begins what is due and returns the seconds until there is more to do. It waits for
            nothing.
    """

    def __init__(self, turn: Callable[[], float]) -> None:
        self._turn = turn
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped again."""
        return self._thread is not None

    def start(self) -> None:
        """Begin with a turn at once; starting twice is starting once."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="health", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join(STOP_WAIT)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = min(self._turn(), LONGEST_PAUSE)
            except Exception:
                # The thread must outlive whatever one turn met, a lack of threads above all.
                logger.exception("health checks cannot be begun")
                pause = LONGEST_PAUSE

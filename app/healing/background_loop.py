"""The one way in which something runs beside the requests for as long as a worker lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds that stopping waits for a turn that is under way. The thread is a daemon: what hangs in a
#: turn does not keep the process alive.
STOP_WAIT = 2.0


class BackgroundLoop:
    """Takes turns in a thread of its own, from ``start`` to ``stop``.

    Args:
        turn: does what is due and returns the seconds until there is more to do. What it raises is
            logged, and costs this turn alone.
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
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = min(self._turn(), self._longest_pause)
            except Exception:
                # The thread must outlive whatever one turn met; the next one tries again.
                logger.exception("background turn failed", extra={"fields": {"of": self._name}})
                pause = self._longest_pause

"""The reconciler: one background thread a worker that heals what is missing and keeps health fresh.

It is started after the fork and stopped before the worker ends, so that a fork never copies it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from app.health import HealthService
from app.utils.auto_fix import AutoFixer

logger = logging.getLogger(__name__)

#: Seconds between two passes; fixes of other processes are seen at every pass and at every import.
INTERVAL = 5.0
#: Seconds that stopping waits for a pass that is under way. Its thread is a daemon: an install
#: that is cut off leaves a staging directory, which the next heal removes.
STOP_WAIT = 2.0


class Reconciler:
    """Heals and refreshes health in the background until it is stopped."""

    def __init__(
        self, fixer: AutoFixer, health: Callable[[], HealthService], interval: float = INTERVAL
    ) -> None:
        self._fixer = fixer
        self._health = health
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with a pass at once; starting twice is starting once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_WAIT)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._fixer.check_and_fix_system_health()
                self._health().refresh()
            except Exception:
                # The thread must outlive whatever one pass met; the next pass tries again.
                logger.exception("reconciler pass failed")
            self._stopping.wait(self._interval)

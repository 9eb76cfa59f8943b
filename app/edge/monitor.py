"""The edge functions' background thread: one in each worker, started after the fork.

It follows the registry's file, shares what is counted, and checks the functions' health: in one
worker of a host at a time, the one that holds a lock which the kernel releases when it dies.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.edge.client import EdgeClient
from app.edge.errors import NoTransport
from app.healing.flight import Busy, exclusive

logger = logging.getLogger(__name__)

LOCK = "edge-checks.lock"
#: Seconds between two looks at the file, two exchanges with other workers, two health checks.
TICK, SHARE_SECONDS, CHECK_SECONDS = 1.0, 2.0, 30.0
#: A pause between health checks is up to this share shorter or longer.
JITTER = 0.2
_STOP_WAIT = 2.0


class EdgeMonitor:
    """Runs beside the requests until it is stopped.

    Args:
        client: whose functions are checked.
        home: where the lock is.
        spread: a random number between two, for the jitter.
    """

    def __init__(
        self,
        client: EdgeClient,
        home: Path,
        *,
        check_seconds: float = CHECK_SECONDS,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._client = client
        self._lock = home / LOCK
        self._check_seconds = check_seconds
        self._spread = spread
        self._share_at = self._check_at = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; starting twice is starting once."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="edge-monitor", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join(_STOP_WAIT)

    def _run(self) -> None:
        while not self._stopping.is_set():
            # Until this worker is the one that checks, it looks again at each turn.
            with self._elected() as elected:
                self._turns(checking=elected)

    def _turns(self, *, checking: bool) -> None:
        """One turn, or all of them for the worker that checks."""
        while not self._stopping.is_set():
            try:
                self._turn(checking=checking)
            except Exception:
                # The thread must outlive whatever one turn met; the next one tries again.
                logger.exception("edge monitor failed")
            self._stopping.wait(TICK)
            if not checking:
                return

    def _turn(self, *, checking: bool) -> None:
        now = time.monotonic()
        functions = self._client.functions
        if checking and functions and now >= self._check_at:
            pause = self._check_seconds * self._spread(1 - JITTER, 1 + JITTER)
            self._check_at = now + pause
            with contextlib.suppress(NoTransport):
                self._client.check_all()
        if now >= self._share_at:
            self._share_at = now + SHARE_SECONDS
            self._client.share_state()

    @contextlib.contextmanager
    def _elected(self) -> Iterator[bool]:
        """Whether this worker holds the lock, for as long as the block runs."""
        with contextlib.ExitStack() as stack:
            try:
                self._lock.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(self._lock, wait=0))
            except Busy:
                yield False
                return
            except OSError:
                # Without a home nothing can be agreed upon: then every worker checks.
                logger.debug("edge lock cannot be taken", exc_info=True)
            yield True

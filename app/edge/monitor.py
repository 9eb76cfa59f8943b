"""The edge functions' background thread: one in each worker, started after the fork.

It follows the registry's file, shares what is counted, and checks the functions' health: in one
worker of a host at a time, the one that holds a lock which the kernel releases when it dies.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

from app.edge.client import EdgeClient
from app.edge.errors import NoTransport
from app.healing.background import BackgroundLoop
from app.healing.claims import Busy, exclusive

logger = logging.getLogger(__name__)

LOCK = "edge-checks.lock"
#: Seconds between two looks at the file, two exchanges with other workers, two health checks.
TICK, SHARE_SECONDS, CHECK_SECONDS = 1.0, 2.0, 30.0
#: Seconds between two exchanges while this worker has nothing new to say; others take it for gone
#: after fifteen.
IDLE_SECONDS = 9.0
#: A pause between health checks is up to this share shorter or longer.
JITTER = 0.2


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
        self._lock_held: contextlib.ExitStack | None = None
        self._loop = BackgroundLoop(self._turn, "edge-monitor", TICK)

    def start(self) -> None:
        """Begin; starting twice is starting once."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment; another worker checks from now on."""
        self._loop.stop()
        held, self._lock_held = self._lock_held, None
        if held is not None:
            held.close()

    def _turn(self) -> float:
        now = time.monotonic()
        # Until this worker is the one that checks, it looks again at each turn.
        checking = self._is_elected()
        if checking and self._client.functions and now >= self._check_at:
            pause = self._check_seconds * self._spread(1 - JITTER, 1 + JITTER)
            self._check_at = now + pause
            with contextlib.suppress(NoTransport):
                self._client.check_all()
        if now >= self._share_at:
            self._share_at = now + SHARE_SECONDS
            self._client.share_state(idle=IDLE_SECONDS)
        return TICK

    def _is_elected(self) -> bool:
        """Whether this worker holds the lock, from now on until it stops."""
        if self._lock_held is None:
            held = contextlib.ExitStack()
            try:
                self._lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive(self._lock, wait=0))
            except Busy:
                return False
            except OSError:
                # Without a home nothing can be agreed upon: then every worker checks.
                logger.debug("edge lock cannot be taken", exc_info=True)
                return True
            self._lock_held = held
        return True

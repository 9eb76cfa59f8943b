"""Heals that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.healing.background import BoundedCall
from app.healing.outcomes import FixResult

#: Seconds between two heals of one subject that nobody waits for: a failure that lasts a moment
#: must not use the whole budget up.
PAUSE = 1.0


class BackgroundHeals:
    """At most one heal of each subject under way in this process."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._calls: dict[str, BoundedCall[FixResult]] = {}

    def begin(
        self, subject: str, work: Callable[[], FixResult], allowed: Callable[[], bool]
    ) -> BoundedCall[FixResult] | None:
        """Begin ``work``, or join what is under way for ``subject``.

        None when the last one has only just ended, or ``allowed`` says no.
        """
        with self._mutex:
            last = self._calls.get(subject)
            if last is not None and not last.orphaned:
                if not last.done:
                    return last
                if last.age < PAUSE:
                    return None
            if not allowed():
                return None
            call = self._calls[subject] = BoundedCall(work, f"heal {subject}")
            return call

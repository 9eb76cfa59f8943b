"""The budget: how often a fault may be attacked, and when again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from app.healing.backoff import doubled

#: Attempts before the first pause (the owner's number).
MAX_RETRIES = 3
#: The first pause and the longest one, in seconds.
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 3600.0
#: Failures older than this no longer count: a memory that never expires has blocked users who had
#: fixed the cause (home-assistant PR 23316).
EXPIRY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one subject since its last success or reset, none older than EXPIRY."""

    count: int
    last_at: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left: attempts before a pause, and seconds until the next attempt is allowed."""

    attempts_left: int
    retry_after: float

    @property
    def allows(self) -> bool:
        """Whether an attempt may be made now."""
        return self.retry_after <= 0


def budget(subject: str, failures: Failures, now: float, max_retries: int = MAX_RETRIES) -> Budget:
    """The budget of ``subject`` at ``now`` (seconds since the epoch).

    The pause doubles with every failure beyond ``max_retries``. Its jitter comes from the subject
    and the count, so every process of a host computes the same moment without talking.
    """
    left = max_retries - failures.count
    if left > 0:
        return Budget(left, 0.0)
    elapsed = max(0.0, now - failures.last_at)
    return Budget(0, max(0.0, pause(subject, -left) - elapsed))


def pause(subject: str, doublings: int) -> float:
    """Seconds between half and the whole of ``FIRST_PAUSE * 2**doublings``, an hour at most."""
    digest = hashlib.sha256(f"{subject}:{doublings}".encode()).digest()
    return doubled(FIRST_PAUSE, LONGEST_PAUSE, doublings) * (0.5 + digest[0] / 510)

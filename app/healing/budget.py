"""The budget: how often a fault may be attacked, and when again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.healing.backoff import doubled
from app.healing.journal import RESET, Attempt, Failures, Journal, Standing, Total

#: Attempts before the first pause (the owner's number).
MAX_RETRIES = 3
#: The first pause and the longest one, in seconds.
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 3600.0
#: Failures older than this no longer count: a memory that never expires has blocked users who had
#: fixed the cause (home-assistant PR 23316).
EXPIRY = 24 * 3600.0


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


class Budgets:
    """What is left for each subject, over all processes of this host: read from the journal.

    A subject is its kind and its name. Creating it touches nothing.

    Args:
        journal: where attempts are recorded.
        basis_of: what the failures of a kind count for now; None for a kind that only other
            processes have: it is judged by what was recorded last.
    """

    def __init__(
        self, journal: Callable[[], Journal], basis_of: Callable[[str], str | None]
    ) -> None:
        self.max_retries = MAX_RETRIES
        self._journal, self._basis_of = journal, basis_of
        #: Attempts that a caller has assigned: how many, of how many that the journal had then.
        self._assigned: dict[tuple[str, str], tuple[int, int]] = {}
        #: When that was and how many failures the journal had then, until a heal succeeds.
        self._assumed: dict[tuple[str, str], tuple[int, Failures]] = {}

    def standings(self, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Standing]:
        """How it stands with each subject, in one look at the journal.

        Failures from a clock that ran more than an hour ahead do not count: they would for years.
        """
        keys, now = tuple(subjects), time.time()
        known = {kind: self._basis_of(kind) for kind in {kind for kind, _ in keys}}
        bases = {key: known[key[0]] for key in keys}
        return self._journal().standings(bases, now - EXPIRY, now + LONGEST_PAUSE)

    def standing(self, kind: str, subject: str) -> Standing:
        """How it stands with one subject."""
        return self.standings([(kind, subject)])[kind, subject]

    def of(self, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Budget]:
        """What is left for each subject, in one look at the journal."""
        found = self.standings(subjects)
        return {key: self.left(key, standing.failures) for key, standing in found.items()}

    def left(self, key: tuple[str, str], failures: Failures) -> Budget:
        """What is left for a subject that has failed so often, with what was assigned to it."""
        now = time.time()
        attempts, before = self._assumed.get(key, (0, Failures(0, 0.0)))
        # Fewer than there were: another process has healed it meanwhile, or they have expired.
        if failures.count >= before.count and now - before.last_at < EXPIRY:
            count = attempts + failures.count - before.count
            failures = Failures(max(0, count), max(failures.last_at, before.last_at))
        return budget(key[1], failures, now, self.max_retries)

    def attempts(self, totals: Iterable[Total]) -> dict[tuple[str, str], int]:
        """The attempts made at each subject, with what was assigned to it."""
        counts: dict[tuple[str, str], int] = {}
        for total in totals:
            key = (total.kind, total.subject)
            counts[key] = counts.get(key, 0) + total.count
        for key, (attempts, before) in tuple(self._assigned.items()):
            counts[key] = max(0, attempts + counts.get(key, 0) - before)
        return counts

    def assign(self, key: tuple[str, str], attempts: int) -> None:
        """Count so many attempts as made already, in this process."""
        failures, totals = self.standing(*key).failures, self._journal().totals()
        made = sum(total.count for total in totals if (total.kind, total.subject) == key)
        self._assigned[key] = (attempts, made)
        self._assumed[key] = (attempts, Failures(failures.count, time.time()))

    def healed(self, key: tuple[str, str]) -> None:
        """What was assigned blocks a subject no more."""
        self._assumed.pop(key, None)

    def reset(self, kind: str, subject: str) -> bool:
        """Give a subject its whole budget back; False when that could not be written down."""
        self._assigned.pop((kind, subject), None)
        self._assumed.pop((kind, subject), None)
        attempt = f"{RESET}-{time.time_ns()}-{os.getpid()}"
        row = Attempt(attempt=attempt, kind=kind, subject=subject, cause="", outcome=RESET)
        return self._journal().append(row)


class FixAttempts(dict[str, int]):
    """Attempts made by subject; an assignment counts as attempts that were made already."""

    def __init__(self, counts: Mapping[str, int], assigned: Callable[[str, int], None]) -> None:
        super().__init__(counts)
        self._assigned = assigned

    def __setitem__(self, subject: str, attempts: int) -> None:
        self._assigned(subject, attempts)
        super().__setitem__(subject, attempts)

    def __delitem__(self, subject: str) -> None:
        super().__delitem__(subject)
        self._assigned(subject, 0)

    def pop(self, subject: str, *default: Any) -> Any:  # noqa: ANN401 - the dictionary's own
        """The attempts of a subject, or the default; none are assigned from then on."""
        attempts = self.get(subject)
        if attempts is None:
            return super().pop(subject, *default)
        del self[subject]
        return attempts

    def setdefault(self, subject: str, default: int = 0) -> int:
        """The attempts of a subject, assigned when there are none."""
        if subject not in self:
            self[subject] = default
        return self[subject]

    def update(self, *others: Mapping[str, int], **more: int) -> None:  # type: ignore[override]
        """Assign all of them."""
        for subject, attempts in dict(*others, **more).items():
            self[subject] = attempts

    def clear(self) -> None:
        """Assign no attempts to every subject."""
        for subject in tuple(self):
            del self[subject]

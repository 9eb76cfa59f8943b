"""Counts and rates of attempts, from the journal's totals."""

from __future__ import annotations

from collections.abc import Iterable

from app.healing.journal import Total
from app.healing.outcomes import Outcome


def attempts_by_subject(totals: Iterable[Total]) -> dict[str, int]:
    """How many attempts were made on each subject."""
    counts: dict[str, int] = {}
    for total in totals:
        counts[total.subject] = counts.get(total.subject, 0) + total.count
    return counts


def statistics(totals: Iterable[Total]) -> dict[str, object]:
    """Counts and rates over all subjects and for each; a rate of nothing is None."""
    made = tuple(totals)
    subjects = attempts_by_subject(made)
    modules = {name: _rates([t for t in made if t.subject == name]) for name in subjects}
    overall = _rates(made)
    return {
        "fix_attempts": subjects,
        "success_count": overall["successes"],
        "failure_count": overall["failures"],
        "success_rate": overall["success_rate"],
        "failure_rate": overall["failure_rate"],
        "modules": modules,
    }


def _rates(totals: Iterable[Total]) -> dict[str, int | float | None]:
    outcomes = [(total.count, total.outcome == Outcome.HEALED) for total in totals]
    made = sum(count for count, _ in outcomes)
    won = sum(count for count, healed in outcomes if healed)
    return {
        "attempts": made,
        "successes": won,
        "failures": made - won,
        "success_rate": won / made if made else None,
        "failure_rate": (made - won) / made if made else None,
    }

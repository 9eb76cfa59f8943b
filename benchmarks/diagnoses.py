"""What is said of public reports of failed imports, and how long a diagnosis takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks import cases
from benchmarks.harness import Measurement

#: So many fresh processes make the time of a first diagnosis.
PROCESSES = 7


def measure() -> Iterator[Measurement]:
    """Right diagnoses among the cases, and the seconds of a first and of a later one."""
    applying = [case for case in cases.all_cases() if case.applies]
    found = cases.diagnose_all()
    wrong = [case.name for case in applying if found[case.name] != case.expected]
    yield Measurement(
        what=f"public cases with the right cause, culprit and advice, of {len(applying)}",
        rule="at least",
        target=len(applying),
        measured=len(applying) - len(wrong),
        unit="",
        details={"wrong": wrong},
    )
    timed = [cases.time_diagnoses() for _ in range(PROCESSES)]
    for what, target, seconds in (
        ("first", 5.0, [first for first, _ in timed]),
        ("later", 0.5, [one for _, later in timed for one in later]),
    ):
        yield Measurement(
            what=f"failure of an unapproved import to its diagnosis, the {what} one",
            rule="at most",
            target=target,
            measured=statistics.median(seconds) * 1000,
            unit="ms",
            details={"worst, ms": max(seconds) * 1000},
        )

"""How the dependencies and the watched modules are, without importing or healing any."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from app.healing.journal import Journal
from app.healing.outcomes import ADVICE, FAILURES, Outcome
from app.healing.report import Check
from app.kinds.dependency.diagnosis import Cause, Diagnosis, Diagnostician
from app.kinds.dependency.healer import KIND
from app.kinds.dependency.import_reports import ImportReports
from app.kinds.dependency.on_disk import find_on_disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Looks at what is required and what is watched.

    ``required`` are top-level modules of the dependency map, ``critical`` those of them without
    which nothing is served.
    """

    required: tuple[str, ...]
    critical: frozenset[str]
    reports: ImportReports
    diagnostician: Diagnostician
    journal: Journal

    def missing(self) -> tuple[Diagnosis, ...]:
        """Why each required dependency that is not there is not there."""
        found = (self._why_missing(name) for name in self.required)
        return tuple(diagnosis for diagnosis in found if diagnosis is not None)

    def checks(self) -> Iterable[Check]:
        """A check for each required dependency and each watched module."""
        yield from map(self._dependency, self.required)
        yield from (self.module(path) for path in tuple(self.reports.watched))

    def module(self, path: str) -> Check:
        """The check of a watched module, by its last import."""
        report = self.reports.get(path)
        diagnosis = report.diagnosis if report is not None else None
        name = f"module_{path.replace('.', '_')}"
        critical = self.reports.watched.get(path, False)
        return self._check(name, "module", path, diagnosis, critical=critical)

    def _dependency(self, name: str) -> Check:
        diagnosis = self._why_missing(name)
        critical = name in self.critical
        return self._check(f"dependency_{name}", KIND, name, diagnosis, critical=critical)

    def _why_missing(self, name: str) -> Diagnosis | None:
        """None when the module is found on disk: whether it imports shows when somebody tries."""
        report = self.reports.get(name)
        known = report.diagnosis if report is not None and name not in sys.modules else None
        if known is not None and known.cause is Cause.MISSING_DISTRIBUTION:
            known = None if find_on_disk(known.module) is not None else known
        if known is None and name not in sys.modules and find_on_disk(name) is None:
            return self.diagnostician.absent(name)
        return known

    def _check(
        self, name: str, kind: str, subject: str, diagnosis: Diagnosis | None, *, critical: bool
    ) -> Check:
        if diagnosis is None:
            return Check(name=name, kind=kind, subject=subject, ok=True, critical=critical)
        outcome, advice = self._last_outcome(diagnosis), diagnosis.advice
        if outcome is not None:
            advice = f"{advice}; the last attempt to heal it failed: {ADVICE[outcome]}"
        return Check(
            name=name,
            kind=kind,
            subject=subject,
            ok=False,
            critical=critical,
            reason=str(diagnosis.cause),
            advice=advice,
            outcome=str(outcome) if outcome is not None else None,
        )

    def _last_outcome(self, diagnosis: Diagnosis) -> Outcome | None:
        """How the last attempt of this host to heal a fault failed; None when there was none."""
        if diagnosis.heals is None:
            return None
        _, outcome = self.journal.last(KIND, diagnosis.heals)
        return Outcome(outcome) if outcome in FAILURES else None

"""The open faults as a person reads them: worst first, each with its story and its one action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from app.healing.engine import OpenFault
from app.healing.ignored import Ignored
from app.healing.kind import Outcome, Plan
from app.healing.report import Check, Status
from app.isolation.states import BlueprintState
from app.services import Services
from app.utils.auto_fix import AutoFixer

#: The beginning of the one sentence.
STATES: Mapping[Status, str] = {
    Status.HEALTHY: "Serving",
    Status.DEGRADED: "Serving",
    Status.UNHEALTHY: "Not ready",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultView:
    """One open fault.

    ``advice`` is what it means alone where details are not to be seen. ``since`` and ``next_try``
    are seconds since the epoch; ``next_try`` is 0 where nothing waits, and None where nothing will
    be tried by itself. ``blueprints`` are the names of those that are down for it. ``plan`` is what
    may be carried out, and ``step`` what is being done of it just now.
    """

    kind: str
    subject: str
    cause: str
    advice: str
    critical: bool
    since: float
    blueprints: tuple[str, ...]
    needed_by: tuple[str, ...]
    outcome: str | None
    reason: str | None
    attempts_left: int
    next_try: int | None
    fallback: str | None
    plan: Plan | None
    step: str | None
    ignored: Ignored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that is wrong, in the order in which to look at it.

    ``others`` are checks that fail for anything but a fault, such as a full disk.
    """

    status: Status
    faults: tuple[FaultView, ...]
    ignored: tuple[FaultView, ...]
    others: tuple[Check, ...]

    @property
    def worst(self) -> FaultView | None:
        """What the one sentence is about."""
        return self.faults[0] if self.faults else None

    def of(self, kind: str, subject: str) -> FaultView | None:
        """The open fault of a subject, the ignored ones included."""
        for fault in (*self.faults, *self.ignored):
            if (fault.kind, fault.subject) == (kind, subject):
                return fault
        return None


def overview(services: Services, states: Iterable[BlueprintState], *, details: bool) -> Overview:
    """What is wrong now, read from what is known; looks at nothing anew."""
    fixer, report = services.fixer, services.health.read().report
    since = _first_seen(services.workers.read())
    names: dict[str, list[str]] = {}
    for state in states:
        if not state.active:
            names.setdefault(state.path, []).append(state.name)
    failed: dict[tuple[str, str | None], list[Check]] = {}
    for check in report.checks:
        if not check.ok:
            failed.setdefault((check.subject, check.reason), []).append(check)
    under_way, ignored = fixer.under_way(), fixer.ignored.current()
    found = []
    for opened in _recent_faults(fixer):
        own = _checks_of(opened, failed)
        mark = under_way.get((opened.fault.kind, opened.fault.subject))
        found.append(
            _view(
                opened,
                own,
                names,
                ignored.get(opened.key),
                advice=_advice(opened, fixer, details=details),
                since=min(opened.since, since.get(opened.key, opened.since)),
                step=mark.step or "begin" if mark else None,
            )
        )
    found.sort(key=lambda fault: (not fault.critical, not fault.blueprints, fault.since))
    return Overview(
        status=report.overall_status,
        faults=tuple(fault for fault in found if fault.ignored is None),
        ignored=tuple(fault for fault in found if fault.ignored is not None),
        others=tuple(sorted(chain(*failed.values()), key=lambda check: not check.critical)),
    )


def _recent_faults(fixer: AutoFixer) -> tuple[OpenFault, ...]:
    """The open faults; none where a kind makes a mistake, which is a failed check of health."""
    try:
        return fixer.recent_faults()
    except Exception:  # noqa: BLE001 - health logs it; the rest of the page is of use
        return ()


def _first_seen(workers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], float]:
    """When a worker of this host first saw each fault."""
    found: dict[tuple[str, ...], float] = {}
    for worker in workers:
        for *key, since in worker.get("faults", ()):
            found[tuple(key)] = min(since, found.get(tuple(key), since))
    return found


def _checks_of(opened: OpenFault, failed: dict[tuple[str, str | None], list[Check]]) -> list[Check]:
    """Take the failed checks that a fault stands for: its subject's, and those of what needs it."""
    fault = opened.fault
    subjects = {fault.subject, *fault.needed_by}
    return [check for name in subjects for check in failed.pop((name, fault.cause), ())]


def _advice(opened: OpenFault, fixer: AutoFixer, *, details: bool) -> str:
    """What to do; without details what the cause means, as the middle of a sentence."""
    fault = opened.fault
    if details:
        return fault.advice
    meaning = fixer.kinds[fault.kind].causes.get(fault.cause, fault.cause)
    return meaning[:1].lower() + meaning[1:].rstrip(".")


def _view(
    opened: OpenFault,
    checks: list[Check],
    names: Mapping[str, list[str]],
    ignored: Ignored | None,
    *,
    advice: str,
    since: float,
    step: str | None,
) -> FaultView:
    fault, left = opened.fault, opened.budget
    on_request = fault.plan is not None and fault.plan.on_request
    tries = fault.fixable and opened.outcome != Outcome.MODE
    return FaultView(
        kind=fault.kind,
        subject=fault.subject,
        cause=fault.cause,
        advice=advice,
        critical=any(check.critical for check in checks),
        since=since,
        blueprints=tuple(n for module in fault.needed_by for n in names.get(module, ())),
        needed_by=tuple(name for name in fault.needed_by if name != fault.subject),
        outcome=opened.outcome,
        reason=opened.reason,
        attempts_left=left.attempts_left,
        next_try=round(opened.at + left.retry_after) * (left.retry_after > 0) if tries else None,
        fallback=next((check.fallback for check in checks if check.fallback), None),
        plan=fault.plan if tries or on_request else None,
        step=step,
        ignored=ignored,
    )

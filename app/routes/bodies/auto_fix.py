"""What is said of the engine: its counters, its attempts and fixes, and how an import went."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from app.healing.engine import OpenFault
from app.healing.journal import Attempt as RecordedAttempt
from app.healing.report import timestamp
from app.kinds.dependency.diagnosis import Cause
from app.kinds.dependency.imports import ImportReport
from app.kinds.dependency.on_disk import find_on_disk
from app.kinds.dependency.requirements import MAX_MODULE_NAME
from app.routes.bodies.health import Fix
from app.settings.declarations import Mode
from app.web.json_bodies import Count, Keywords, Moment, Pid, Seconds, Share, filled

ModuleName = Annotated[
    str,
    f"An absolute dotted name, {MAX_MODULE_NAME} characters at most, no part a Python keyword.",
    Keywords(
        minLength=1,
        maxLength=MAX_MODULE_NAME,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        examples=["aiohttp"],
        **{"not": {"pattern": rf"(^|\.)({'|'.join(keyword.kwlist)})(\.|$)"}},
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRequest:
    """A module to be healed."""

    module: ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRequest:
    """An open fault to be healed."""

    kind: Annotated[str, Keywords(examples=["dependency"])]
    subject: Annotated[str, Keywords(examples=["aiohttp"])]
    plan: Annotated[str | None, "Its plan's digest; only this one is carried out then."] = None
    confirm: Annotated[
        bool | None, "True keeps what an earlier fix of it has changed, false takes that back."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a fix on request has ended."""

    kind: Annotated[str, "The kind of fault."]
    subject: Annotated[str, "What was fixed."]
    outcome: Annotated[str, "`kept`, `taken_back`, or `edited_since`: somebody else's edit stays."]


#: Who names a kind means a fault.
FixRequest = Annotated[ModuleRequest, Keywords(**{"not": {"required": ["kind"]}})]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to heal."""

    at: Annotated[Moment, "When it ended."]
    kind: Annotated[str, "The kind of fault."]
    module: Annotated[str, "What was to be healed."]
    cause: Annotated[str, "Why it was missing, one of the causes."]
    outcome: Annotated[str, "How it ended, as a code."]
    requirement: Annotated[str, "What was to be installed."]
    installed: Annotated[list[str], "`name==version` lines."]
    seconds: Annotated[Seconds, "How long it took."]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRates:
    """How the attempts on one module ended."""

    attempts: Count
    successes: Count
    failures: Count
    success_rate: Annotated[Share | None, "Of 1; null before the first attempt."]
    failure_rate: Annotated[Share | None, "Of 1; null before the first attempt."]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintStatus:
    """One part of the service in the process that answers."""

    active: Annotated[bool, "Whether it serves."]
    url_prefix: Annotated[str, "Where it is mounted."]
    paths: Annotated[list[str], "What it answers for, with all below it; `/` stands for itself."]
    critical: bool
    reason: Annotated[str | None, "Why it does not serve, as a code."]
    advice: Annotated[str | None, "What to do about it; with the token only, where one is set."]
    needs_restart: Annotated[bool, "Whether only a new process can bring it back."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One living worker process of this host."""

    host: str
    pid: Pid
    booted_at: Annotated[Moment, "When it began to serve."]
    mode: Mode
    active: Annotated[list[str], "The blueprints that it serves."]
    quarantined: Annotated[dict[str, str | None], "Those that it does not, and why."]
    needs_restart: Annotated[list[str], "Those that only a restart brings back."]
    last_seen: Annotated[Moment, "When it last said so."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The process that answers."""

    pid: Pid
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLeft:
    """What is left of the budget of a subject, over all processes of the host."""

    attempts_left: Annotated[Count, "Attempts before a pause."]
    retry_after: Annotated[Seconds, "Seconds for which nothing is tried."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What healing a fault would do."""

    digest: Annotated[str, "Names this plan when a fix is asked for."]
    steps: Annotated[list[str], "What would be done, one line each."]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStatus:
    """Something that is wrong, what was tried about it, and when it is tried again."""

    kind: Annotated[str, "The kind of fault."]
    subject: Annotated[str, "What is wrong: for a dependency its import name."]
    cause: Annotated[str, "Why, one of the causes of its kind."]
    advice: Annotated[str | None, "What to do about it; with the token only, where one is set."]
    fixable: Annotated[bool, "Whether there is a fix that may be tried."]
    outcome: Annotated[str | None, "How healing it ended or why it is refused, as a code."]
    reason: Annotated[str | None, "What can be done about that outcome."]
    attempts_left: Annotated[Count, "Attempts before a pause."]
    retry_after: Annotated[Seconds, "Seconds for which nothing is tried."]
    needed_by: Annotated[list[str], "The modules that fail for it."]
    plan: Annotated[Plan | None, "With the token only, where one is set."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """The engine's counters, over all processes of the host and their restarts."""

    mode: Mode
    mode_reason: Annotated[str | None, "Why it is not the mode that was set, as a code."]
    max_retries: Annotated[Count, "Attempts before the engine pauses."]
    dependency_map_size: Annotated[Count, "Packages that may be installed."]
    available_dependencies: Annotated[list[str], "Their import names."]
    fix_attempts: Annotated[dict[str, Count], "Attempts by module."]
    success_count: Count
    failure_count: Count
    success_rate: Annotated[Share | None, "Of 1; null before the first attempt."]
    failure_rate: Annotated[Share | None, "Of 1; null before the first attempt."]
    modules: Annotated[dict[str, ModuleRates], "The same for each module."]
    budgets: Annotated[dict[str, BudgetLeft], "What is left of each module's budget."]
    faults: Annotated[list[FaultStatus], "What is wrong now."]
    process: Process
    blueprints: Annotated[dict[str, BlueprintStatus], "Every part of the service by name."]
    workers: list[Worker]
    recent_attempts: Annotated[
        list[Attempt] | None, "The newest first; with the token only.", Keywords(maxItems=20)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted(Fix):
    """One fix that is in force, and whether the next image has it by itself."""

    listed: Annotated[bool, "Whether the requirements file names it already."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What runs only because it was healed."""

    drift: Annotated[bool, "Whether there is anything to add."]
    requirements: Annotated[list[str], "The lines to add to requirements-flask.txt."]
    items: Annotated[list[Drifted] | None, "Every fix in force; with the token only."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why an import fails."""

    cause: Cause
    module: Annotated[str, "The module that is really at fault."]
    distribution: Annotated[str | None, "The package that brings it."]
    requirement: Annotated[str | None, "What would be installed."]
    fixable: Annotated[bool, "Whether a fix is approved."]
    advice: Annotated[str | None, "What to do, in one sentence; with the token only."] = None
    chain: Annotated[
        list[str] | None, "From the module that was asked for to the one at fault."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Whether a module can be imported."""

    module: Annotated[str, "The module that was asked for."]
    success: Annotated[bool, "Whether it can be imported, as far as that was tried."]
    available: Annotated[bool, "Whether it is installed."]
    type: Annotated[str | None, "The type of what was imported."]
    diagnosis: Diagnosis | None
    note: Annotated[str | None, "Why a module that is installed was not imported."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Import):
    """A module that can be imported now."""

    healed: Annotated[bool, "Whether this call healed it."]
    outcome: Literal["healed", "already_available"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFixed(Import):
    """A module that cannot be imported after all."""

    healed: Annotated[bool, "Whether something has been installed all the same."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """How healing one open fault ended."""

    kind: Annotated[str, "The kind of fault."]
    subject: Annotated[str, "What was wrong."]
    healed: bool
    outcome: Annotated[str, "How it ended, as a code."]
    advice: Annotated[str, "What to do next."]
    installed: Annotated[list[str], "What was put in place."]


AnyImport = TypeVar("AnyImport", bound=Import)


def attempt(recorded: RecordedAttempt) -> Attempt:
    """An attempt as the journal has it."""
    return filled(
        Attempt,
        recorded,
        at=timestamp(recorded.at),
        module=recorded.subject,
        seconds=round(recorded.seconds, 3),
    )


def fault_status(opened: OpenFault, *, details: bool) -> FaultStatus:
    """An open fault; what may name versions is a detail."""
    fault, left, plan = opened.fault, opened.budget, opened.fault.plan
    return filled(
        FaultStatus,
        fault,
        advice=fault.advice if details else None,
        outcome=opened.outcome,
        reason=opened.reason,
        attempts_left=left.attempts_left,
        retry_after=round(left.retry_after, 1),
        plan=Plan(digest=plan.digest, steps=list(plan.steps)) if plan and details else None,
    )


def imported(
    body: type[AnyImport], report: ImportReport, *, details: bool, **given: object
) -> AnyImport:
    """How an import went; advice and the way to the fault are details."""
    hidden = {} if details else {"advice": None, "chain": None}
    note = None
    if report.available and not report.success and report.diagnosis is None:
        told = find_on_disk(report.module) is not None
        note = _LOOKED_UP if told else _CANNOT_BE_TOLD
    return filled(
        body,
        report,
        type=None if report.loaded is None else type(report.loaded).__name__,
        diagnosis=filled(Diagnosis, report.diagnosis, **hidden) if report.diagnosis else None,
        note=note,
        **given,
    )


_LOOKED_UP = (
    "The module is installed, but it is not loaded and nothing that is served needs it as such,"
    " so it was looked up and not imported."
)
_CANNOT_BE_TOLD = (
    "Whether it is there cannot be told without importing it: an import hook brings it."
)

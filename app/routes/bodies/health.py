"""What is said of a health reading: the documented report, a summary, and the IETF's draft.

``application/json`` has the documented fields, ``application/health+json`` those
of draft-inadarei-api-health-check-06. Without details reason codes stand in the place of advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from app.healing.report import Status, timestamp
from app.health import DatedCheck, HealthReading
from app.settings.declarations import Mode
from app.web.json_bodies import Count, Moment, filled

JSON, HEALTH_JSON = "application/json", "application/health+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and how it ended."""

    kind: Annotated[str, "What is checked, such as `dependency`, `blueprint` or `edge`."]
    subject: Annotated[str, "Which one of that kind."]
    ok: bool
    critical: Annotated[bool, "Whether its failure makes the service unhealthy."]
    reason: Annotated[str | None, "Why it fails, as a code."]
    advice: Annotated[
        str | None,
        "One sentence that says what to do; null without the token, where one is configured.",
    ]
    fallback: Annotated[str | None, "What the feature runs on instead."]
    outcome: Annotated[str | None, "Why it is not healed, as a code."]
    observed: Annotated[float | None, "What was measured."]
    unit: Annotated[str | None, "In what."]
    checked_at: Annotated[Moment | None, "When; null: never yet."]
    stale: Annotated[bool, "Whether that is longer ago than it should be."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One fix that is in force."""

    kind: Annotated[str, "The kind of fault, such as `dependency`."]
    subject: Annotated[str, "What was healed, for a dependency its import name."]
    requirement: Annotated[str, "The requirement line that makes the fix permanent."]
    installed: Annotated[list[str], "`name==version` lines."]
    at: Annotated[Moment, "When it was committed."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """The engine's counters; empty until it was first looked at."""

    mode: Annotated[Mode | None, "What the engine may do about a fault."] = None
    fix_attempts: Annotated[
        dict[str, Count] | None, "Attempts by module, over all processes and restarts."
    ] = None
    max_retries: Annotated[Count | None, "Attempts before the engine pauses."] = None
    available_fixes: Annotated[Count | None, "Packages that may be installed."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The health of the service, check by check."""

    overall_status: Annotated[Status, "Unhealthy when a critical check fails."]
    timestamp: Annotated[Moment, "When the reading was taken."]
    checks_performed: Annotated[list[str], "The names of all checks."]
    fixes_applied: Annotated[list[str], "One line for each fix that is in force."]
    errors_detected: Annotated[list[str], "One line for each check that fails."]
    checks: Annotated[dict[str, Check], "Every check by name."]
    auto_fixer: EngineCounters
    stale: Annotated[bool, "Whether a result is older than it should be."]
    pending: Annotated[list[str], "The checks of which nothing is known yet."]
    fixes: Annotated[
        list[Fix] | None, "The fixes in force; with the token only, where one is set."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSummary:
    """Health in a few words."""

    status: Status
    timestamp: Annotated[Moment, "When the reading was taken."]
    checks: Annotated[Count, "How many checks were made."]
    failed: Annotated[dict[str, str | None], "The checks that fail, each with its reason code."]
    fixes: Annotated[list[str], "What runs only because it was healed."]
    stale: Annotated[bool, "Whether a result is older than it should be."]


class Verdict(StrEnum):
    """The draft's words for healthy, degraded and unhealthy."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


class ComponentType(StrEnum):
    """What a check looks at; the draft knows these."""

    COMPONENT = "component"
    DATASTORE = "datastore"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One check, in the draft's words."""

    componentType: ComponentType  # noqa: N815 - the draft's name
    status: Verdict
    time: Annotated[Moment | None, "When it was made."] = None
    output: Annotated[str | None, "Why it does not pass."] = None
    observedValue: Annotated[float | None, "What was measured."] = None  # noqa: N815
    observedUnit: Annotated[str | None, "In what."] = None  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthDocument:
    """Health by draft-inadarei-api-health-check-06."""

    status: Annotated[Verdict, "`fail` when a critical check fails."]
    description: str
    notes: list[str]
    checks: Annotated[dict[str, list[Component]], "Every check by name."]
    output: Annotated[str | None, "The names of the checks that fail."] = None


_VERDICTS = {
    Status.HEALTHY: Verdict.PASS,
    Status.DEGRADED: Verdict.WARN,
    Status.UNHEALTHY: Verdict.FAIL,
}
_COMPONENT_TYPES: Mapping[str, ComponentType] = {
    "journal": ComponentType.DATASTORE,
    **dict.fromkeys(("clock", "home", "installer", "workers"), ComponentType.SYSTEM),
}


def health_report(reading: HealthReading, *, details: bool) -> HealthReport:
    """Every documented field."""
    report = reading.report
    hidden = {} if details else {"advice": None, "observed": None, "unit": None}
    return filled(
        HealthReport,
        report.to_dict(details=details),
        checks={
            one.check.name: filled(
                Check, one.check, checked_at=_checked_at(one), stale=one.stale, **hidden
            )
            for one in reading.checks
        },
        auto_fixer=filled(EngineCounters, report.auto_fixer),
        stale=reading.stale,
        pending=list(reading.pending),
        fixes=[filled(Fix, fix) for fix in report.fixes] if details else None,
    )


def health_summary(reading: HealthReading, *, details: bool) -> HealthSummary:  # noqa: ARG001
    """The report in a few fields, the same for everybody."""
    report = reading.report
    return HealthSummary(
        status=report.overall_status,
        timestamp=timestamp(report.timestamp.timestamp()),
        checks=len(report.checks),
        failed={check.name: check.reason for check in report.checks if not check.ok},
        fixes=[fix.subject for fix in report.fixes],
        stale=reading.stale,
    )


def health_document(reading: HealthReading, *, details: bool) -> HealthDocument:
    """The draft's document; it names no version."""
    failed = [check.name for check in reading.report.checks if not check.ok]
    notes = [f"{len(failed)} of {len(reading.checks)} checks fail"]
    if reading.stale:
        notes.append("some results are older than they should be")
    return HealthDocument(
        status=_VERDICTS[reading.report.overall_status],
        description="health of the Royal Equips Orchestrator",
        notes=notes,
        checks={one.check.name: [_component(one, details=details)] for one in reading.checks},
        output=" ".join(failed) or None,
    )


def _component(dated: DatedCheck, *, details: bool) -> Component:
    check = dated.check
    measured = details and check.observed is not None
    failed = Verdict.FAIL if check.critical else Verdict.WARN
    return Component(
        componentType=_COMPONENT_TYPES.get(check.kind, ComponentType.COMPONENT),
        status=Verdict.PASS if check.ok else failed,
        time=_checked_at(dated),
        output=None if check.ok else (check.advice if details else None) or check.reason,
        observedValue=check.observed if measured else None,
        observedUnit=check.unit if measured else None,
    )


def _checked_at(dated: DatedCheck) -> str | None:
    return timestamp(dated.checked_at.timestamp()) if dated.checked_at is not None else None


#: The bodies of the paths that tell of health, by media type; who asks for none gets the first.
REPORT = {JSON: health_report, HEALTH_JSON: health_document}
SUMMARY = {JSON: health_summary, HEALTH_JSON: health_document}

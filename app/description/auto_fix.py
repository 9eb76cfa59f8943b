"""What the engine sees and did, and the one change that HTTP may ask for."""

from __future__ import annotations

from dataclasses import replace

from app.description.operations import (
    BODY_PROBLEMS,
    HEALTH_JSON,
    IF_NONE_MATCH,
    JSON,
    PLAIN,
    Access,
    Answer,
    Body,
    Group,
    Operation,
    Parameter,
    unchanged,
)
from app.routes.bodies.auto_fix import (
    Drift,
    EngineStatus,
    FaultRequest,
    Fixed,
    FixRequest,
    Import,
    ModuleName,
    NotFixed,
    Repaired,
)
from app.routes.bodies.health import HealthDocument, HealthReport
from app.web.problem_table import NOT_FIXED

_CACHED = ("Cache-Control", "Vary")
_HEALTH = {JSON: HealthReport, HEALTH_JSON: HealthDocument}
_UNHEALTHY = Answer(status="503", description="Unhealthy.", content=_HEALTH, headers=_CACHED)
_IN_EITHER_FORMAT = "As `application/health+json`: by the IETF's draft."

AUTO_FIX = Group(
    blueprint="auto_fix",
    title="Auto-Fix",
    description="What is missing, what was healed, and healing one module by hand.",
    operations=(
        Operation(
            path="/api/auto-fix/health",
            name="health",
            summary="Health, every check",
            description=f"What the checks in the background found last. {_IN_EITHER_FORMAT}",
            access=Access.DETAILS,
            parameters=(IF_NONE_MATCH,),
            answers=(
                Answer(
                    description="Healthy or degraded.",
                    content=_HEALTH,
                    headers=(*_CACHED, "ETag", "Age"),
                ),
                unchanged(*_CACHED, "ETag", "Age"),
                _UNHEALTHY,
            ),
        ),
        Operation(
            path="/api/auto-fix/force-health-check",
            name="forceHealthCheck",
            summary="Health, checked now",
            description=(
                "Runs the checks; callers at the same time share one run, and what does not end"
                f" within two seconds is shown as it is. {_IN_EITHER_FORMAT}"
            ),
            access=Access.DETAILS,
            answers=(
                Answer(description="Healthy or degraded.", content=_HEALTH, headers=_CACHED),
                _UNHEALTHY,
            ),
            problems=("rate_limited",),
        ),
        Operation(
            path="/api/auto-fix/status",
            name="engineStatus",
            summary="Attempts, successes and failures",
            access=Access.DETAILS,
            answers=(
                Answer(
                    description="The counters.",
                    content={JSON: EngineStatus},
                    headers=("Cache-Control",),
                ),
            ),
        ),
        Operation(
            path="/api/auto-fix/drift",
            name="drift",
            summary="What runs only because it was healed",
            description="As `text/plain`: the requirement lines alone, ready to be appended.",
            access=Access.DETAILS,
            answers=(
                Answer(
                    description="The requirement lines that make every fix permanent.",
                    content={JSON: Drift, PLAIN: str},
                    headers=_CACHED,
                ),
            ),
        ),
        Operation(
            path="/api/auto-fix/test-import",
            name="testImport",
            summary="Can a module be imported?",
            description=(
                "Changes nothing, and runs no code of a module that is neither loaded nor approved:"
                " such a one is looked up. An import that fails is an answer, not an error."
            ),
            access=Access.DETAILS,
            parameters=(Parameter(place="query", name="module", kind=ModuleName, required=True),),
            answers=(
                Answer(
                    description="Whether it can, and why not.",
                    content={JSON: Import},
                    headers=("Cache-Control",),
                ),
            ),
            problems=("module_required", "invalid_module_name", "rate_limited"),
        ),
        Operation(
            method="post",
            path="/api/auto-fix/fix",
            name="fix",
            summary="Heal one module or fault now",
            description=(
                "Installs what the lock names for an approved module, and imports it; or repairs an"
                " open fault as its plan says."
            ),
            access=Access.CHANGE,
            body=Body(
                description=(
                    "The module to heal, or an open fault of any kind, in at most 16 KiB; other"
                    " members are ignored."
                ),
                kinds=(FixRequest, FaultRequest),
            ),
            answers=(
                Answer(
                    description="It can be imported now, or the fault is gone.",
                    content={JSON: (Fixed, Repaired)},
                    headers=("Cache-Control",),
                ),
            ),
            problems=(
                *("unsupported_media_type", "invalid_json", "module_required"),
                *("invalid_module_name", *BODY_PROBLEMS),
                *("changes_disabled", "token_required", "too_many_attempts", "rate_limited"),
                *("fault_required", "unknown_fault", "plan_changed"),
                *(
                    replace(problem, members=members)
                    for problem in NOT_FIXED.values()
                    for members in (NotFixed, Repaired)
                ),
            ),
        ),
    ),
)

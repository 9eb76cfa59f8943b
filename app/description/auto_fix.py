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
    json_read,
    unchanged,
)
from app.routes.bodies.auto_fix import (
    Drift,
    Ended,
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
_TAGGED = (*_CACHED, "ETag", "Age")
_HEALTH = {JSON: HealthReport, HEALTH_JSON: HealthDocument}
_GOOD, _UNHEALTHY = "Healthy or degraded.", Answer("Unhealthy.", _HEALTH, _CACHED, "503")

AUTO_FIX = Group(
    "auto_fix",
    "Auto-Fix",
    "What is missing, what was healed, and healing one module by hand.",
    (
        Operation(
            "/api/auto-fix/health",
            "health",
            "Health, every check",
            (Answer(_GOOD, _HEALTH, _TAGGED), unchanged(*_TAGGED), _UNHEALTHY),
            "What the checks in the background found last. As `application/health+json`: by the"
            " IETF's draft.",
            parameters=(IF_NONE_MATCH,),
            access=Access.DETAILS,
        ),
        Operation(
            "/api/auto-fix/force-health-check",
            "forceHealthCheck",
            "Health, checked now",
            (Answer(_GOOD, _HEALTH, _CACHED), _UNHEALTHY),
            "Runs the checks; callers at the same time share one run, and what does not end within"
            " two seconds is shown as it is. In the same formats.",
            problems=("rate_limited",),
            access=Access.DETAILS,
        ),
        json_read(
            "/api/auto-fix/status",
            "engineStatus",
            "Attempts, successes and failures",
            EngineStatus,
        ),
        Operation(
            "/api/auto-fix/drift",
            "drift",
            "What runs only because it was healed",
            (Answer("The lines that make it permanent.", {JSON: Drift, PLAIN: str}, _CACHED),),
            "As `text/plain`: the requirement lines alone, ready to be appended.",
            access=Access.DETAILS,
        ),
        json_read(
            "/api/auto-fix/test-import",
            "testImport",
            "Can a module be imported?",
            Import,
            "Changes nothing, and imports no more than an approved package that a blueprint needs:"
            " any other module is looked up. An import that fails is an answer, not an error.",
            parameters=(Parameter("query", "module", kind=ModuleName, required=True),),
            problems=("module_required", "invalid_module_name", "rate_limited"),
        ),
        Operation(
            "/api/auto-fix/fix",
            "fix",
            "Heal one module or fault now, or end a fix",
            (
                Answer(
                    "It can be imported now, the fault is gone, or its fix has ended.",
                    {JSON: (Fixed, Repaired, Ended)},
                ),
            ),
            "Installs what the lock names for an approved module, and imports it; or repairs an"
            " open fault as its plan says; or keeps, or takes back, what that has changed.",
            method="post",
            body=Body(
                "The module to heal, or an open fault of any kind, in at most 16 KiB; other members"
                " are ignored.",
                (FixRequest, FaultRequest),
            ),
            problems=(
                *("unsupported_media_type", "invalid_json", "module_required"),
                *("invalid_module_name", "fault_required", "unknown_fault", "plan_changed"),
                *("nothing_to_confirm", "other_caller"),
                *("changes_disabled", "token_required", "too_many_attempts", "rate_limited"),
                *BODY_PROBLEMS,
                *(
                    replace(problem, members=members)
                    for problem in NOT_FIXED.values()
                    for members in (NotFixed, Repaired)
                ),
            ),
            access=Access.CHANGE,
        ),
    ),
)

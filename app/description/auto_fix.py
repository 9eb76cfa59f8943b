"""What the engine sees and did, and the one change that HTTP may ask for."""

from __future__ import annotations

import keyword

from app.description.faults import (
    BODY,
    CHANGE,
    INVALID_JSON,
    INVALID_MODULE_NAME,
    MODULE_REQUIRED,
    NOT_FIXED,
    NOT_JSON,
    RATE_LIMITED,
)
from app.description.operations import (
    HEALTH_JSON,
    IF_NONE_MATCH,
    JSON,
    PLAIN,
    Access,
    Answer,
    Group,
    Operation,
    json_body,
    query,
    unchanged,
)
from app.description.schemas import (
    flag,
    listed,
    maybe,
    moment,
    number,
    one_of,
    ref,
    shape,
    share,
    table,
    text,
    whole,
)
from app.healing.kind import REFUSALS, Outcome
from app.kinds.dependency.requirements import MAX_MODULE_NAME
from app.settings.engine import Mode

_KEYWORDS = "|".join(keyword.kwlist)
_MODULE_NAME = {
    **text(
        f"An absolute dotted name, {MAX_MODULE_NAME} characters at most, no part a Python keyword.",
        minLength=1,
        maxLength=MAX_MODULE_NAME,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        examples=["aiohttp"],
    ),
    "not": {"pattern": rf"(^|\.)({_KEYWORDS})(\.|$)"},
}

_RATES = {
    "success_rate": maybe(share("Of 1; null before the first attempt.")),
    "failure_rate": maybe(share("Of 1; null before the first attempt.")),
}
_ATTEMPT = shape(
    "One attempt to heal.",
    {
        "at": moment("When it ended."),
        "kind": text("The kind of fault."),
        "module": text("What was to be healed."),
        "cause": text("Why it was missing, one of the causes."),
        "outcome": one_of(sorted(set(Outcome) - REFUSALS)),
        "requirement": text("What was to be installed."),
        "installed": listed(text(), "`name==version` lines."),
        "seconds": number("How long it took."),
    },
)
_BLUEPRINT = shape(
    "One part of the service in the process that answers.",
    {
        "active": flag("Whether it serves."),
        "url_prefix": text("Where it is mounted."),
        "paths": listed(text(), "What it answers for, with all below it; `/` stands for itself."),
        "critical": flag(),
        "reason": maybe(text("Why it does not serve, as a code.")),
        "advice": maybe(text("What to do about it; with the token only, where one is set.")),
        "needs_restart": flag("Whether only a new process can bring it back."),
    },
)
_WORKER = shape(
    "One living worker process of this host.",
    {
        "host": text(),
        "pid": whole(minimum=1),
        "booted_at": text("When it began to serve."),
        "mode": one_of(Mode),
        "active": listed(text(), "The blueprints that it serves."),
        "quarantined": table(maybe(text()), "Those that it does not, and why."),
        "needs_restart": listed(text(), "Those that only a restart brings back."),
        "last_seen": moment("When it last said so."),
    },
)
_MODULE_RATES = shape(
    "What came of the attempts on one module.",
    {"attempts": whole(), "successes": whole(), "failures": whole(), **_RATES},
)
_STATUS = shape(
    "The engine's counters, over all processes of the host and their restarts.",
    {
        "mode": one_of(Mode),
        "max_retries": whole("Attempts before the engine pauses."),
        "dependency_map_size": whole("Packages that may be installed."),
        "available_dependencies": listed(text(), "Their import names."),
        "fix_attempts": table(whole(), "Attempts by module."),
        "success_count": whole(),
        "failure_count": whole(),
        **_RATES,
        "modules": table(_MODULE_RATES, "The same for each module."),
        "process": shape("The process that answers.", {"pid": whole(minimum=1)}),
        "blueprints": table(_BLUEPRINT, "Every part of the service by name."),
        "workers": listed(_WORKER),
    },
    {"recent_attempts": listed(_ATTEMPT, "The newest first; with the token only.", maxItems=20)},
)
_DRIFT = shape(
    "What runs only because it was healed.",
    {
        "drift": flag("Whether there is anything to add."),
        "requirements": listed(text(), "The lines to add to requirements-flask.txt."),
    },
    {"items": listed(ref("Drifted"), "Every fix in force; with the token only.")},
)
_IMPORT = {
    "module": text("The module that was asked for."),
    "success": flag("Whether it can be imported, as far as that was tried."),
    "available": flag("Whether it is installed."),
    "type": maybe(text("The type of what was imported.")),
    "diagnosis": maybe(ref("Diagnosis")),
}
_NOTE = {"note": text("Why a module that is installed was not imported.")}
_FIXED = {
    "healed": flag("Whether this call healed it."),
    "outcome": one_of(("healed", "already_available")),
}

_CACHED = ("Cache-Control", "Vary")
_UNCACHED = ("Cache-Control",)


_HEALTH = {JSON: ref("HealthReport"), HEALTH_JSON: ref("HealthDocument")}
_UNHEALTHY = Answer(status="503", description="Unhealthy.", content=_HEALTH, headers=_CACHED)
_IN_EITHER_FORMAT = "As `application/health+json`: by the IETF's draft."

_HEALTH_READS = (
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
            "Runs the checks; callers at the same time share one run, and what does not end within"
            f" two seconds is shown as it is. {_IN_EITHER_FORMAT}"
        ),
        access=Access.DETAILS,
        answers=(
            Answer(description="Healthy or degraded.", content=_HEALTH, headers=_CACHED),
            _UNHEALTHY,
        ),
        faults=(RATE_LIMITED,),
    ),
)

AUTO_FIX = Group(
    blueprint="auto_fix",
    title="Auto-Fix",
    description="What is missing, what was healed, and healing one module by hand.",
    schemas={
        "EngineStatus": _STATUS,
        "Drift": _DRIFT,
        "Import": shape("Whether a module can be imported.", _IMPORT, _NOTE),
        "Fixed": shape("A module that can be imported now.", {**_IMPORT, **_FIXED}, _NOTE),
    },
    operations=(
        *_HEALTH_READS,
        Operation(
            path="/api/auto-fix/status",
            name="engineStatus",
            summary="Attempts, successes and failures",
            access=Access.DETAILS,
            answers=(
                Answer(
                    description="The counters.",
                    content={JSON: ref("EngineStatus")},
                    headers=_UNCACHED,
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
                    content={JSON: ref("Drift"), PLAIN: text("One requirement a line.")},
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
            parameters=(query("module", "", _MODULE_NAME, required=True),),
            answers=(
                Answer(
                    description="Whether it can, and why not.",
                    content={JSON: ref("Import")},
                    headers=_UNCACHED,
                ),
            ),
            faults=(MODULE_REQUIRED, INVALID_MODULE_NAME, RATE_LIMITED),
        ),
        Operation(
            method="post",
            path="/api/auto-fix/fix",
            name="fix",
            summary="Heal one module now",
            description="Installs what the lock names for an approved module, and imports it.",
            access=Access.CHANGE,
            body=json_body(
                "The module to heal, in at most 16 KiB; other members are ignored.",
                {
                    "type": "object",
                    "properties": {"module": _MODULE_NAME},
                    "required": ["module"],
                },
            ),
            answers=(
                Answer(
                    description="It can be imported now.",
                    content={JSON: ref("Fixed")},
                    headers=_UNCACHED,
                ),
            ),
            faults=(
                NOT_JSON,
                INVALID_JSON,
                MODULE_REQUIRED,
                INVALID_MODULE_NAME,
                *BODY,
                *CHANGE,
                RATE_LIMITED,
                *NOT_FIXED,
            ),
        ),
    ),
)

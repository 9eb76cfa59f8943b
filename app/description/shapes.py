"""The shapes that more than one group of operations speaks of."""

from __future__ import annotations

from collections.abc import Mapping

from app.description.schemas import (
    Schema,
    flag,
    listed,
    maybe,
    moment,
    one_of,
    ref,
    shape,
    table,
    text,
    whole,
)
from app.healing.kind import ADVICE, Outcome
from app.healing.report import Status
from app.kinds.dependency.catalog import INSTALL_ADVICE
from app.kinds.dependency.diagnosis import Cause
from app.settings.engine import Mode

_PASS = ("pass", "warn", "fail")
_ADVICE = "One sentence that says what to do; null without the token, where one is configured."

_CHECK = shape(
    "One check and how it ended.",
    {
        "kind": text("What is checked, such as `dependency`, `blueprint` or `edge`."),
        "subject": text("Which one of that kind."),
        "ok": flag(),
        "critical": flag("Whether its failure makes the service unhealthy."),
        "reason": maybe(text("Why it fails, as a code.")),
        "advice": maybe(text(_ADVICE)),
        "fallback": maybe(text("What the feature runs on instead.")),
        "outcome": maybe(
            one_of(sorted({*ADVICE, *INSTALL_ADVICE} - {Outcome.HEALED}), "Why it is not healed.")
        ),
        "observed": {"type": ["number", "null"], "description": "What was measured."},
        "unit": maybe(text("In what.")),
        "checked_at": maybe(moment("When; null: never yet.")),
        "stale": flag("Whether that is longer ago than it should be."),
    },
)
_FIX = {
    "kind": text("The kind of fault, such as `dependency`."),
    "subject": text("What was healed, for a dependency its import name."),
    "requirement": text("The requirement line that makes the fix permanent."),
    "installed": listed(text(), "`name==version` lines."),
    "at": moment("When it was committed."),
}
_COUNTERS = shape(
    "The engine's counters; empty until it was first looked at.",
    {},
    {
        "mode": one_of(Mode, "What the engine may do about a fault."),
        "fix_attempts": table(whole(), "Attempts by module, over all processes and restarts."),
        "max_retries": whole("Attempts before the engine pauses."),
        "available_fixes": whole("Packages that may be installed."),
    },
)
_REPORT = shape(
    "The health of the service, check by check.",
    {
        "overall_status": one_of(Status, "Unhealthy when a critical check fails."),
        "timestamp": moment("When the reading was taken."),
        "checks_performed": listed(text(), "The names of all checks."),
        "fixes_applied": listed(text(), "One line for each fix that is in force."),
        "errors_detected": listed(text(), "One line for each check that fails."),
        "checks": table(ref("Check"), "Every check by name."),
        "auto_fixer": _COUNTERS,
        "stale": flag("Whether a result is older than it should be."),
        "pending": listed(text(), "The checks of which nothing is known yet."),
    },
    {"fixes": listed(ref("Fix"), "The fixes in force; with the token only, where one is set.")},
)
_COMPONENT = shape(
    "One check.",
    {
        "componentType": one_of(("component", "datastore", "system")),
        "status": one_of(_PASS),
    },
    {
        "time": moment("When it was made."),
        "output": text("Why it does not pass."),
        "observedValue": {"type": "number", "description": "What was measured."},
        "observedUnit": maybe(text("In what.")),
    },
)
_HEALTH_JSON = shape(
    "Health by draft-inadarei-api-health-check-06.",
    {
        "status": one_of(_PASS, "`fail` when a critical check fails."),
        "description": text(),
        "notes": listed(text()),
        "checks": table(listed(_COMPONENT), "Every check by name."),
    },
    {"output": text("The names of the checks that fail.")},
)
_DIAGNOSIS = shape(
    "Why an import fails.",
    {
        "cause": one_of(Cause),
        "module": text("The module that is really at fault."),
        "distribution": maybe(text("The package that brings it.")),
        "requirement": maybe(text("What would be installed.")),
        "fixable": flag("Whether a fix is approved."),
    },
    {
        "advice": text("One sentence that says what to do; with the token only."),
        "chain": listed(text(), "From the module that was asked for to the one at fault."),
    },
)
_PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457). No text of an exception is ever in one.",
    "properties": {
        "title": text("What kind of problem this is, the same each time."),
        "status": whole("The HTTP status.", minimum=400, maximum=599),
        "detail": text("One sentence about this occurrence."),
        "code": text("A stable word for programs.", pattern="^[a-z][a-z0-9_]*$"),
        "error": text("The same as `detail`."),
    },
    "required": ["title", "status", "detail", "code", "error"],
}

SHAPES: Mapping[str, Schema] = {
    "Problem": _PROBLEM,
    "HealthReport": _REPORT,
    "HealthDocument": _HEALTH_JSON,
    "Check": _CHECK,
    "Fix": shape("One fix that is in force.", _FIX),
    "Drifted": shape(
        "One fix that is in force, and whether the next image has it by itself.",
        {**_FIX, "listed": flag("Whether the requirements file names it already.")},
    ),
    "Diagnosis": _DIAGNOSIS,
}

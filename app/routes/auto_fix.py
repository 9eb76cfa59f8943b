"""``/api/auto-fix``: what the engine sees and did, and the one change that HTTP may ask for."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from app.access.permissions import caller_name, details_allowed, require_token
from app.healing.kind import Outcome, Repair
from app.healing.locks import Busy
from app.healing.report import timestamp
from app.health import Group, HealthService
from app.isolation.states import BlueprintState
from app.routes.bodies.auto_fix import (
    BlueprintStatus,
    Drift,
    Drifted,
    Ended,
    EngineStatus,
    Fixed,
    Import,
    NotFixed,
    Repaired,
    Worker,
    attempt,
    fault_status,
    imported,
)
from app.routes.bodies.health import REPORT
from app.services import Services
from app.utils.auto_fix import AutoFixer
from app.web.answers import health_answer, json_answer
from app.web.json_bodies import filled, members
from app.web.problem_table import not_fixed
from app.web.problems import problem
from app.web.request_body import read_object

auto_fix_bp = Blueprint("auto_fix", __name__)

SHOWN_ATTEMPTS = 20
MAX_BODY = 16 * 1024
#: Seconds that the answer to a fix waits for health to show it.
SEEN_WITHIN = 1.0


@auto_fix_bp.get("/health")
def health() -> Response:
    """The cached health report: 200, or 503 when unhealthy."""
    service: HealthService = current_app.extensions["health"]
    return health_answer(service.read(), REPORT, cacheable=True)


@auto_fix_bp.get("/force-health-check")
def force_health_check() -> Response:
    """The health report, computed now; callers at the same time share one computation.

    What does not end within two seconds is shown as it is.
    """
    service: HealthService = current_app.extensions["health"]
    return health_answer(service.force(), REPORT)


@auto_fix_bp.get("/status")
def status() -> Response:
    """The engine's counters; the newest attempts for those who may see details."""
    services: Services = current_app.extensions["services"]
    states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
    details = details_allowed()
    hidden = {} if details else {"advice": None}
    recent = services.fixer.history(SHOWN_ATTEMPTS) if details else ()
    body = filled(
        EngineStatus,
        services.fixer.status(),
        blueprints={state.name: filled(BlueprintStatus, state, **hidden) for state in states},
        workers=[
            filled(Worker, one, last_seen=timestamp(one["last_seen"]))
            for one in services.workers.read()
        ],
        faults=[fault_status(each, details=details) for each in services.fixer.open_faults()],
        recent_attempts=[attempt(recorded) for recorded in recent] if details else None,
    )
    return json_answer(body)


@auto_fix_bp.get("/drift")
def drift() -> Response:
    """What runs only because it was healed: JSON, or requirement lines for ``text/plain``."""
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    items = fixer.fixes()
    fresh = [item.requirement for item in items if not item.listed]
    if request.accept_mimetypes.best_match(["application/json", "text/plain"]) == "text/plain":
        lines = "".join(f"{line}\n" for line in fresh)
        response = Response(lines, mimetype="text/plain", headers={"Cache-Control": "no-store"})
    else:
        shown = [filled(Drifted, item) for item in items]
        items_shown = shown if details_allowed() else None
        response = json_answer(Drift(drift=bool(fresh), requirements=fresh, items=items_shown))
    response.vary.update(("Accept", "Authorization", "Cookie"))
    return response


@auto_fix_bp.get("/test-import")
def test_import() -> Response:
    """Whether a module can be imported; changes nothing and runs no stranger's code."""
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    name = request.args.get("module", "")
    if not name:
        return problem("module_required", "Name a module: ?module=NAME")
    return json_answer(imported(Import, fixer.examine(name), details=details_allowed()))


@auto_fix_bp.post("/fix")
def fix() -> Response:
    """Heal one module or fault now, or end a fix; needs the bearer token."""
    caller = caller_name(require_token())
    services: Services = current_app.extensions["services"]
    asked = read_object(MAX_BODY)
    if "kind" in asked:
        return _fix_fault(asked, services, caller)
    name = asked.get("module")
    if not isinstance(name, str) or not name:
        return problem("module_required", 'The body must name a module: {"module": "NAME"}')
    report = services.fixer.fix(name)
    services.health.refresh(Group.READY, wait=SEEN_WITHIN)
    if report.success:
        outcome = "healed" if report.healed else "already_available"
        given = {"healed": report.healed, "outcome": outcome}
        return json_answer(imported(Fixed, report, details=details_allowed(), **given))
    repair = report.result or Repair(outcome=Outcome.NOT_FIXABLE)
    kind, advice = not_fixed(repair.outcome), repair.advice
    if repair.healed:
        # A heal of the top-level package may not bring the module below it.
        kind = not_fixed(Outcome.NOT_FIXABLE)
        advice = "What was not installed is by now, and the module is still not there."
    # Without advice in the diagnosis, which may name versions: test-import shows it to who may see.
    return problem(
        kind,
        advice or None,
        retry_after=repair.retry_after or None,
        **members(imported(NotFixed, report, details=False, healed=repair.healed)),
    )


def _fix_fault(asked: dict[str, object], services: Services, caller: str) -> Response:
    """Heal one open fault of any kind; with ``plan`` only if that digest is still its plan's."""
    kind, subject, plan, keep = (asked.get(name) for name in ("kind", "subject", "plan", "confirm"))
    if not (
        isinstance(kind, str)
        and isinstance(subject, str)
        and isinstance(plan, str | None)
        and isinstance(keep, bool | None)
    ):
        return problem("fault_required")
    if keep is not None:
        try:
            ending = services.fixer.confirm(kind, subject, caller, keep=keep)
        except OSError as error:
            outcome = Outcome.BUSY if isinstance(error, Busy) else Outcome.PERMISSION
            body = Repaired(
                kind=kind,
                subject=subject,
                healed=False,
                outcome=outcome,
                advice=services.fixer.advice(kind, outcome),
                installed=[],
            )
            return problem(not_fixed(outcome), retry_after=None, **members(body))
        return json_answer(Ended(kind=kind, subject=subject, outcome=ending))
    repair = services.fixer.fix_fault(kind, subject, plan, caller)
    services.health.refresh(Group.READY, wait=SEEN_WITHIN)
    body = filled(Repaired, repair, kind=kind, subject=subject)
    if repair.healed:
        return json_answer(body)
    problem_kind, later = not_fixed(repair.outcome), repair.retry_after or None
    return problem(problem_kind, repair.advice, retry_after=later, **members(body))

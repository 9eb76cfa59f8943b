"""``/api/auto-fix``: what the engine sees and did, and the one change that HTTP may ask for."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify, request

from app.access.permissions import details_allowed, require_token
from app.healing.journal import Attempt
from app.healing.outcomes import Outcome
from app.health import Group, HealthService
from app.isolation.states import BlueprintState
from app.kinds.dependency.drift import drift as drift_of
from app.kinds.dependency.drift import requirements_beside
from app.kinds.dependency.import_reports import ImportReport
from app.routes import health_bodies
from app.services import Services
from app.settings.errors import InvalidModuleName
from app.utils.auto_fix import AutoFixer
from app.web.bodies import read_object
from app.web.problem_table import NOT_FIXED
from app.web.problems import problem

auto_fix_bp = Blueprint("auto_fix", __name__)
auto_fix_bp.record(health_bodies.init_blueprint)

SHOWN_ATTEMPTS = 20
MAX_BODY = 16 * 1024
#: Seconds that the answer to a fix waits for health to show it.
SEEN_WITHIN = 1.0
#: A heal of the top-level package may not bring the module below it that was asked for.
_PARTLY = "What was not installed is by now, and the module is still not there. "
_LOOKED_UP = (
    "The module is installed but neither loaded nor approved, so it was looked up and not imported."
)


@auto_fix_bp.get("/health")
def health() -> Response:
    """The cached health report: 200, or 503 when unhealthy."""
    return health_bodies.rendered(_health().read(), health_bodies.full).cached()


@auto_fix_bp.get("/force-health-check")
def force_health_check() -> Response:
    """The health report, computed now; callers at the same time share one computation.

    What does not end within two seconds is shown as it is.
    """
    return health_bodies.rendered(_health().force(), health_bodies.full).response()


@auto_fix_bp.get("/status")
def status() -> Response:
    """The engine's counters; the newest attempts for those who may see details."""
    fixer = _fixer()
    body = {**fixer.status(), "blueprints": _blueprints(), "workers": _workers()}
    if details_allowed():
        body["recent_attempts"] = [_attempt(attempt) for attempt in fixer.history(SHOWN_ATTEMPTS)]
    return _uncached(jsonify(body))


@auto_fix_bp.get("/drift")
def drift() -> Response:
    """What runs only because it was healed: JSON, or requirement lines for ``text/plain``."""
    fixer = _fixer()
    items = drift_of(fixer.fixes(), requirements_beside(fixer.settings.lock))
    fresh = [item.line for item in items if not item.listed]
    best = request.accept_mimetypes.best_match(["application/json", "text/plain"])
    if best == "text/plain":
        lines = "".join(f"{line}\n" for line in fresh)
        response = Response(lines, mimetype="text/plain")
    else:
        body: dict[str, object] = {"drift": bool(fresh), "requirements": fresh}
        if details_allowed():
            body["items"] = [item.to_dict() for item in items]
        response = jsonify(body)
    response.vary.update(("Accept", "Authorization"))
    return _uncached(response)


@auto_fix_bp.get("/test-import")
def test_import() -> Response:
    """Whether a module can be imported; changes nothing and runs no stranger's code."""
    name = request.args.get("module", "")
    if not name:
        return _module_required("Name a module: ?module=NAME")
    return _uncached(jsonify(_import_body(_fixer().examine(name), details=details_allowed())))


@auto_fix_bp.post("/fix")
def fix() -> Response:
    """Heal one module now; needs the bearer token."""
    require_token()
    name = read_object(MAX_BODY).get("module")
    if not isinstance(name, str) or not name:
        return _module_required('The body must name a module: {"module": "NAME"}')
    report = _fixer().fix(name)
    _health().refresh(Group.READY, wait=SEEN_WITHIN)
    return _fixed(report) if report.success else _not_fixed(report)


@auto_fix_bp.errorhandler(InvalidModuleName)
def invalid_module_name(error: InvalidModuleName) -> Response:
    """What is no module name is the caller's mistake."""
    return problem("invalid_module_name", f"{error}.")


def _blueprints() -> dict[str, object]:
    """What the process that answers serves, and why not the rest."""
    states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
    details = details_allowed()
    return {
        state.name: {
            "active": state.active,
            "url_prefix": state.url_prefix,
            "paths": list(state.paths),
            "critical": state.critical,
            "reason": state.reason,
            "advice": state.advice if details else None,
            "needs_restart": state.needs_restart,
        }
        for state in states
    }


def _workers() -> list[dict[str, object]]:
    """What each living worker of this host says of itself."""
    services: Services = current_app.extensions["services"]
    return [
        {**worker, "last_seen": _iso(worker["last_seen"])} for worker in services.workers.read()
    ]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _fixer() -> AutoFixer:
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    return fixer


def _health() -> HealthService:
    service: HealthService = current_app.extensions["health"]
    return service


def _module_required(detail: str) -> Response:
    return problem("module_required", detail)


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {"at": _iso(attempt.at), **attempt.to_dict()}


def _import_body(report: ImportReport, *, details: bool) -> dict[str, object]:
    body: dict[str, object] = {
        "module": report.module,
        "success": report.success,
        "available": report.available,
        "type": None if report.loaded is None else type(report.loaded).__name__,
        "diagnosis": _diagnosis(report, details=details),
    }
    if report.available and not report.success and report.diagnosis is None:
        body["note"] = _LOOKED_UP
    return body


def _diagnosis(report: ImportReport, *, details: bool) -> dict[str, object] | None:
    if report.diagnosis is None:
        return None
    full = report.diagnosis.to_dict()
    if details:
        return full
    return {name: value for name, value in full.items() if name not in {"advice", "chain"}}


def _fixed(report: ImportReport) -> Response:
    outcome = "healed" if report.healed else "already_available"
    body = {**_import_body(report, details=details_allowed()), "healed": report.healed}
    return _uncached(jsonify({**body, "outcome": outcome}))


def _not_fixed(report: ImportReport) -> Response:
    """A fix that was refused or failed: the outcome's code and what can be done about it.

    The diagnosis has no advice, which may name versions: those who may see it ask ``test-import``.
    """
    result = report.result
    healed = result is not None and result.healed
    if result is None or healed:
        outcome = Outcome.NOT_FIXABLE
        advice = f"{_PARTLY if healed else ''}This fault is not mended by installing."
    else:
        outcome, advice = result.outcome, result.advice
    body = _import_body(report, details=False)
    later = report.result.retry_after if report.result else 0
    return problem(NOT_FIXED[outcome], advice, retry_after=later or None, healed=healed, **body)

"""The landing page: what is up, what is not and why, what was healed, and where to look."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from app.access.permissions import details_allowed
from app.edge import EdgeClient
from app.healing.report import HealthReport, Status
from app.health import HealthService
from app.isolation.states import BlueprintState
from app.utils.auto_fix import AutoFixer
from app.web.headers import PAGE_POLICY

main_bp = Blueprint("main", __name__)

_HEADLINES = {
    Status.HEALTHY: "Everything is up.",
    Status.DEGRADED: "Serving, but not everything is as it should be.",
    Status.UNHEALTHY: "Something critical is missing.",
}
_LINKS = (
    ("auto_fix", "/api/auto-fix/health", "health, every check"),
    ("auto_fix", "/api/auto-fix/status", "attempts, successes and failures"),
    ("auto_fix", "/api/auto-fix/test-import?module=aiohttp", "can a module be imported?"),
    ("edge_functions", "/api/edge-functions/status", "edge functions"),
    ("health", "/healthz", "health in a few words"),
    ("health", "/readyz", "ready to serve?"),
    ("metrics", "/metrics", "for Prometheus"),
    ("docs", "/api/docs", "the whole API, described"),
)


@main_bp.get("/")
def index() -> Response:
    """The page, computed from the cached health reading."""
    service: HealthService = current_app.extensions["health"]
    report = service.read().report
    states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
    page = render_template(
        "index.html",
        status=report.overall_status,
        headline=_HEADLINES[report.overall_status],
        report=report,
        failed=[check for check in report.checks if not check.ok],
        blueprints=states,
        links=_links(states),
        details=details_allowed(),
        mode=_fixer().mode,
        edge=_edge_summary(),
        drift=_drift(report),
    )
    headers = {
        "Content-Security-Policy": PAGE_POLICY,
        "Cache-Control": "no-store",
        "Vary": "Authorization",
    }
    return Response(page, mimetype="text/html", headers=headers)


def _fixer() -> AutoFixer:
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    return fixer


def _links(states: tuple[BlueprintState, ...]) -> list[tuple[str, str]]:
    """The addresses that are served right now."""
    active = {state.name for state in states if state.active}
    return [(address, text) for blueprint, address, text in _LINKS if blueprint in active]


def _edge_summary() -> str:
    edge: EdgeClient = current_app.extensions["edge"]
    count = len(edge.functions)
    registered = "no function registered" if count == 0 else f"{count} registered"
    transport = edge.transport_name()
    return f"{registered}, called through {transport}" if transport else f"{registered}, no way out"


def _drift(report: HealthReport) -> list[str]:
    """What belongs in the requirements, one line a fix."""
    return sorted({fix.requirement for fix in report.fixes if fix.requirement})

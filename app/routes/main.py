"""``/``, the first screen: the state in one sentence, then what is wrong, worst first."""

from __future__ import annotations

import os
import socket

from flask import Blueprint, Response, current_app

from app.isolation.states import BlueprintState
from app.pages.answer import page
from app.pages.faults import STATES, overview
from app.services import Services

main_bp = Blueprint("main", __name__)

LINKS = (
    ("auto_fix", "/api/auto-fix/health", "health, every check"),
    ("auto_fix", "/api/auto-fix/status", "attempts, successes and failures"),
    ("auto_fix", "/api/auto-fix/test-import?module=aiohttp", "can a module be imported?"),
    ("edge_functions", "/api/edge-functions/status", "edge functions"),
    ("health", "/healthz", "health in a few words"),
    ("health", "/readyz", "ready to serve?"),
    ("metrics", "/metrics", "for Prometheus"),
    ("docs", "/api/docs", "the whole API, described"),
)
#: Packages that the service can do without, and says so.
OPTIONAL = ("flask_limiter",)
#: Faults, and failed checks beside them, that the first screen lists: nobody reads thousands.
LISTED = 200


@main_bp.get("/")
def index() -> Response:
    """The state in one sentence, and what is wrong, worst first."""

    def build(services: Services, *, details: bool) -> dict[str, object]:
        fixer, reading = services.fixer, services.health.read()
        states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
        active = [state for state in states if state.active]
        names, found = {state.name for state in active}, overview(services, states, details=details)
        report = reading.report
        return {
            "found": found,
            "every": 2 if found.faults else 5,
            "listed": LISTED,
            "state": STATES[found.status],
            "checks": report.checks,
            "passing": sum(check.ok for check in report.checks),
            "checked_at": report.timestamp.timestamp(),
            "stale": reading.stale,
            "states": states,
            "active": active,
            "links": [(address, text) for name, address, text in LINKS if name in names],
            "mode": fixer.mode,
            "mode_reason": fixer.mode_reason,
            "process": {"host": socket.gethostname(), "pid": os.getpid()},
            "fixes": report.fixes,
            "drift": sorted({fix.requirement for fix in report.fixes if not fix.listed}),
            "missing": [name for name in OPTIONAL if not fixer.installed(name)],
        }

    return page("index.html", build)

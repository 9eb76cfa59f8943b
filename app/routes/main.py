"""The landing page: what is up, what is not and why, what comes next, and where to look."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from flask import Blueprint, Response, current_app, render_template

from app.access.permissions import details_allowed
from app.healing.engine import OpenFault
from app.healing.report import Check, Status
from app.isolation.states import BlueprintState
from app.routes.bodies import VERSION
from app.services import Services
from app.settings.declarations import Mode
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


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not up, told once; ``coming`` says what will be done about it."""

    subject: str
    reason: str | None
    advice: str | None
    critical: bool
    fallback: str | None = None
    needed_by: tuple[str, ...] = ()
    coming: str | None = None


@main_bp.get("/")
def index() -> Response:
    """The page, computed from the cached health reading and the open faults."""
    services: Services = current_app.extensions["services"]
    fixer, edge, report = services.fixer, services.edge, services.health.read().report
    states: tuple[BlueprintState, ...] = current_app.extensions["blueprints"]
    active = {state.name for state in states if state.active}
    transport = edge.transport_name()
    page = render_template(
        "index.html",
        status=report.overall_status,
        headline=_HEADLINES[report.overall_status],
        report=report,
        troubles=_troubles(report.checks, fixer.open_faults(), fixer.mode),
        blueprints=states,
        links=[(address, text) for name, address, text in _LINKS if name in active],
        details=details_allowed(),
        mode=fixer.mode,
        mode_reason=fixer.mode_reason,
        process={"host": socket.gethostname(), "pid": os.getpid(), "version": VERSION},
        edge=f"{len(edge.functions) or 'no function'} registered, "
        + (f"called through {transport}" if transport else "no way out"),
        drift=sorted({fix.requirement for fix in report.fixes if not fix.listed}),
    )
    headers = {
        "Content-Security-Policy": PAGE_POLICY,
        "Cache-Control": "no-store",
        "Vary": "Authorization",
    }
    return Response(page, mimetype="text/html", headers=headers)


def _troubles(checks: Iterable[Check], faults: Iterable[OpenFault], mode: Mode) -> list[Trouble]:
    """Every open fault, and the checks that fail for anything else; critical ones first.

    A fault makes the checks of its subject and of whatever needs it fail: it stands for them.
    """
    failed = [check for check in checks if not check.ok]
    found = []
    for opened in faults:
        fault = opened.fault
        needed_by = tuple(name for name in fault.needed_by if name != fault.subject)
        own = [
            check
            for check in failed
            if check.subject in {fault.subject, *needed_by} and check.reason == fault.cause
        ]
        failed = [check for check in failed if check not in own]
        found.append(
            Trouble(
                subject=fault.subject,
                reason=fault.cause,
                advice=fault.advice,
                critical=any(check.critical for check in own),
                fallback=next((check.fallback for check in own if check.fallback), None),
                needed_by=needed_by,
                coming=_coming(opened, mode),
            )
        )
    found += [
        Trouble(check.subject, check.reason, check.advice, check.critical, check.fallback)
        for check in failed
    ]
    return sorted(found, key=lambda trouble: not trouble.critical)


def _coming(opened: OpenFault, mode: Mode) -> str:
    """What will be done about a fault: whether a fix is tried, how often and when."""
    left, why = opened.budget, f": {opened.reason}" if opened.reason else ""
    if mode is not Mode.HEAL or not opened.fault.fixable:
        return f"No fix will be tried{why}."
    attempts = f"{left.attempts_left} attempt{'' if left.attempts_left == 1 else 's'} left"
    when = f"in {math.ceil(left.retry_after)} s" if left.retry_after > 0 else "at once"
    return f"{attempts}, the next {when}{f'. The last one{why}' if why else ''}."

"""Probes: is this process alive, can it serve, and how is it doing in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app

from app.healing.report import HealthReport, Status
from app.health import Group, HealthService
from app.routes.bodies.health import SUMMARY
from app.web.answers import health_answer
from app.web.problems import problem

if TYPE_CHECKING:
    from app.services import Services

health_bp = Blueprint("health", __name__)


@health_bp.get("/livez")
def livez() -> Response:
    """200 from every process that can answer at all: no I/O, and nothing is begun."""
    health: HealthService = current_app.extensions["health"]
    return _probe(health.peek().groups[Group.LIVE], "alive")


@health_bp.get("/readyz")
def readyz() -> Response:
    """200, or 503 naming the critical checks that fail, or that the process is about to end."""
    services: Services = current_app.extensions["services"]
    if services.draining.is_set():
        return problem("not_ready", failed=["draining"])
    health: HealthService = current_app.extensions["health"]
    return _probe(health.read().groups[Group.READY], "ready")


@health_bp.get("/healthz")
def healthz() -> Response:
    """The health report in a few fields: 200, or 503 when unhealthy."""
    health: HealthService = current_app.extensions["health"]
    return health_answer(health.read(), SUMMARY)


def _probe(report: HealthReport, word: str) -> Response:
    if report.overall_status is not Status.UNHEALTHY:
        headers = {"Cache-Control": "no-store"}
        return Response(f"{word}\n", mimetype="text/plain", headers=headers)
    failed = [check.name for check in report.checks if check.critical and not check.ok]
    return problem(f"not_{word}", failed=failed)

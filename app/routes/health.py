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
    """200, or 503 naming the critical checks that fail, or that the process starts or ends."""
    services: Services = current_app.extensions["services"]
    if services.draining.is_set():
        return problem("not_ready", failed=["draining"])
    if services.board.starting:
        return problem("not_ready", failed=["starting"])
    health: HealthService = current_app.extensions["health"]
    return _probe(health.read().groups[Group.READY], "ready")


@health_bp.get("/startupz")
def startupz() -> Response:
    """200 when the imports of the start are over, or were waited for long enough; 503 before."""
    services: Services = current_app.extensions["services"]
    if starting := services.board.starting:
        return problem("not_started", failed=[f"blueprint_{name}" for name in starting])
    return _plain("started")


@health_bp.get("/healthz")
def healthz() -> Response:
    """The health report in a few fields: 200, or 503 when unhealthy."""
    health: HealthService = current_app.extensions["health"]
    return health_answer(health.read(), SUMMARY)


def _probe(report: HealthReport, word: str) -> Response:
    if report.overall_status is not Status.UNHEALTHY:
        return _plain(word)
    failed = [check.name for check in report.checks if check.critical and not check.ok]
    return problem(f"not_{word}", failed=failed)


def _plain(word: str) -> Response:
    return Response(f"{word}\n", mimetype="text/plain", headers={"Cache-Control": "no-store"})

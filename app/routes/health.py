"""Probes: is this process alive, can it serve, and how is it doing in a few words."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from app.healing.report import HealthReport, Status
from app.health import HealthReading, HealthService
from app.routes.problems import problem

health_bp = Blueprint("health", __name__)

RETRY_SECONDS = 5


@health_bp.get("/livez")
def livez() -> Response:
    """200 from every process that can answer at all; no I/O."""
    return _text("alive\n")


@health_bp.get("/readyz")
def readyz() -> Response:
    """200, or 503 naming the critical checks that fail."""
    report = _read().report
    if report.overall_status is not Status.UNHEALTHY:
        return _text("ready\n")
    failed = [check.name for check in report.checks if check.critical and not check.ok]
    response = problem(
        503, "not_ready", "Not ready", "Something critical is missing.", failed=failed
    )
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


@health_bp.get("/healthz")
def healthz() -> Response:
    """The health report in a few fields: 200, or 503 when unhealthy."""
    reading = _read()
    response = jsonify(_summary(reading.report, reading))
    response.status_code = 503 if reading.report.overall_status is Status.UNHEALTHY else 200
    response.headers["Cache-Control"] = "no-store"
    return response


def _read() -> HealthReading:
    service: HealthService = current_app.extensions["health"]
    return service.read()


def _text(text: str) -> Response:
    return Response(text, mimetype="text/plain", headers={"Cache-Control": "no-store"})


def _summary(report: HealthReport, reading: HealthReading) -> dict[str, object]:
    return {
        "status": str(report.overall_status),
        "timestamp": report.timestamp.isoformat(),
        "checks": len(report.checks),
        "failed": {check.name: check.reason for check in report.checks if not check.ok},
        "fixes": [fix.subject for fix in report.fixes],
        "age_seconds": round(reading.age_seconds, 3),
        "stale": reading.stale,
    }

"""The application factory and the manifest of its blueprints.

Importing this package imports no third-party module, so the engine stands before anything that it
may have to heal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.config import Settings
from app.edge import EdgeClient, load_registry
from app.healing.errors import HealingError
from app.health import BlueprintState, HealthService, blueprint_checks
from app.utils.auto_fix import AutoFixer, auto_fixer

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)

#: Seconds that one install may take while the service has not begun to serve. A longer one is
#: tried again in the background, with the whole deadline.
BOOT_DEADLINE = 60.0
REGISTRATION_FAILED = "registration_failed"


class CannotServe(HealingError):
    """Flask itself is missing and could not be healed, so there is nothing to serve with."""


@dataclass(frozen=True, slots=True)
class BlueprintSpec:
    """One blueprint of the manifest: where it is, where it is mounted, how much depends on it."""

    name: str
    path: str
    attribute: str
    url_prefix: str | None = None
    critical: bool = False


#: Every blueprint of the service, in the order of registration. One that fails stops no other.
BLUEPRINTS = (
    BlueprintSpec("health", "app.routes.health", "health_bp", critical=True),
    BlueprintSpec("auto_fix", "app.routes.auto_fix", "auto_fix_bp", "/api/auto-fix", critical=True),
    BlueprintSpec(
        "edge_functions", "app.routes.edge_functions", "edge_functions_bp", "/api/edge-functions"
    ),
    BlueprintSpec("metrics", "app.routes.metrics", "metrics_bp"),
    BlueprintSpec("main", "app.routes.main", "main_bp"),
)


def create_app(test_config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application with every blueprint that can be imported, healing what it may.

    Args:
        test_config: Flask configuration. ``SETTINGS`` (``Settings``), ``AUTO_FIXER``
            (``AutoFixer``) and ``BLUEPRINTS`` (specs) stand in for the environment's settings, the
            process's engine and the manifest.

    Raises:
        SettingsError: when an environment variable holds what cannot be used.
        CannotServe: when Flask is missing and cannot be healed.
    """
    given = dict(test_config or {})
    settings = given.pop("SETTINGS", None) or Settings.from_environ(os.environ)
    fixer = given.pop("AUTO_FIXER", None) or auto_fixer
    manifest = given.pop("BLUEPRINTS", BLUEPRINTS)
    app = _new_flask(fixer)
    app.config.update(given, SETTINGS=settings, AUTO_FIXER=fixer)
    app.extensions["auto_fixer"] = fixer
    _init_problems(app)
    edge = EdgeClient(load_registry(settings.edge_functions_file), importer=fixer.find)
    app.extensions["edge"] = edge
    states = tuple(_register(app, spec, fixer) for spec in manifest)
    app.extensions["blueprints"] = states
    app.extensions["health"] = _health(fixer, states, edge)
    _log_health(app.extensions["health"])
    return app


def _new_flask(fixer: AutoFixer) -> Flask:
    report = fixer.import_module("flask", critical=True, deadline=BOOT_DEADLINE)
    if report.loaded is None:
        advice = report.diagnosis.advice if report.diagnosis else "the log says why"
        raise CannotServe(f"Flask cannot be imported: {advice}")
    app: Flask = report.loaded.Flask(__name__)
    return app


def _init_problems(app: Flask) -> None:
    """Imported here because the module needs Flask."""
    from app.routes.problems import init_app

    init_app(app)


def _register(app: Flask, spec: BlueprintSpec, fixer: AutoFixer) -> BlueprintState:
    module = fixer.resilient_blueprint_import(
        spec.path, critical=spec.critical, deadline=BOOT_DEADLINE
    )
    if module is None:
        report = fixer.import_report(spec.path)
        if report is not None and report.diagnosis is not None:
            return _state(spec, report.diagnosis.cause, report.diagnosis.advice)
        return _state(spec, REGISTRATION_FAILED, f"{spec.path} defines nothing")
    try:
        app.register_blueprint(getattr(module, spec.attribute), url_prefix=spec.url_prefix)
    except Exception:
        # Whatever a blueprint does wrong must not stop the others; the log has the trace.
        logger.exception("blueprint cannot be registered", extra={"fields": {"name": spec.name}})
        return _state(spec, REGISTRATION_FAILED, f"{spec.path} was imported but not registered")
    return _state(spec)


def _state(
    spec: BlueprintSpec, reason: str | None = None, advice: str | None = None
) -> BlueprintState:
    return BlueprintState(
        name=spec.name,
        path=spec.path,
        url_prefix=spec.url_prefix or "/",
        critical=spec.critical,
        active=reason is None,
        reason=reason,
        advice=advice,
    )


def _health(
    fixer: AutoFixer, states: tuple[BlueprintState, ...], edge: EdgeClient
) -> HealthService:
    health = HealthService(fixer.health_report)
    health.add(lambda: blueprint_checks(states))
    health.add(edge.checks)
    return health


def _log_health(health: HealthService) -> None:
    report = health.force().report
    fields = {
        "overall_status": str(report.overall_status),
        "checks": len(report.checks),
        "failed": " ".join(check.name for check in report.checks if not check.ok),
        "fixes": " ".join(fix.subject for fix in report.fixes),
    }
    logger.info("health checked after registration", extra={"fields": fields})

"""The application factory and the manifest of its blueprints.

Importing this package imports no third-party module, so the engine stands before anything that it
may have to heal.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.health import BlueprintState, Group
from app.settings.declarations import Settings
from app.settings.errors import HealingError
from app.utils.auto_fix import AutoFixer, auto_fixer

if TYPE_CHECKING:
    from flask import Flask

    from app.services import Services

logger = logging.getLogger(__name__)

#: Seconds for which the imports of all blueprints, heals included, may hold up the boot. One that
#: takes longer goes on in the background, and its blueprint is served when it is done.
BOOT_PATIENCE = 5.0
#: Seconds that each of them gets in any case.
LEAST_PATIENCE = 0.2
#: Seconds that healing Flask itself may take: there is nothing to serve with before.
FLASK_DEADLINE = 60.0
#: Seconds that the boot waits to say how healthy it is.
HEALTH_PATIENCE = 1.0
REGISTRATION_FAILED = "registration_failed"
BLUEPRINT_MISSING = "blueprint_missing"


class CannotServe(HealingError):
    """Flask itself is missing and could not be healed, so there is nothing to serve with."""


@dataclass(frozen=True, slots=True)
class BlueprintSpec:
    """One blueprint of the manifest: where it is, where it is mounted, how much depends on it.

    ``paths`` are the ones that it answers for, which is its prefix where it has one: while it is in
    quarantine they, and all below them, answer 503. ``/`` stands for itself alone.
    """

    name: str
    path: str
    attribute: str
    url_prefix: str | None = None
    paths: tuple[str, ...] = ()
    critical: bool = False

    @property
    def answers_for(self) -> tuple[str, ...]:
        """The paths that are this blueprint's."""
        return self.paths or ((self.url_prefix,) if self.url_prefix else ())


#: Every blueprint of the service, in the order of registration. One that fails stops no other.
BLUEPRINTS = (
    BlueprintSpec(
        "health",
        "app.routes.health",
        "health_bp",
        paths=("/livez", "/readyz", "/healthz"),
        critical=True,
    ),
    BlueprintSpec("auto_fix", "app.routes.auto_fix", "auto_fix_bp", "/api/auto-fix", critical=True),
    BlueprintSpec(
        "edge_functions", "app.routes.edge_functions", "edge_functions_bp", "/api/edge-functions"
    ),
    BlueprintSpec("metrics", "app.routes.metrics", "metrics_bp", paths=("/metrics",)),
    BlueprintSpec("docs", "app.routes.docs", "docs_bp", paths=("/api/openapi.json", "/api/docs")),
    BlueprintSpec("main", "app.routes.main", "main_bp", paths=("/",)),
)


def create_app(test_config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application with every blueprint that can be imported, healing what it may.

    A blueprint that cannot be imported or registered is in quarantine: its paths answer 503 with
    the reason, and nothing of it is on the application.

    Args:
        test_config: Flask configuration. ``SETTINGS`` (``Settings``), ``AUTO_FIXER``
            (``AutoFixer``) and ``BLUEPRINTS`` (specs) stand in for the environment's settings, the
            process's engine and the manifest. ``SERVICES`` are those of a running process: then
            nothing is imported anew, what its engine last saw is what counts.

    Raises:
        SettingsError: when an environment variable holds what cannot be used.
        CannotServe: when Flask is missing and cannot be healed.
    """
    given = dict(test_config or {})
    running: Services | None = given.pop("SERVICES", None)
    services = running or _services(given)
    manifest = given.pop("BLUEPRINTS", BLUEPRINTS)
    flask = _require_flask(services.fixer)
    if running is None:
        _import_all(manifest, services.fixer)
    imported = [(spec, _imported(spec, services.fixer)) for spec in manifest]
    app, states = _assemble(flask, imported, services, given)
    services.board.show(states)
    _log_health(services)
    return app


def _services(given: dict[str, Any]) -> Services:
    # Imported here because the operator's commands import this package and have no use for it.
    from app.services import Services

    settings = given.pop("SETTINGS", None) or Settings.from_environ(os.environ)
    return Services.create(settings, given.pop("AUTO_FIXER", None) or auto_fixer)


def _require_flask(fixer: AutoFixer) -> ModuleType:
    report = fixer.import_module("flask", critical=True, deadline=FLASK_DEADLINE)
    if report.loaded is None:
        advice = report.diagnosis.advice if report.diagnosis else "the log says why"
        raise CannotServe(f"Flask cannot be imported: {advice}")
    return report.loaded


def _import_all(manifest: Sequence[BlueprintSpec], fixer: AutoFixer) -> None:
    until = time.monotonic() + BOOT_PATIENCE
    for spec in manifest:
        patience = max(LEAST_PATIENCE, until - time.monotonic())
        fixer.resilient_blueprint_import(spec.path, critical=spec.critical, patience=patience)


def _imported(spec: BlueprintSpec, fixer: AutoFixer) -> ModuleType | BlueprintState:
    """The blueprint's module, or why it is in quarantine, by its last import."""
    report = fixer.import_report(spec.path)
    if report is not None and report.loaded is not None:
        return report.loaded
    if report is None or report.diagnosis is None:
        return _state(spec, REGISTRATION_FAILED, f"{spec.path} defines nothing")
    diagnosis = report.diagnosis
    return _state(spec, str(diagnosis.cause), diagnosis.advice, needs_restart=report.needs_restart)


def _assemble(
    flask: ModuleType,
    imported: Sequence[tuple[BlueprintSpec, ModuleType | BlueprintState]],
    services: Services,
    config: Mapping[str, Any],
) -> tuple[Flask, tuple[BlueprintState, ...]]:
    """Register what can be registered.

    Flask cannot take a half-registered blueprint off again, so one that fails is left out and the
    application is begun anew.
    """
    found = list(imported)
    while True:
        app = _new_app(flask, services, config)
        failed = _register_all(app, found)
        if failed is None:
            break
        found[failed] = (found[failed][0], _unregistered(*found[failed]))
    states = tuple(
        outcome if isinstance(outcome, BlueprintState) else _state(spec) for spec, outcome in found
    )
    _complete(app, states)
    return app, states


def _new_app(flask: ModuleType, services: Services, config: Mapping[str, Any]) -> Flask:
    from app.web.setup import REQUEST_LIMITS

    app: Flask = flask.Flask(__name__)
    # A path with doubled slashes is another path: no HTML redirect to where Host says.
    app.url_map.merge_slashes = False
    app.config.update(REQUEST_LIMITS)
    app.config.update(config, SETTINGS=services.settings, AUTO_FIXER=services.fixer)
    app.extensions["services"] = services
    app.extensions["auto_fixer"] = services.fixer
    app.extensions["edge"] = services.edge
    app.extensions["health"] = services.health
    return app


def _register_all(
    app: Flask, found: Sequence[tuple[BlueprintSpec, ModuleType | BlueprintState]]
) -> int | None:
    """Register each imported blueprint; the position of the first that fails."""
    for position, (spec, module) in enumerate(found):
        if isinstance(module, BlueprintState):
            continue
        try:
            app.register_blueprint(getattr(module, spec.attribute), url_prefix=spec.url_prefix)
        except (Exception, SystemExit):
            # Whatever a blueprint does wrong must not stop the others; the log has the trace.
            fields = {"blueprint": spec.name}
            logger.exception("blueprint cannot be registered", extra={"fields": fields})
            return position
    return None


def _complete(app: Flask, states: tuple[BlueprintState, ...]) -> None:
    """Error handlers, quarantine and commands; imported here because they need Flask."""
    from app.access import limits
    from app.cli.flask_command import add_commands
    from app.isolation import quarantine
    from app.telemetry import structured
    from app.web import setup

    app.extensions["blueprints"] = states
    add_commands(app)
    quarantine.init_app(app, states)
    limits.init_app(app)
    setup.init_app(app)
    structured.configure()


def _unregistered(spec: BlueprintSpec, module: object) -> BlueprintState:
    """Its code is loaded already, so only a new process can make use of a mended one."""
    if spec.attribute not in getattr(module, "__dict__", ()):
        advice = f"{spec.path} was imported but defines no {spec.attribute}: mend the code"
        return _state(spec, BLUEPRINT_MISSING, advice, needs_restart=True)
    advice = f"{spec.path} was imported but {spec.attribute} cannot be registered: mend the code"
    return _state(spec, REGISTRATION_FAILED, advice, needs_restart=True)


def _state(
    spec: BlueprintSpec,
    reason: str | None = None,
    advice: str | None = None,
    *,
    needs_restart: bool = False,
) -> BlueprintState:
    return BlueprintState(
        name=spec.name,
        path=spec.path,
        url_prefix=spec.url_prefix or "/",
        paths=spec.answers_for,
        critical=spec.critical,
        active=reason is None,
        reason=reason,
        advice=advice,
        needs_restart=needs_restart,
    )


def _log_health(services: Services) -> None:
    """What can be told without importing more or asking others: those checks are made later."""
    reading = services.health.refresh(Group.READY, wait=HEALTH_PATIENCE)
    report = reading.groups[Group.READY]
    fields = {
        "overall_status": str(report.overall_status),
        "checks": len(report.checks),
        "failed": " ".join(check.name for check in report.checks if not check.ok),
        "fixes": " ".join(fix.subject for fix in report.fixes),
    }
    logger.info("health checked after registration", extra={"fields": fields})

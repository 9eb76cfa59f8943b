"""The application factory.

Importing this package imports no third-party module, so the engine stands before anything that it
may have to heal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.healing.kind import Outcome
from app.health.checks import Group
from app.kinds.dependency.catalog import InstallOutcome
from app.manifest import CORE
from app.settings.declarations import Settings
from app.settings.errors import OrchestratorError
from app.utils.auto_fix import auto_fixer

if TYPE_CHECKING:
    from flask import Flask

    from app.manifest import Blueprint
    from app.utils.auto_fix import AutoFixer

__all__ = ["CORE", "CannotServe", "create_app"]

logger = logging.getLogger(__name__)

#: Seconds that healing Flask itself may take: there is nothing to serve with before.
FLASK_DEADLINE = 60.0
#: Outcomes of that heal that may pass by themselves, and the least pause before it is tried again.
PASSING = frozenset(
    {Outcome.BUDGET, Outcome.BUSY, Outcome.DEADLINE, Outcome.INTERRUPTED, InstallOutcome.NETWORK}
)
FLASK_PAUSE = 5.0
#: Seconds that the boot waits to say how healthy it is.
HEALTH_PATIENCE = 1.0


class CannotServe(OrchestratorError):
    """Flask itself is missing and could not be healed, so there is nothing to serve with.

    ``retry_after`` is in how many seconds that may be otherwise; None when nothing is tried again.
    """

    def __init__(self, advice: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(f"Flask cannot be imported: {advice}")


def require_flask(fixer: AutoFixer) -> None:
    """Import Flask, and heal what is missing of it.

    Raises:
        CannotServe: when that is not possible now.
    """
    report = fixer.import_module("flask", critical=True, deadline=FLASK_DEADLINE)
    if report.loaded is None:
        advice = report.diagnosis.advice if report.diagnosis else "the log says why"
        result, retry_after = report.result, None
        if result is not None and result.outcome in PASSING:
            retry_after = max(result.retry_after, FLASK_PAUSE)
        raise CannotServe(advice, retry_after)


def create_app(test_config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application of the manifest, with every blueprint that can be imported.

    A blueprint that cannot be imported or registered is in quarantine: its paths answer 503 with
    the reason, and nothing of it is on the application.

    Args:
        test_config: Flask configuration. ``SETTINGS`` (``Settings``), ``AUTO_FIXER``
            (``AutoFixer``) and ``BLUEPRINTS`` (all of them) stand in for the environment's
            settings, the process's engine and what the manifest names. ``SERVICES`` are those of a
            running process: then nothing is imported anew, what its engine last saw is what counts.

    Raises:
        SettingsError: when an environment variable holds what cannot be used.
        CannotServe: when Flask is missing and cannot be healed.
    """
    # Here, because the operator's commands import this package and have no use for it.
    from app.services import Services

    given = dict(test_config or {})
    blueprints: Sequence[Blueprint] | None = given.pop("BLUEPRINTS", None)
    running: Services | None = given.pop("SERVICES", None)
    services = running or Services.create(
        given.pop("SETTINGS", None) or Settings.from_environ(os.environ),
        given.pop("AUTO_FIXER", None) or auto_fixer,
    )
    fixer = services.fixer
    require_flask(fixer)

    # What needs Flask can be imported from here on.
    from flask import Flask

    from app.isolation import importing, quarantine, registration
    from app.web import setup

    def new_app() -> Flask:
        app = Flask(__name__)
        # A path with doubled slashes is another path: no HTML redirect to where Host says.
        app.url_map.merge_slashes = False
        app.config.update(setup.REQUEST_LIMITS)
        app.config.update(given, SETTINGS=services.settings, AUTO_FIXER=fixer)
        app.extensions.update(
            services=services,
            auto_fixer=fixer,
            edge=services.edge,
            health=services.health,
            access=services.access,
        )
        return app

    board = services.board
    if blueprints is not None:
        board.blueprints = tuple(blueprints)
    elif running is None:
        board.follows = True
        board.blueprints = (*CORE, *fixer.manifest.current.blueprints)
    if running is None:
        fixer.watch(board.blueprints)
        with importing.ends_at_once(fixer.end, services.imports.close):
            importing.import_blueprints(board.blueprints, fixer, services.imports)
    app, states = registration.register_blueprints(
        new_app, board.blueprints, fixer, services.imports, services.addresses
    )
    app.extensions["blueprints"] = states
    quarantine.init_app(app, states)
    services.limits.init_app(app)
    setup.init_app(app)
    board.states = states

    # What can be said without importing more or asking others: those checks are made later.
    health = services.health.refresh(Group.READY, wait=HEALTH_PATIENCE).groups[Group.READY]
    fields = {
        "overall_status": str(health.overall_status),
        "checks": len(health.checks),
        "failed": " ".join(check.name for check in health.checks if not check.ok),
        "fixes": " ".join(fix.subject for fix in health.fixes),
    }
    logger.info("health checked after registration", extra={"fields": fields})
    return app

"""The checks of the service, and which of them answer whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from app.healing.report import Check
from app.health.checks import Group, HealthCheck
from app.health.clock import WallClock
from app.health.load import Load
from app.health.service import HealthService
from app.health.source import source_checks
from app.health.state import home_checks, installer_checks, journal_checks
from app.isolation.states import BlueprintBoard, blueprint_checks
from app.settings.engine import Mode
from app.utils.auto_fix import AutoFixer

#: Seconds between two looks at what hardly ever changes, or asks another host.
SELDOM = 60.0
#: Seconds for asking it: longer than its own patience, which is for each step.
REMOTE_TIMEOUT = 6.0
#: Nothing of what others do may have this process killed, so liveness looks at nothing.
GROUPS: Mapping[Group, tuple[str, ...]] = {
    Group.LIVE: (),
    Group.READY: ("auto_fixer", "blueprints"),
}


def health_service(
    fixer: AutoFixer,
    board: BlueprintBoard,
    load: Load,
    edge: Callable[[], Iterable[Check]],
    environ: Mapping[str, str],
    waiters: int | None = None,
) -> HealthService:
    """The service's health: nothing is looked at yet.

    Only what the engine and the blueprints report can be critical: a check that cannot be made
    says nothing against serving, a failing disk or index costs heals and history alone.

    Args:
        fixer: whose dependencies, modules, journal and home are looked at.
        board: the blueprints' states.
        load: the requests under way.
        edge: what edge functions say of themselves.
        environ: where the installers' settings are read.
        waiters: how many requests may wait at once for health that is made for them.
    """
    checks = [
        HealthCheck(name="auto_fixer", kind="engine", run=fixer.health_report),
        HealthCheck(name="blueprints", kind="blueprint", run=partial(_blueprints, board)),
        HealthCheck(name="edge", kind="edge", run=edge),
        HealthCheck(name="journal", kind="journal", run=lambda: journal_checks(fixer.journal)),
        HealthCheck(name="worker_pool", kind="workers", run=load.checks),
        HealthCheck(name="clock", kind="clock", run=WallClock().checks),
    ]
    if fixer.settings.mode is Mode.HEAL:
        checks += _for_healing(fixer, environ)
    return HealthService(checks, GROUPS, waiters=waiters)


def _blueprints(board: BlueprintBoard) -> Iterable[Check]:
    return blueprint_checks(board.states)


def _for_healing(fixer: AutoFixer, environ: Mapping[str, str]) -> Iterator[HealthCheck]:
    settings = fixer.settings
    yield HealthCheck(name="auto_fix_home", kind="home", run=partial(home_checks, settings))
    yield HealthCheck(
        name="installer",
        kind="installer",
        run=partial(installer_checks, settings, environ),
        interval=SELDOM,
    )
    yield HealthCheck(
        name="package_source",
        kind="index",
        run=partial(source_checks, settings, environ),
        timeout=REMOTE_TIMEOUT,
        interval=SELDOM,
    )

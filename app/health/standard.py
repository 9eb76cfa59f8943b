"""The checks that every service has, and which of them answer whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from app.healing.home import TROUBLE, free_bytes, trouble
from app.healing.journal import Journal
from app.healing.report import Check
from app.health.checks import Group, HealthCheck
from app.health.process import Load, WallClock
from app.health.service import HealthService
from app.isolation.states import BlueprintBoard
from app.settings.declarations import HealingSettings, Mode
from app.utils.auto_fix import AutoFixer

MEBIBYTE = 1 << 20
#: Less room than this is not enough for a heal: aiohttp's closure takes about 10 MiB, twice.
LEAST_ROOM = 50 * MEBIBYTE
JOURNAL_ADVICE = (
    "attempts are remembered in memory until it can be: look at the log, the disk and the rights"
)
#: What the journal and the claims run on instead, by what the home's file system lacks.
JOURNAL_FALLBACKS = {"locks": "lease file", "shared_memory": "rollback journal"}
LEASES = "lease files"


def health_service(
    fixer: AutoFixer,
    board: BlueprintBoard,
    load: Load,
    others: Iterable[HealthCheck] = (),
    waiters: int | None = None,
) -> HealthService:
    """The service's health: nothing is looked at yet.

    Only what the engine and the blueprints report can be critical: a check that cannot be made
    says nothing against serving, a failing disk or index costs heals and history alone. Nothing of
    what others do may have this process killed, so liveness looks at nothing.

    Args:
        fixer: whose subjects, modules, journal and home are looked at.
        board: the blueprints' states.
        load: the requests under way.
        others: what the parts of this process have checked beside that.
        waiters: how many requests may wait at once for health that is made for them.
    """
    ready = (Group.READY,)
    checks = [
        HealthCheck(name="auto_fixer", kind="engine", run=fixer.health_report, groups=ready),
        HealthCheck(name="blueprints", kind="blueprint", run=board.checks, groups=ready),
        *others,
        HealthCheck(name="journal", kind="journal", run=partial(journal_checks, fixer.journal)),
        HealthCheck(name="worker_pool", kind="workers", run=load.checks),
        HealthCheck(name="clock", kind="clock", run=WallClock().checks),
    ]
    if fixer.settings.mode is Mode.HEAL:

        def look() -> Iterable[Check]:
            return home_checks(fixer.settings, leases=not fixer.has_locks)

        checks.append(HealthCheck(name="auto_fix_home", kind="home", run=look))
    return HealthService(checks, waiters=waiters)


def journal_checks(journal: Journal) -> Iterable[Check]:
    """Whether the journal can be used; without it history is lost, and no service."""
    check = Check(name="journal", kind="journal", subject="journal", ok=journal.readable())
    if check.ok:
        yield replace(check, fallback=JOURNAL_FALLBACKS.get(journal.lacks or ""))
    else:
        yield replace(check, reason="journal_unusable", advice=JOURNAL_ADVICE)


def home_checks(settings: HealingSettings, *, leases: bool = False) -> Iterable[Check]:
    """Whether a fix can be committed: the home can be written, is ours and has room.

    ``leases`` says that lease files take the place of locks there.
    """
    free, reason, advice = free_bytes(settings.home), trouble(settings.home), None
    if reason in {"home_unwritable", "home_untrusted"}:
        _, advice = TROUBLE[reason]
    elif free < LEAST_ROOM:
        reason, advice = "disk_full", f"make room: heals need {LEAST_ROOM // MEBIBYTE} MiB"
    yield Check(
        name="auto_fix_home",
        kind="home",
        subject="home",
        ok=reason is None,
        reason=reason,
        advice=advice,
        observed=round(free / MEBIBYTE, 1),
        unit="MiB",
        fallback=LEASES if leases else None,
    )

"""Importing blueprints, with what they need healed before; needs no Flask."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from app.healing.kind import Fault
from app.isolation.import_marks import ImportMarks
from app.isolation.watchdog import watchdog
from app.manifest import Blueprint
from app.utils.auto_fix import AutoFixer

logger = logging.getLogger(__name__)

#: Seconds for which the imports of all blueprints, heals included, may hold up the boot. One that
#: takes longer goes on in the background, and its blueprint is served when it is done.
BOOT_PATIENCE = 5.0
#: Seconds that each of them gets in any case.
LEAST_PATIENCE = 0.2


@contextmanager
def ends_at_once(*steps: Callable[[], object]) -> Iterator[None]:
    """Within: SIGTERM ends this process after these steps, for it serves nobody yet.

    Its exit status is 0. In another thread than the main one nothing changes: only that one can see
    to signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        try:
            for step in steps:
                step()
        finally:
            # An exit by exception would end in the import that is under way.
            os._exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def import_blueprints(
    blueprints: Sequence[Blueprint],
    fixer: AutoFixer,
    marks: ImportMarks,
    patience: float = BOOT_PATIENCE,
) -> None:
    """Import the module of each blueprint; the engine's reports say how that went.

    One that needs what is not there waits for that to be healed; it is not imported
    where that does not help within ``patience`` seconds. One whose import has ended processes is
    left out, and has no report.
    """
    until = time.monotonic() + patience
    least = LEAST_PATIENCE if patience >= BOOT_PATIENCE else 0.0
    heals = {
        blueprint.name: [
            fixer.heal_in_background(unmet)
            for unmet in fixer.unmet(blueprint.needs)
            if unmet.fixable
        ]
        for blueprint in blueprints
    }
    # Those that wait for no heal first.
    for blueprint in sorted(blueprints, key=lambda one: any(heals[one.name])):
        for heal in filter(None, heals[blueprint.name]):
            with suppress(TimeoutError):
                heal.wait(max(0.0, until - time.monotonic()))
        if first_unmet(blueprint, fixer) is not None:
            continue
        if marks.crashed(blueprint.name, blueprint.module):
            fields = {"blueprint": blueprint.name, "import": blueprint.module}
            logger.error("blueprint's import ended its process", extra={"fields": fields})
            continue
        watchdog.prolong()
        fixer.resilient_blueprint_import(
            blueprint.module,
            critical=blueprint.critical,
            patience=max(least, until - time.monotonic()),
            during=marks.during(blueprint.name, blueprint.module),
        )


def first_unmet(blueprint: Blueprint, fixer: AutoFixer) -> Fault | None:
    """Why the first thing that a blueprint needs is not there; None when everything is."""
    return next(fixer.unmet(blueprint.needs), None)

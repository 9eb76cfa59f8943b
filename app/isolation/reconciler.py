"""The reconciler: the one background thread of a worker.

Every second it follows what other processes have healed, begins to heal what is missing, and has
the application rebuilt when a quarantined blueprint can be imported. Installs run in threads of
their own, so a slow one delays nothing here.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.healing.background import BackgroundLoop
from app.health import BlueprintState
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.import_reports import ImportReport
from app.kinds.dependency.lookup import find_on_disk
from app.services import Services
from app.telemetry import structured

logger = logging.getLogger(__name__)

#: Seconds between two passes (DESIGN section 1: a fix is noticed within a second).
TICK = 0.5
#: Seconds that a quarantined blueprint's import may hold up a pass before it goes on in its thread.
PATIENCE = 2.0
#: First and longest pause, in seconds, between two imports of a blueprint that nothing heals.
FIRST_RETRY, LAST_RETRY = 2.0, 60.0
_ABSENT = frozenset({Cause.MISSING_DISTRIBUTION, Cause.FIRST_PARTY_MISSING})


@dataclass(slots=True)
class _Retry:
    """When to try again what failed: after a pause that doubles.

    ``seen`` are the modules that a failed import ran through and when their files were written.
    """

    seen: dict[str, int] = field(default_factory=dict)
    pause: float = FIRST_RETRY
    due: float = field(default_factory=lambda: time.monotonic() + FIRST_RETRY)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def put_off(self) -> None:
        self.due = time.monotonic() + self.pause
        self.pause = min(LAST_RETRY, self.pause * 2)

    def changed(self, written: dict[str, int]) -> bool:
        """Whether one of the modules is new or was written again; then pauses begin anew."""
        changed = any(self.seen.get(name) != at for name, at in written.items())
        if changed:
            self.seen, self.pause = written, FIRST_RETRY
        return changed


class Reconciler:
    """Keeps a worker in step with what is healed on its host, until it is stopped.

    Args:
        services: the process's parts.
        rebuild: builds the application anew and serves it; called when a blueprint came back.
            False when it could not be built.
    """

    def __init__(self, services: Services, rebuild: Callable[[], bool]) -> None:
        self._services = services
        self._rebuild = rebuild
        self._retries: dict[str, _Retry] = {}
        self._failed_build: _Retry | None = None
        self._missing: tuple[Diagnosis, ...] = ()
        self._booted_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._told: dict[str, object] = {}
        self._loop = BackgroundLoop(self._pass, "reconciler", TICK)

    def start(self) -> None:
        """Begin with a pass at once; starting twice is starting once."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment.

        An install that is cut off leaves a staging directory, which the next heal removes.
        """
        self._loop.stop()

    def _pass(self) -> float:
        fixer = self._services.fixer
        changed = fixer.follow()
        missing = fixer.missing()
        for diagnosis in missing:
            fixer.heal_in_background(diagnosis)
        changed, self._missing = changed or missing != self._missing, missing
        quarantined = self._services.board.quarantined
        if quarantined:
            # A directory that did not exist when it was first looked for stays unknown otherwise.
            importlib.invalidate_caches()
        moved = [state.name for state in quarantined if self._moves(state, followed=changed)]
        if moved:
            self._build_anew(moved)
        self._tell()
        structured.configure()
        self._services.tracing.follow()
        if changed or moved:
            self._services.health.refresh()
        return TICK

    def _build_anew(self, moved: list[str]) -> None:
        """Have the application rebuilt, unless that failed a moment ago."""
        failed = self._failed_build
        if failed is not None and not failed.is_due:
            return
        if not self._rebuild():
            self._failed_build = failed or _Retry()
            self._failed_build.put_off()
            return
        self._failed_build = None
        quarantined = {state.name for state in self._services.board.quarantined}
        for name in moved:
            if name not in quarantined:
                logger.info("blueprint is back", extra={"fields": {"blueprint": name}})

    def _moves(self, state: BlueprintState, *, followed: bool) -> bool:
        """Whether a quarantined blueprint can be imported by now, or fails for another reason."""
        fixer = self._services.fixer
        report = fixer.import_report(state.path)
        if state.needs_restart or report is None:
            return False
        if self._worth_a_try(state, report, followed=followed):
            fixer.resilient_blueprint_import(
                state.path, critical=state.critical, heal=False, patience=PATIENCE
            )
            report = fixer.import_report(state.path) or report
        if report.diagnosis is None:
            return True
        fixer.heal_in_background(report.diagnosis)
        told = (report.diagnosis.cause, report.needs_restart)
        return (state.reason, state.needs_restart) != told

    def _worth_a_try(self, state: BlueprintState, report: ImportReport, *, followed: bool) -> bool:
        """Importing runs the module's code, so it is not done in every pass."""
        if report.success:
            return True
        written = _written(state.path, report.diagnosis)
        retry = self._retries.setdefault(state.name, _Retry(_known(written, report.diagnosis)))
        if retry.changed(written) or followed or retry.is_due:
            retry.put_off()
            return True
        return False

    def _tell(self) -> None:
        """Keep what this worker says of itself up to date."""
        board = self._services.board
        state: dict[str, object] = {
            "booted_at": self._booted_at,
            "active": [state.name for state in board.states if state.active],
            "quarantined": {state.name: state.reason for state in board.quarantined},
            "needs_restart": [s.name for s in board.quarantined if s.needs_restart],
        }
        if state != self._told:
            self._services.workers.write(state)
            self._told = state
        else:
            self._services.workers.touch()


def _written(path: str, diagnosis: Diagnosis | None) -> dict[str, int]:
    """When the files of a module, and of those that it failed in, were written; found ones only."""
    names = {path, *(diagnosis.chain if diagnosis else ())}
    specs = {name: find_on_disk(name) for name in names}
    return {name: _modified(spec.origin) for name, spec in specs.items() if spec is not None}


def _known(written: dict[str, int], diagnosis: Diagnosis | None) -> dict[str, int]:
    """What of it the failed import has met: not the module that it missed."""
    absent = diagnosis.module if diagnosis is not None and diagnosis.cause in _ABSENT else None
    return {name: at for name, at in written.items() if name != absent}


def _modified(file: str | None) -> int:
    """In nanoseconds since the epoch; 0 for what has no file."""
    try:
        return os.stat(file or "").st_mtime_ns  # noqa: PTH116 - origins are text
    except OSError:
        return 0

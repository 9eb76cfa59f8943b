"""The reconciler: the one background thread of a worker.

Every second it follows what other processes have healed, begins to heal what is missing, and has
the application rebuilt when a quarantined blueprint can be imported. Installs run in threads of
their own, so a slow one delays nothing here.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.healing.diagnosis import Cause
from app.healing.lookup import find_on_disk
from app.health import BlueprintState
from app.services import Services
from app.utils.auto_fix import ImportReport

logger = logging.getLogger(__name__)

#: Seconds between two passes (DESIGN section 1: a fix is noticed within a second).
TICK = 0.5
#: Seconds between two refreshes of health and of what this worker says of itself.
REFRESH = 5.0
#: Seconds that a quarantined blueprint's import may hold up a pass before it goes on in its thread.
PATIENCE = 2.0
#: First and longest pause, in seconds, between two imports of a blueprint that nothing heals.
FIRST_RETRY, LAST_RETRY = 2.0, 60.0
#: Seconds that stopping waits for a pass that is under way. The thread is a daemon: an install
#: that is cut off leaves a staging directory, which the next heal removes.
STOP_WAIT = 2.0


@dataclass(slots=True)
class _Retry:
    """When a blueprint that nothing heals is imported again."""

    pause: float = FIRST_RETRY
    due: float = field(default_factory=lambda: time.monotonic() + FIRST_RETRY)

    def put_off(self) -> None:
        self.due = time.monotonic() + self.pause
        self.pause = min(LAST_RETRY, self.pause * 2)


class Reconciler:
    """Keeps a worker in step with what is healed on its host, until it is stopped.

    Args:
        services: the process's parts.
        rebuild: builds the application anew and serves it; called when a blueprint came back.
    """

    def __init__(self, services: Services, rebuild: Callable[[], None]) -> None:
        self._services = services
        self._rebuild = rebuild
        self._retries: dict[str, _Retry] = {}
        self._refresh_at = 0.0
        self._booted_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._told: dict[str, object] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with a pass at once; starting twice is starting once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_WAIT)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._pass()
            except Exception:
                # The thread must outlive whatever one pass met; the next pass tries again.
                logger.exception("reconciler pass failed")
            self._stopping.wait(TICK)

    def _pass(self) -> None:
        fixer = self._services.fixer
        changed = fixer.follow()
        for diagnosis in fixer.missing():
            fixer.heal_in_background(diagnosis)
        quarantined = self._services.board.quarantined
        if quarantined:
            # A directory that did not exist when it was first looked for stays unknown otherwise.
            importlib.invalidate_caches()
        moved = [state.name for state in quarantined if self._moves(state, followed=changed)]
        if moved:
            self._rebuild()
        self._tell()
        if changed or moved or time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + REFRESH
            self._services.health.refresh()

    def _moves(self, state: BlueprintState, *, followed: bool) -> bool:
        """Whether a quarantined blueprint can be imported by now, or fails for another reason."""
        fixer = self._services.fixer
        report = fixer.import_report(state.path)
        if state.needs_restart or report is None:
            return False
        if self._worth_a_try(state.name, report, followed=followed):
            fixer.resilient_blueprint_import(
                state.path, critical=state.critical, heal=False, patience=PATIENCE
            )
            report = fixer.import_report(state.path) or report
        if report.diagnosis is None:
            logger.info("blueprint is back", extra={"fields": {"blueprint": state.name}})
            return True
        fixer.heal_in_background(report.diagnosis)
        return state.reason != report.diagnosis.cause

    def _worth_a_try(self, name: str, report: ImportReport, *, followed: bool) -> bool:
        """Importing runs the module's code, so it is not done in every pass."""
        retry = self._retries.setdefault(name, _Retry())
        diagnosis = report.diagnosis
        mended = diagnosis is not None and diagnosis.cause is Cause.MISSING_DISTRIBUTION
        mended = mended and diagnosis is not None and find_on_disk(diagnosis.module) is not None
        if report.success or followed or mended or time.monotonic() >= retry.due:
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

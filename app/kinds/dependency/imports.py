"""How imports ended: the last one of each module, logged once, and those that take their time."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from app.healing.background import BoundedCall, free_after_fork
from app.healing.kind import Outcome, Repair
from app.kinds.dependency.diagnosis import Cause, Diagnosis

logger = logging.getLogger(__name__)

#: How many reports are kept of modules that nobody watches; the one met first goes first.
MAX_REPORTS = 1000


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How an import ended.

    ``available`` says whether the module can be found, ``loaded`` is the module itself. ``result``
    is how the last request to heal ended, None when there was none. ``stuck`` says that the process
    was forked in the middle of the import, which leaves the module's lock taken for ever.
    """

    module: str
    success: bool
    available: bool
    loaded: ModuleType | None = None
    diagnosis: Diagnosis | None = None
    result: Repair | None = None
    stuck: bool = False

    @property
    def healed(self) -> bool:
        """Whether a heal made this import succeed."""
        return self.success and self.result is not None and self.result.healed

    @property
    def needs_restart(self) -> bool:
        """Whether only a new process can make it succeed."""
        refused = self.result is not None and self.result.outcome == Outcome.NEEDS_RESTART
        return self.stuck or refused


class ImportReports:
    """The newest report of each module, the modules that are watched, and slow imports.

    Each slow import has a thread of its own, and there is one at a time for each module.
    """

    def __init__(self) -> None:
        #: Module to whether it is critical.
        self.watched: dict[str, bool] = {}
        self._last: dict[str, ImportReport] = {}
        self._mutex = free_after_fork(threading.Lock())
        self._calls: dict[str, BoundedCall[ImportReport]] = {}
        #: What the imports that are waiting for a heal need.
        self._awaited: dict[str, Diagnosis] = {}

    def get(self, name: str) -> ImportReport | None:
        """How the last import of ``name`` ended, None when there was none."""
        return self._last.get(name)

    def record(
        self, report: ImportReport, error: BaseException | None = None, *, critical: bool
    ) -> None:
        """Store the report, and log a failure once, not every time that it is met again."""
        before = self._last.get(report.module)
        self._last[report.module] = report
        others = [name for name in tuple(self._last) if name not in self.watched]
        for name in others[:-MAX_REPORTS]:
            self._last.pop(name, None)
        diagnosis, result = report.diagnosis, report.result
        if diagnosis is None:
            if before is not None and not before.success:
                fields: dict[str, object] = {"import": report.module}
                logger.info("module can be imported again", extra={"fields": fields})
            return
        if before is not None and before.diagnosis == diagnosis:
            return
        fields = {
            "import": report.module,
            "cause": str(diagnosis.cause),
            "chain": " -> ".join(diagnosis.chain),
            "advice": diagnosis.advice,
            "outcome": str(result.outcome) if result else None,
            "outcome_advice": result.advice if result else None,
        }
        logger.log(
            logging.ERROR if critical else logging.WARNING,
            "module cannot be imported",
            exc_info=error if diagnosis.cause is Cause.CODE_ERROR else None,
            extra={"fields": fields},
        )

    def within(
        self, path: str, work: Callable[[], ImportReport], patience: float
    ) -> tuple[ImportReport, bool]:
        """What ``work`` reports within ``patience`` seconds, and whether it has ended.

        An import that has not goes on in its thread. A later call for the same path waits for that
        one and never begins a second.
        """
        with self._mutex:
            call = self._calls.get(path)
            # A fork that met the module half-way left its lock taken for ever; before or after
            # that, while the heal ran, the import can be begun anew.
            if call is None or (call.orphaned and not initializing(sys.modules.get(path))):
                call = self._calls[path] = BoundedCall(work, f"import {path}")
        try:
            report = call.wait(0 if call.orphaned else patience)
        except TimeoutError:
            return _unfinished(path, self._awaited.get(path), forked=call.orphaned), False
        self._calls.pop(path, None)
        return report, True

    @contextmanager
    def awaiting(self, path: str, diagnosis: Diagnosis) -> Iterator[None]:
        """Within: the import of ``path`` waits for what a diagnosis names to be healed."""
        self._awaited[path] = diagnosis
        try:
            yield
        finally:
            self._awaited.pop(path, None)


def initializing(module: ModuleType | None) -> bool:
    """Whether another thread is still running the module's body."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _unfinished(path: str, awaited: Diagnosis | None, *, forked: bool) -> ImportReport:
    """The report of an import that has not ended; after a fork nobody is there to end it."""
    if awaited is not None:
        return ImportReport(path, success=False, available=True, diagnosis=awaited)
    what = f"{path} has not finished importing"
    advice = f"{what}: restart this worker" if forked else f"{what}: find out what it waits for"
    # After a fork nobody goes on with it, so it is not being imported any more.
    cause = Cause.CODE_ERROR if forked else Cause.IMPORTING
    diagnosis = Diagnosis(cause=cause, module=path, advice=advice, chain=(path,))
    return ImportReport(path, success=False, available=True, diagnosis=diagnosis, stuck=forked)

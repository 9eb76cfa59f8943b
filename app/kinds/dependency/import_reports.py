"""How imports ended: the last one of each module, told once and kept for health."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import ModuleType

from app.healing.outcomes import FixResult, Outcome
from app.kinds.dependency.diagnosis import Cause, Diagnosis

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How an import ended.

    ``available`` says whether the module can be found, ``loaded`` is the module itself. ``result``
    is the last wish to heal, None when there was none. ``stuck`` says that the process was forked
    in the middle of the import, which leaves the module's lock taken for ever.
    """

    module: str
    success: bool
    available: bool
    loaded: ModuleType | None = None
    diagnosis: Diagnosis | None = None
    result: FixResult | None = None
    stuck: bool = False

    @property
    def healed(self) -> bool:
        """Whether a heal made this import succeed."""
        return self.success and self.result is not None and self.result.healed

    @property
    def needs_restart(self) -> bool:
        """Whether only a new process can make it succeed."""
        refused = self.result is not None and self.result.outcome is Outcome.NEEDS_RESTART
        return self.stuck or refused


class ImportReports:
    """The newest report of each module, and the modules that health watches."""

    def __init__(self) -> None:
        self._last: dict[str, ImportReport] = {}
        #: Module to whether it is critical.
        self.watched: dict[str, bool] = {}

    def get(self, name: str) -> ImportReport | None:
        """How the last import of ``name`` ended, None when there was none."""
        return self._last.get(name)

    def keep(
        self, report: ImportReport, error: BaseException | None = None, *, critical: bool
    ) -> None:
        """Keep the report, and log a failure once, not every time that it is met again."""
        before = self._last.get(report.module)
        self._last[report.module] = report
        if report.diagnosis is None:
            if before is not None and not before.success:
                fields = {"import": report.module}
                logger.info("module can be imported again", extra={"fields": fields})
        elif before is None or before.diagnosis != report.diagnosis:
            _log_failure(report, report.diagnosis, error, critical=critical)


def _log_failure(
    report: ImportReport, diagnosis: Diagnosis, error: BaseException | None, *, critical: bool
) -> None:
    result = report.result
    fields = {
        "import": report.module,
        "cause": str(diagnosis.cause),
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

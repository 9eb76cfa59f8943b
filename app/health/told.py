"""What the log says of checks: which begins to fail, and which passes again."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from app.healing.report import Check

logger = logging.getLogger(__name__)


class ToldFailures:
    """Tells of one look's checks when their outcomes change, and not at each run.

    For the runs of one look, which follow one another: no two threads may tell at once.
    """

    def __init__(self) -> None:
        self._failing: dict[str, Check] = {}

    def hung(self, check: Check) -> None:
        """``check`` stands for a look that hung, which the log has already."""
        self._failing = {**self._failing, check.name: check}

    def found(self, checks: Iterable[Check], *, complete: bool) -> None:
        """Log what began to fail, and what failed and does so no more.

        Args:
            checks: what a run found.
            complete: False when the run failed itself, and so says of no other check that it
                passes. Otherwise one that is not there any more does.
        """
        before, failing = self._failing, {check.name: check for check in checks if not check.ok}
        self._failing = failing if complete else {**before, **failing}
        for name, check in failing.items():
            if name not in before:
                level = logging.ERROR if check.critical else logging.WARNING
                logger.log(level, "check fails", extra={"fields": _fields(check)})
        for name, check in before.items():
            if name not in self._failing:
                logger.info("check passes again", extra={"fields": _fields(check)})


def _fields(check: Check) -> dict[str, object]:
    """What may stand in any log: names and codes."""
    return {
        "name": check.name,
        "subject": check.subject,
        "reason": check.reason,
        "critical": check.critical,
    }

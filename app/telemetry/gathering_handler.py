"""A log handler that writes some lines together."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

#: So many lines are written in any case: whoever logs them may never flush.
MOST_LINES = 1000


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Keeps the lines of some loggers until ``flush``, and writes any other at once.

    Lines keep their order: one that is written at once takes those with it that came before it, and
    so does one above INFO, whosever it is. A line of its own for each request would mean a system
    call for each, in which a thread gives its turn away.

    Args:
        stream: what is written to.
        gathered: the names of the loggers whose lines wait; whoever logs to them flushes.
    """

    def __init__(self, stream: TextIO, gathered: Iterable[str]) -> None:
        super().__init__(stream)
        self._gathered = frozenset(gathered)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of a record, or write it with all that were kept."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - logging's own way to tell of what cannot be formatted
            self.handleError(record)
        waits = record.name in self._gathered and record.levelno <= logging.INFO
        if not waits or len(self._lines) >= MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what was kept; logging does it, too, when the process ends."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            # Where nothing can be written nobody can be told either.
            with suppress(OSError, ValueError):
                self.stream.write("".join(lines))
                self.stream.flush()
        finally:
            self.release()

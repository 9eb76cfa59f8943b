"""Imports that may take longer than their caller can wait."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from app.healing.background import BoundedCall
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.import_reports import ImportReport


class PatientImports:
    """One import at a time for each module, each in a thread of its own."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._calls: dict[str, BoundedCall[ImportReport]] = {}
        #: What the imports that are waiting for a heal need.
        self._awaited: dict[str, Diagnosis] = {}

    def report(
        self, path: str, work: Callable[[], ImportReport], patience: float
    ) -> tuple[ImportReport, bool]:
        """What ``work`` reports within ``patience`` seconds, and whether it has ended.

        An import that has not goes on in its thread. A later call for the same path waits for that
        one and never begins a second.
        """
        call = self._call(path, work)
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

    def _call(self, path: str, work: Callable[[], ImportReport]) -> BoundedCall[ImportReport]:
        with self._mutex:
            call = self._calls.get(path)
            # A fork that met the module half-way left its lock taken for ever; before or after
            # that, while the heal ran, the import can be begun anew.
            if call is None or (call.orphaned and not initializing(sys.modules.get(path))):
                call = self._calls[path] = BoundedCall(work, f"import {path}")
            return call


def initializing(module: ModuleType | None) -> bool:
    """Whether another thread is still running the module's body."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _unfinished(path: str, awaited: Diagnosis | None, *, forked: bool) -> ImportReport:
    """The report of an import that has not ended; after a fork nobody is there to end it."""
    if awaited is not None:
        return ImportReport(path, success=False, available=True, diagnosis=awaited)
    what = f"{path} has not finished importing"
    advice = f"{what}: restart this worker" if forked else f"{what}: find out what it waits for"
    diagnosis = Diagnosis(cause=Cause.CODE_ERROR, module=path, advice=advice, chain=(path,))
    return ImportReport(path, success=False, available=True, diagnosis=diagnosis, stuck=forked)

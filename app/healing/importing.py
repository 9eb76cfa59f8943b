"""Importing so that a failure leaves nothing half-imported behind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Container
from types import ModuleType


def import_cleanly(name: str, package: str | None = None) -> ModuleType:
    """``importlib.import_module``; when it raises, what it left behind is taken out again.

    Python removes the module that failed but keeps the submodules that its body had imported by
    then. They would be mixed into the next try, so they go; what was loaded before stays, and so
    does every module that another thread has completed meanwhile.
    """
    before = frozenset(sys.modules)
    try:
        return importlib.import_module(name, package)
    except BaseException:
        _remove_orphans(before)
        raise


def _remove_orphans(before: Container[str]) -> None:
    for name in [name for name in sys.modules if name not in before and _is_orphan(name)]:
        sys.modules.pop(name, None)


def _is_orphan(name: str) -> bool:
    """Whether a package that holds the module is gone: its body failed."""
    while name := name.rpartition(".")[0]:
        if name not in sys.modules:
            return True
    return False

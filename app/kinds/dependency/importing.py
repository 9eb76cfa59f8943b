"""Importing so that a failure leaves nothing half-imported behind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Container
from importlib.machinery import ModuleSpec
from types import ModuleType

from app.kinds.dependency.lookup import is_hollow


def import_cleanly(name: str, package: str | None = None) -> ModuleType:
    """``importlib.import_module``; when it raises, what it left behind is taken out again.

    Python removes the module that failed but keeps the submodules that its body had imported by
    then. They would be mixed into the next try, so they go; what was loaded before stays, and so
    does every module that another thread has completed meanwhile. An emptied directory, which
    Python takes for a package, is no module here.
    """
    before = frozenset(sys.modules)
    try:
        return _really_there(importlib.import_module(name, package))
    except BaseException:
        _remove_leftovers(before)
        raise


def _really_there(module: ModuleType) -> ModuleType:
    if is_hollow(_spec(module)):
        raise ModuleNotFoundError(f"No module named {module.__name__!r}", name=module.__name__)
    return module


def _remove_leftovers(before: Container[str]) -> None:
    for name, module in list(sys.modules.items()):
        if name not in before and (_is_orphan(name) or is_hollow(_spec(module))):
            sys.modules.pop(name, None)


def _spec(module: ModuleType | None) -> ModuleSpec | None:
    return getattr(module, "__spec__", None)


def _is_orphan(name: str) -> bool:
    """Whether a package that holds the module is gone: its body failed."""
    while name := name.rpartition(".")[0]:
        if name not in sys.modules:
            return True
    return False

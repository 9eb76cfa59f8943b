"""Finding a module without running any code of it, its parents included."""

from __future__ import annotations

import importlib.machinery
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder


def find_on_disk(name: str) -> importlib.machinery.ModuleSpec | None:
    """The spec of a dotted name, found by its parents' places on disk; None when it is not there.

    ``importlib.util.find_spec`` would import the parents. Each part is looked up by itself, since
    a namespace package inside another can only be found by its whole name once that is imported.
    """
    top, *rest = name.split(".")
    spec = _top_level(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def _top_level(name: str) -> importlib.machinery.ModuleSpec | None:
    if name in sys.builtin_module_names:
        return BuiltinImporter.find_spec(name)
    return FrozenImporter.find_spec(name) or PathFinder.find_spec(name)

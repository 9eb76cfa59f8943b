"""Finding a module without running any code of it, its parents included."""

from __future__ import annotations

import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from itertools import islice
from pathlib import Path

#: The endings of files that modules are imported from, of this Python or of another.
MODULE_FILES = (".py", ".pyc", ".so", ".pyd", ".dylib")
#: So many directories are looked through for such a file: a name may be that of a large one.
DIRECTORIES_LOOKED_AT = 1000


def find_on_disk(name: str) -> ModuleSpec | None:
    """The spec of a dotted name, found by its parents' places on disk; None when it is not there.

    ``importlib.util.find_spec`` would import the parents. Each part is looked up by itself, since
    a namespace package inside another can only be found by its whole name once that is imported.
    An emptied directory counts as not there, although Python takes it for a package.
    """
    top, *rest = name.split(".")
    spec = None if is_hollow(found := _top_level(top)) else found
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def is_emptied(top: str) -> bool:
    """Whether all that is left of a top-level package is its directory."""
    return is_hollow(_top_level(top))


def is_hollow(spec: ModuleSpec | None) -> bool:
    """Whether a top-level package is a mere directory that nothing can be imported from.

    A removed or interrupted install leaves such directories; for Python they are namespace
    packages (PEP 420), behind which a real package of the name is still found.
    """
    if spec is None or "." in spec.name or spec.has_location:
        return False
    places = spec.submodule_search_locations
    return places is not None and all(map(_is_empty, places))


def _is_empty(place: str) -> bool:
    looked_at = islice(os.walk(place), DIRECTORIES_LOOKED_AT)
    files = (
        file
        for directory, _, names in looked_at
        if not directory.endswith("__pycache__")
        for file in names
    )
    return Path(place).is_dir() and not any(file.endswith(MODULE_FILES) for file in files)


def _top_level(name: str) -> ModuleSpec | None:
    if name in sys.builtin_module_names:
        return BuiltinImporter.find_spec(name)
    return FrozenImporter.find_spec(name) or PathFinder.find_spec(name)

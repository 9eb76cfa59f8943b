"""What a stage has to be before anybody imports from it, and what of it a child has to import.

Read from the files and their metadata alone: nothing in a stage is run here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from importlib.metadata import distributions
from pathlib import Path

from app.kinds.dependency.on_disk import MODULE_FILES, find_on_disk, installed_version, is_hollow
from app.kinds.dependency.requirements import normalize, top_level
from app.settings.files import read_bounded

#: What Python runs at its start, whoever brings it.
RUN_AT_START = frozenset({"sitecustomize", "usercustomize"})
#: No module of an application is larger.
MAX_SOURCE_BYTES = 1 << 20
#: So many parts of a namespace are imported.
MAX_PARTS = 20


def objection(site: Path) -> str | None:
    """Why a stage must not become a layer, in words for the log; None when it may.

    A layer stands last on the path, so a name that is already there would hide its own, or be a
    part of it. Only a namespace may be shared, and a distribution be there in the same version.
    """
    for path in site.iterdir():
        name = path.name.partition(".")[0]
        if path.is_symlink():
            return f"{path.name} is a link"
        if path.suffix == ".pth" or name in RUN_AT_START:
            return f"{path.name} would be run by every start of Python"
    for distribution in distributions(path=[str(site)]):
        files = {str(file) for file in distribution.files or ()}
        if any(file.startswith("/") or (".." in file and "/bin/" not in file) for file in files):
            return f"{distribution.name} has files that lie outside its directory"
        if installed_version(normalize(distribution.name)) == distribution.version:
            continue
        for top in sorted({*map(_top, files)}):
            if _is_module(site, top) and (owner := _owner(site, top)):
                return f"{top} of {distribution.name} is already {owner}"
    return None


def needs_import(site: Path, module: str, asked_by: Iterable[str]) -> tuple[str, ...]:
    """The modules of a stage that a child has to import before ``module`` counts as proven.

    Those are the module itself, or the parts of it where it is a namespace, and what the modules
    ``asked_by`` import of it as they begin.
    """
    names = dict.fromkeys(_parts(site, module))
    for asking in asked_by:
        spec = find_on_disk(asking) if top_level(asking) != module else None
        if spec is not None and (spec.origin or "").endswith(".py"):
            asked = _imports(Path(str(spec.origin)), module)
            names |= dict.fromkeys(name for name in asked if _file_of(site, name) is not None)
    return tuple(names)


def is_there(site: Path, module: str) -> bool:
    """Whether a module can still be found in a directory."""
    return _file_of(site, module) is not None


def _top(file: str) -> str:
    return file.partition("/")[0].partition(".")[0]


def _is_module(site: Path, top: str) -> bool:
    """Whether something can be imported by a top-level name from a stage."""
    spec = PathFinder.find_spec(top, [str(site)]) if top.isidentifier() else None
    return spec is not None and not is_hollow(spec)


def _owner(site: Path, top: str) -> str | None:
    """What has a top-level name already; None when it is free, or a namespace that is shared."""
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return "a module of the standard library"
    spec = find_on_disk(top)
    if spec is None:
        return None
    # Distributions share namespaces with each other; the application's directories are its own.
    portions = () if spec.origin or _has_body(site / top) else spec.submodule_search_locations or ()
    shared = portions and all(any(Path(each).parent.glob("*.dist-info")) for each in portions)
    return None if shared else "there, of another distribution or of the application"


def _has_body(package: Path) -> bool:
    return any((package / f"__init__{ending}").exists() for ending in MODULE_FILES)


def _parts(site: Path, module: str) -> Iterator[str]:
    """The module, or the modules in it where it has no body of its own."""
    directory = site.joinpath(*module.split("."))
    if not directory.is_dir() or _has_body(directory) or module.count(".") > MAX_PARTS:
        yield module
        return
    parts = {path.name.partition(".")[0] for path in directory.iterdir()} - {"__pycache__"}
    inside = [f"{module}.{part}" for part in sorted(parts) if part.isidentifier()]
    found = [name for name in inside if _file_of(site, name) is not None][:MAX_PARTS]
    for name in found:
        yield from _parts(site, name)
    if not found:
        yield module


def _file_of(site: Path, module: str) -> str | None:
    """Where a module is in a stage; of a namespace its directory."""
    places: list[str] | None = [str(site)]
    name = ""
    for part in module.split("."):
        spec = PathFinder.find_spec(part, places) if places else None
        if spec is None or (spec.origin is None and is_hollow(spec)):
            return None
        places = list(spec.submodule_search_locations or ())
        name = spec.origin or next(iter(places), "")
    return name


def _imports(path: Path, module: str) -> Iterator[str]:
    """What a module imports of another as it begins."""
    try:
        tree = ast.parse(read_bounded(path, MAX_SOURCE_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported from a package may be a module.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if top_level(name) == module)

"""What is on disk where a module should be: evidence for a diagnosis, read without importing."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from app.kinds.dependency.lookup import find_on_disk

EXTENSIONS = (".so", ".pyd", ".dylib")
PLACES_OF_LIBRARIES = frozenset({"site-packages", "dist-packages"})


def foreign_extension(name: str) -> str | None:
    """The ABI of an extension file that stands where ``name`` should be, if there is one."""
    parent, _, leaf = name.rpartition(".")
    files = _glob(_places(parent) if parent else sys.path, f"{leaf}.*.so")
    return files[0].name.removeprefix(f"{leaf}.").removesuffix(".so") if files else None


def module_at(path: str) -> str | None:
    """The dotted name of the module in a file; an extension's error tells only its last part."""
    file = Path(path)
    entries = [entry for entry in sys.path if file.is_relative_to(entry or ".")]
    if not entries:
        return None
    inside = file.relative_to(max(entries, key=len) or ".")
    return ".".join((*inside.parent.parts, inside.name.partition(".")[0]))


def local_file(top: str) -> str | None:
    """The file of a module that stands outside every place of libraries, as it may be shown."""
    spec = find_on_disk(top)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    place = Path(spec.origin).resolve()
    directory = place.parent.parent if spec.submodule_search_locations else place.parent
    if _holds_libraries(directory):
        return None
    return f"{top}/{place.name}" if spec.submodule_search_locations else place.name


def _holds_libraries(directory: Path) -> bool:
    """A directory with metadata of distributions is one too: ``--target`` and layers make them."""
    if PLACES_OF_LIBRARIES & {*directory.parts} or _glob([directory], "*.dist-info"):
        return True
    return any(directory.is_relative_to(root) for root in _library_roots())


@cache
def _library_roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(root).resolve() for root in {*roots, *site.getsitepackages()})


def _places(package: str) -> Iterable[str]:
    spec = find_on_disk(package)
    return (spec.submodule_search_locations if spec else None) or ()


def _glob(places: Iterable[str | Path], pattern: str) -> list[Path]:
    """The files of all places; one that cannot be listed (an archive, for one) has none."""
    found: list[Path] = []
    for place in places:
        try:
            found += sorted(Path(place or ".").glob(pattern))
        except OSError:
            continue
    return found

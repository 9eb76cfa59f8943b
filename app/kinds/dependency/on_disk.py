"""What is on disk, read without running any of it: modules, and the metadata of distributions.

``importlib.util.find_spec`` would import the parents of a module. ``importlib.metadata`` answers
differently by version of Python where a file is missing or broken, and its ``files`` leave out
what is gone from disk; a diagnosis is about exactly that.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import os
import re
import sys
import sysconfig
from contextlib import suppress
from functools import cache, lru_cache
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError
from itertools import islice
from pathlib import Path
from site import getsitepackages

from app.kinds.dependency.requirements import normalize, top_level

#: The endings of files that modules are imported from, of this Python or of another.
MODULE_FILES = (".py", ".pyc", ".so", ".pyd", ".dylib")
#: So many directories are looked through for such a file: a name may be that of a large one.
DIRECTORIES_LOOKED_AT = 1000
#: Import hooks that build a package, or import a part of it, when they are asked for it, with the
#: attribute in which they keep its modules; setuptools' stands for distutils and says so nowhere.
FINDERS_THAT_RUN_CODE = {
    "DistutilsMetaFinder": "",
    "MesonpyMetaFinder": "_top_level_modules",
    "ScikitBuildRedirectingFinder": "known_source_files",
}
#: The fields of a distribution's metadata that name it.
METADATA_FIELD = re.compile(r"(?mi)^(Name|Version):[ \t]*(\S+)")
LIBRARY_DIRECTORIES = frozenset({"site-packages", "dist-packages"})

# -- modules -----------------------------------------------------------------------------------


def invalidate_caches() -> None:
    """Have Python look at every directory anew, whichever threads do so at the same time.

    Two at once remove the same entries of its cache, and the second one fails for it.
    """
    for _ in range(10):
        with suppress(KeyError):
            importlib.invalidate_caches()
            return


def find_on_disk(name: str) -> ModuleSpec | None:
    """The spec of a dotted name, found by its parents' directories; None when it is not there.

    Each part is looked up by itself, since a namespace package inside another can only be found by
    its whole name once that is imported. An emptied directory counts as not there, although Python
    takes it for a package.
    """
    top, *rest = name.split(".")
    spec = None if is_hollow(found := _top_level(top)) else found
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        try:
            spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
        except OSError:
            return None
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
    if spec.submodule_search_locations is None:
        return False
    for place in spec.submodule_search_locations:
        looked_at = islice(os.walk(place), DIRECTORIES_LOOKED_AT)
        if not os.path.isdir(place) or any(  # noqa: PTH112 - Path raises for a name too long
            file.endswith(MODULE_FILES)
            for directory, _, files in looked_at
            if not directory.endswith("__pycache__")
            for file in files
        ):
            return False
    return True


def foreign_extension(name: str) -> str | None:
    """The ABI of an extension file that stands where ``name`` should be, if there is one."""
    parent, _, leaf = name.rpartition(".")
    spec = find_on_disk(parent) if parent else None
    package = spec.submodule_search_locations if spec else None
    for place in (package or ()) if parent else sys.path:
        for file in _listed(place):
            if file.startswith(f"{leaf}.") and file.endswith(".so"):
                return file.removeprefix(f"{leaf}.").removesuffix(".so")
    return None


def is_namespace(name: str) -> bool:
    """Whether a package is one that several distributions share: directories without a module."""
    spec = find_on_disk(name)
    return spec is not None and not spec.has_location and bool(spec.submodule_search_locations)


def module_at(path: str) -> str | None:
    """The dotted name of the module in a file; an extension's error has only its last part."""
    file = Path(path)
    entries = [entry for entry in sys.path if file.is_relative_to(entry or ".")]
    if not entries:
        return None
    inside = file.relative_to(max(entries, key=len) or ".")
    return ".".join((*inside.parent.parts, inside.name.partition(".")[0]))


def local_file(top: str) -> str | None:
    """The file of a module that stands outside all directories of libraries, as it may be shown."""
    spec = find_on_disk(top)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    is_package = bool(spec.submodule_search_locations)
    directory = file.parent.parent if is_package else file.parent
    # A directory with metadata of distributions is one, too: ``--target`` and layers make them.
    if (
        LIBRARY_DIRECTORIES & {*directory.parts}
        or any(file.endswith(".dist-info") for file in _listed(directory))
        or any(directory.is_relative_to(root) for root in _library_roots())
    ):
        return None
    return f"{top}/{file.name}" if is_package else file.name


def _top_level(name: str) -> ModuleSpec | None:
    if name in sys.builtin_module_names:
        return BuiltinImporter.find_spec(name)
    try:
        found = FrozenImporter.find_spec(name) or PathFinder.find_spec(name)
    except OSError:
        # A directory of the path went bad: a file system that is gone, links in a circle.
        return None
    return found or _by_hook(name)


def _by_hook(name: str) -> ModuleSpec | None:
    """What another finder says of a top-level name, such as that of an editable install."""
    standard: set[object] = {BuiltinImporter, FrozenImporter, PathFinder}
    for finder in sys.meta_path:
        if finder not in standard and type(finder).__name__ not in FINDERS_THAT_RUN_CODE:
            # Somebody's hook may raise anything.
            with suppress(Exception):
                if found := finder.find_spec(name, None):
                    return found
    return None


def only_importing_tells(name: str) -> bool:
    """Whether a finder brings a module that cannot be asked for it without running its code."""
    for finder in sys.meta_path:
        kept_in = FINDERS_THAT_RUN_CODE.get(type(finder).__name__)
        if kept_in is not None:
            names = getattr(finder, kept_in, ()) if kept_in else ("distutils",)
            if top_level(name) in {top_level(str(one)) for one in names}:
                return True
    return False


def _listed(directory: str | Path) -> list[str]:
    """The names in a directory; one that cannot be listed (an archive, for one) has none."""
    try:
        return sorted(os.listdir(directory or "."))  # noqa: PTH208 - a quarter of the time
    except (OSError, ValueError):
        return []


@cache
def _library_roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(root).resolve() for root in {*roots, *getsitepackages()})


# -- metadata of distributions -----------------------------------------------------------------


def installed_version(distribution: str) -> str | None:
    """The version that is found on ``sys.path``, None when there is none.

    Metadata that cannot be read counts as none: an interrupted uninstall leaves such directories.
    """
    return _header(distribution, "Version")


def bringing(top: str) -> tuple[str, ...]:
    """The normalized names of the distributions that bring a top-level module by their RECORDs."""
    return _brought(state_of_path()).get(top, ())


@lru_cache(maxsize=1)
def _brought(_: tuple[tuple[str, int], ...]) -> dict[str, tuple[str, ...]]:
    """Top-level name to distributions, for this path and these times of its directories.

    Reading the metadata of all that is installed takes tens of milliseconds, and anybody may ask
    for names that are not there.
    """
    found: dict[str, tuple[str, ...]] = {}
    for distribution in importlib.metadata.distributions():
        if name := _header(distribution, "Name"):
            files = (line.partition(",")[0] for line in _lines(distribution, "RECORD"))
            for top in {re.split(r"[./]", file, maxsplit=1)[0] for file in files}:
                names = (*found.get(top, ()), normalize(name))
                found[top] = tuple(dict.fromkeys(names))
    return found


def state_of_path() -> tuple[tuple[str, int], ...]:
    """The entries of ``sys.path``, each with when something came into it or left it."""
    return tuple((entry, _changed(entry)) for entry in sys.path)


def _changed(directory: str) -> int:
    """When something came into a directory or left it; 0 when it cannot be looked at."""
    try:
        return os.stat(directory or ".").st_mtime_ns  # noqa: PTH116 - Path raises for odd names
    except (OSError, ValueError):
        return 0


def records_module(distribution: str | Distribution, module: str) -> bool:
    """Whether the distribution's RECORD says that it brings the module."""
    stem = module.replace(".", "/")
    return any(line.startswith((f"{stem}.", f"{stem}/")) for line in _lines(distribution, "RECORD"))


def modules_of(distribution: str) -> tuple[str, ...] | None:
    """The top-level modules that an installed distribution brings; None when it does not say.

    Private ones are left out, and so is what it has besides modules.
    """
    lines = _lines(distribution, "RECORD")
    if not lines:
        return tuple(_lines(distribution, "top_level.txt")) or None
    parts = (line.partition(",")[0].split("/") for line in lines)
    named = (
        part[0].partition(".")[0] if len(part) == 1 else part[0]
        for part in parts
        if part[-1].endswith(MODULE_FILES)
    )
    return tuple(dict.fromkeys(n for n in named if n.isidentifier() and not n.startswith("_")))


def is_its_own(distribution: str, module: str) -> bool:
    """Whether a module's file on disk is the one that the distribution's RECORD has the hash of."""
    spec = find_on_disk(module)
    if spec is None or spec.origin is None:
        return False
    depth = module.count(".") + 1 + bool(spec.submodule_search_locations)
    end = "/".join(Path(spec.origin).parts[-depth:])
    try:
        digest = hashlib.sha256(Path(spec.origin).read_bytes()).digest()
    except OSError:
        return False
    value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return any(line.startswith(f"{end},sha256={value}") for line in _lines(distribution, "RECORD"))


def recorded_file(distribution: str, file: str) -> Path | None:
    """Where a file of this name belongs by the distribution's RECORD, wherever that is."""
    found = _found(distribution)
    for line in _lines(found, "RECORD"):
        path = line.partition(",")[0]
        if found is not None and path.rpartition("/")[2] == file:
            return Path(str(found.locate_file(path)))
    return None


def is_whole(site: Path) -> bool:
    """Whether all that the RECORDs of the distributions in a directory list inside it is there."""
    found = importlib.metadata.distributions(path=[str(site)])
    rows = csv.reader(line for distribution in found for line in _lines(distribution, "RECORD"))
    files = [row[0] for row in rows if row]
    # Path.exists raises for a name that is too long for a file.
    return all(os.path.exists(site / file) for file in files if not file.startswith(("../", "/")))  # noqa: PTH110


def is_as_recorded(site: Path) -> bool:
    """Whether every file that the RECORDs in a directory list inside it has the hash that they say.

    Bytecode that was compiled since is in no RECORD.
    """
    found = importlib.metadata.distributions(path=[str(site)])
    rows = csv.reader(line for distribution in found for line in _lines(distribution, "RECORD"))
    for name, expected in ((row[0], row[1]) for row in rows if len(row) > 1):
        if expected.startswith("sha256=") and not name.startswith(("../", "/")):
            try:
                digest = hashlib.sha256((site / name).read_bytes()).digest()
            except (OSError, ValueError):
                return False
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != expected[7:].rstrip("="):
                return False
    return True


def _header(distribution: str | Distribution, field: str) -> str | None:
    found = _found(distribution)
    for line in _lines(found, "METADATA") or _lines(found, "PKG-INFO"):
        if match := re.match(rf"{field}:\s*(\S+)", line):
            return match[1]
    return None


def _lines(distribution: str | Distribution | None, file: str) -> list[str]:
    """The lines of a file of metadata; none when it is not there or cannot be read."""
    found = _found(distribution)
    try:
        return (found.read_text(file) or "").splitlines() if found else []
    except (OSError, ValueError):
        return []


def _found(distribution: str | Distribution | None) -> Distribution | None:
    if not isinstance(distribution, str):
        return distribution
    try:
        return importlib.metadata.distribution(distribution)
    except (PackageNotFoundError, OSError, ValueError):
        return None


def distributions(site: Path) -> dict[str, str]:
    """``name==version`` of what stands in a directory, with the sha256 of each RECORD.

    What has no readable metadata is none.
    """
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        with suppress(UnicodeDecodeError):
            # Not parsed as the message that it is: descriptions are long.
            head = re.split(r"\r?\n\r?\n", distribution.read_text("METADATA") or "", maxsplit=1)[0]
            fields = {name.lower(): value for name, value in METADATA_FIELD.findall(head)}
            if fields.keys() == {"name", "version"}:
                pin = f"{normalize(fields['name'])}=={fields['version']}"
                record = distribution.read_text("RECORD") or ""
                found[pin] = f"sha256:{hashlib.sha256(record.encode()).hexdigest()}"
    return found

"""Why an import failed: a closed set of causes, read from the exception and from what is on disk.

The message of an exception is read only where the object says nothing, and never leaves this
module: what a diagnosis shows is safe for a response.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import re
import site
import sys
import sysconfig
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from app.healing.catalog import Catalog, installed_version
from app.healing.lookup import find_on_disk
from app.healing.names import normalize, top_level


class Cause(StrEnum):
    """The causes of DESIGN section 3."""

    MISSING_DISTRIBUTION = "missing_distribution"
    MISSING_SUBMODULE = "missing_submodule"
    MISSING_ATTRIBUTE = "missing_attribute"
    BROKEN_EXTENSION = "broken_extension"
    PARTIAL_INSTALL = "partial_install"
    FIRST_PARTY_MISSING = "first_party_missing"
    STDLIB_MISSING = "stdlib_missing"
    CIRCULAR_IMPORT = "circular_import"
    SHADOWED = "shadowed"
    CODE_ERROR = "code_error"
    CRASHED_PROBE = "crashed_probe"


#: Modules that left the standard library, by the version of Python that no longer has them
#: (PEP 632, PEP 594, and the "Removed" sections of What's New in Python 3.12 and 3.13).
REMOVED = {
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys(
        (
            *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap"),
            *("msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau"),
            *("telnetlib", "uu", "xdrlib"),
        ),
        "3.13",
    ),
}
NO_MODULE = re.compile(r"No module named ['\"]?([\w.]+)")
CANNOT_IMPORT = re.compile(r"cannot import name ['\"]?(\w+)['\"]?")
SHARED_LIBRARY = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")
BROKEN = re.compile(
    r"undefined symbol|shared object|ELF|file too short|dynamic module does not define"
    r"|version `?GLIBC|DLL load failed|incompatible architecture|not a valid Win32"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a module could not be imported and what to do about it.

    ``module`` is the one that is really at fault, ``chain`` leads from the one that was asked for
    to it. ``heals`` is the approved top-level name whose locked closure would mend it, None when
    an install would not. ``advice`` is one plain sentence without paths or exception text.
    """

    cause: Cause
    module: str
    advice: str
    distribution: str | None = None
    requirement: str | None = None
    heals: str | None = None
    broken: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def fixable(self) -> bool:
        """Whether a fix exists that the catalog allows."""
        return self.heals is not None

    def to_dict(self) -> dict[str, object]:
        """The diagnosis as JSON shows it."""
        return {
            "cause": str(self.cause),
            "module": self.module,
            "distribution": self.distribution,
            "requirement": self.requirement,
            "fixable": self.fixable,
            "advice": self.advice,
            "chain": list(self.chain),
        }


def missing_module(message: str) -> str:
    """The module that an ``ImportError`` message names, ``""`` when it names none."""
    match = NO_MODULE.search(message)
    return match[1].strip(".") if match else ""


class Diagnostician:
    """Diagnoses import failures for one catalog and one set of first-party packages."""

    def __init__(self, catalog: Catalog, first_party: frozenset[str]) -> None:
        self._catalog = catalog
        self._first_party = first_party

    def diagnose(self, error: BaseException, requested: str) -> Diagnosis:
        """Why importing ``requested`` raised ``error``."""
        error = _root_import_error(error)
        chain = _chain(error, requested)
        text = str(error)
        if "partially initialized module" in text:
            return self._circular(error, chain)
        if isinstance(error, ModuleNotFoundError):
            return self.absent(error.name or missing_module(text) or requested, chain)
        if isinstance(error, ImportError):
            return self._import_error(error, text, chain)
        return _code_error(error, chain)

    def absent(self, name: str, chain: Sequence[str] = ()) -> Diagnosis:
        """Why the module ``name`` is not there."""
        chain = _ending_in(chain, name)
        top = top_level(name)
        if top in self._first_party:
            return _plain(Cause.FIRST_PARTY_MISSING, name, chain, _FIRST_PARTY.format(name))
        if top in REMOVED or top in sys.stdlib_module_names:
            return self._standard_library(name, chain)
        if foreign := _foreign_extension(name):
            return _plain(
                Cause.BROKEN_EXTENSION,
                name,
                chain,
                f"{name} was built for {foreign}, not for this Python; install a wheel of this one",
            )
        if name != top and find_on_disk(top) is not None:
            return self._submodule(name, chain)
        return self._distribution(name, chain)

    def _standard_library(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        top = top_level(name)
        if name != top and (shadow := self._shadow(top)):
            return _plain(Cause.SHADOWED, name, chain, _shadow_advice(shadow, top))
        gone = REMOVED.get(top)
        advice = (
            f"{top} left the standard library in Python {gone}: change the code that imports it"
            if gone and top not in sys.stdlib_module_names
            else f"{name} belongs to the standard library but this Python was built without it"
        )
        return _plain(Cause.STDLIB_MISSING, name, chain, advice)

    def _submodule(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        """The top-level package is here and the submodule is not."""
        top = top_level(name)
        if shadow := self._shadow(top):
            return _plain(Cause.SHADOWED, name, chain, _shadow_advice(shadow, top))
        distribution = self._catalog.distribution(top)
        version = installed_version(distribution)
        if version is None:
            cause = Cause.PARTIAL_INSTALL if _hollow(top) else Cause.MISSING_SUBMODULE
            advice = f"{top} is here without {name} and without metadata: install it again"
            return self._packaged(cause, name, chain, advice)
        if _recorded(distribution, name):
            advice = f"{distribution} {version} is installed but its files are not all there"
            return self._packaged(
                Cause.PARTIAL_INSTALL, name, chain, f"{advice}: rebuild the image"
            )
        advice = f"{distribution} {version} has no {name}{self._other_version(distribution)}"
        return self._packaged(Cause.MISSING_SUBMODULE, name, chain, advice)

    def _distribution(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        distribution = self._catalog.distribution(name)
        version = installed_version(distribution)
        heals = self._healer(distribution, chain)
        if version is not None:
            advice = f"{distribution} {version} is installed but its files are not all there"
            fixable = self._same_version(distribution, version) and heals
            return self._packaged(
                Cause.PARTIAL_INSTALL,
                name,
                chain,
                advice if fixable else f"{advice}: rebuild the image",
                heals=heals if fixable else None,
                broken=(distribution,),
            )
        advice = self._missing_advice(top_level(name), distribution, chain, heals)
        return self._packaged(Cause.MISSING_DISTRIBUTION, name, chain, advice, heals=heals)

    def _missing_advice(
        self, top: str, distribution: str, chain: tuple[str, ...], heals: str | None
    ) -> str:
        needer = _needer(chain, self._first_party)
        subject = f"{needer} needs {top}, which is not installed" if needer else _absent(top)
        locked = self._catalog.lock.entries.get(distribution)
        if heals is not None and locked is not None:
            return f"{subject}; it is in the lock as {locked.name} {locked.version}"
        if self._catalog.requirement(top) is not None or heals is not None:
            return f"{subject}; it is approved but not in the lock: run make lock"
        provided = "" if distribution == normalize(top) else f" (it comes with {distribution})"
        return f"{subject}{provided}; it is not approved for healing: add it to the requirements"

    def _healer(self, distribution: str, chain: Sequence[str]) -> str | None:
        """The approved name nearest to the fault whose locked closure holds the distribution."""
        lock = self._catalog.lock
        for name in reversed([top_level(module) for module in chain]):
            requirement = self._catalog.requirement(name)
            if requirement is None or name in self._first_party:
                continue
            direct = name == top_level(chain[-1])
            if direct or lock.path(self._catalog.distribution(name), distribution):
                return name
            plan = self._catalog.plan(name)
            if plan is not None and plan.missing:
                return name
        return None

    def _shadow(self, top: str) -> str | None:
        """The file name of a local module that stands before a library of the same name."""
        library = (
            top in sys.stdlib_module_names
            or self._catalog.requirement(top) is not None
            or installed_version(self._catalog.distribution(top)) is not None
        )
        return _local_file(top) if library else None

    def _same_version(self, distribution: str, version: str) -> bool:
        locked = self._catalog.lock.entries.get(distribution)
        return locked is not None and locked.version == version

    def _other_version(self, distribution: str) -> str:
        locked = self._catalog.lock.entries.get(distribution)
        version = installed_version(distribution)
        if locked is not None and locked.version != version:
            return f"; the lock names {locked.version}: rebuild the image"
        return ": change the code, or the version that the requirements ask for"

    def _packaged(
        self,
        cause: Cause,
        name: str,
        chain: tuple[str, ...],
        advice: str,
        *,
        heals: str | None = None,
        broken: tuple[str, ...] = (),
    ) -> Diagnosis:
        return Diagnosis(
            cause=cause,
            module=name,
            advice=advice,
            distribution=self._catalog.distribution(name),
            requirement=self._catalog.requirement(heals or name),
            heals=heals,
            broken=broken,
            chain=chain,
        )

    def _import_error(self, error: ImportError, text: str, chain: tuple[str, ...]) -> Diagnosis:
        """An ``ImportError`` that is no ``ModuleNotFoundError``."""
        module = error.name or missing_module(text) or chain[-1]
        if _is_extension(error.path) or BROKEN.search(text):
            return self._broken_extension(module, text, chain)
        attribute = getattr(error, "name_from", None) or _first(CANNOT_IMPORT, text)
        if attribute is None:
            return _code_error(error, chain)
        chain = _ending_in(chain, module)
        if top_level(module) in self._first_party:
            advice = f"{module} has no {attribute}: mend the import"
            return _plain(Cause.MISSING_ATTRIBUTE, module, chain, advice)
        if shadow := self._shadow(top_level(module)):
            advice = _shadow_advice(shadow, top_level(module))
            return _plain(Cause.SHADOWED, module, chain, advice)
        return self._attribute(module, attribute, chain)

    def _attribute(self, module: str, attribute: str, chain: tuple[str, ...]) -> Diagnosis:
        distribution = self._catalog.distribution(module)
        if _hollow(top_level(module)):
            advice = f"{module} is an empty directory where a package was: install it again"
            return self._packaged(Cause.PARTIAL_INSTALL, module, chain, advice)
        version = installed_version(distribution)
        what = f"{distribution} {version}" if version else module
        advice = f"{what} has no {attribute} in {module}{self._other_version(distribution)}"
        return self._packaged(Cause.MISSING_ATTRIBUTE, module, chain, advice)

    def _broken_extension(self, module: str, text: str, chain: tuple[str, ...]) -> Diagnosis:
        chain = _ending_in(chain, module)
        library = _first(SHARED_LIBRARY, text)
        advice = (
            f"{library} is a system library: install it in the image"
            if library
            else f"the compiled part of {module} does not fit this Python or system: rebuild the"
            " image with a wheel that does"
        )
        return self._packaged(Cause.BROKEN_EXTENSION, module, chain, advice)

    def _circular(self, error: BaseException, chain: tuple[str, ...]) -> Diagnosis:
        name = getattr(error, "name", None)
        module = name if isinstance(name, str) and "." in name else chain[-1]
        if top_level(module) not in self._first_party and (
            shadow := self._shadow(top_level(module))
        ):
            advice = _shadow_advice(shadow, top_level(module))
            return _plain(Cause.SHADOWED, module, chain, advice)
        circle = " -> ".join(dict.fromkeys(chain))
        advice = f"modules import each other in a circle ({circle}): break it in the code"
        return _plain(Cause.CIRCULAR_IMPORT, module, chain, advice)


_FIRST_PARTY = "{} belongs to this application and is not there: restore the file or the import"


def _absent(top: str) -> str:
    return f"{top} is not installed"


def _plain(cause: Cause, module: str, chain: Sequence[str], advice: str) -> Diagnosis:
    return Diagnosis(cause=cause, module=module, advice=advice, chain=tuple(chain))


def _code_error(error: BaseException, chain: tuple[str, ...]) -> Diagnosis:
    what = f"{chain[-1]} raised {type(error).__name__} while it was imported"
    if isinstance(error, SyntaxError):
        what = f"{chain[-1]}, or a module that it imports, has a syntax error"
    return _plain(
        Cause.CODE_ERROR, chain[-1], chain, f"{what}: mend the code; the log has the trace"
    )


def _root_import_error(error: BaseException) -> BaseException:
    """The import error that others wrap: an explicit cause says more than its wrapper."""
    seen = {id(error)}
    while isinstance(error.__cause__, ImportError) and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    return error


def _chain(error: BaseException, requested: str) -> tuple[str, ...]:
    """The modules whose bodies were running when the error was raised, outermost first."""
    bodies = (f for f in _frames(error.__traceback__) if f.f_code.co_name == "<module>")
    return tuple(dict.fromkeys((requested, *(str(f.f_globals.get("__name__")) for f in bodies))))


def _frames(trace: types.TracebackType | None) -> Iterator[types.FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _ending_in(chain: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(part for part in chain if part != name), name)))


def _needer(chain: Sequence[str], first_party: frozenset[str]) -> str | None:
    """The third-party module nearest before the fault, else the first-party one that imports it."""
    before = [top_level(name) for name in chain[:-1] if top_level(name) not in first_party]
    before = [name for name in before if name != top_level(chain[-1])]
    ours = [name for name in chain[:-1] if top_level(name) in first_party]
    return next(iter((*reversed(before), *reversed(ours))), None)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[1] if match else None


def _is_extension(path: str | None) -> bool:
    return bool(path) and str(path).endswith((".so", ".pyd", ".dylib"))


def _foreign_extension(name: str) -> str | None:
    """The ABI of an extension file that stands where ``name`` should be, if there is one."""
    parent, _, leaf = name.rpartition(".")
    spec = find_on_disk(parent) if parent else None
    places = spec.submodule_search_locations if spec else None
    for place in places or (() if parent else sys.path):
        for path in _glob(Path(place or "."), f"{leaf}.*.so"):
            return path.name.removeprefix(f"{leaf}.").removesuffix(".so")
    return None


def _glob(directory: Path, pattern: str) -> list[Path]:
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def _hollow(top: str) -> bool:
    """Whether a package is a mere directory, without ``__init__`` and without Python files.

    Such a directory is what a removed or interrupted install leaves; Python takes it for a
    namespace package (PEP 420).
    """
    spec = find_on_disk(top)
    if spec is None or spec.origin is not None:
        return False
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    return not any(_glob(place, "**/*.py") or _glob(place, "**/*.so") for place in places)


def _recorded(distribution: str, name: str) -> bool:
    """Whether the distribution's RECORD says that it brings the module."""
    stem = name.replace(".", "/")
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return False
    return any(str(file).startswith((f"{stem}.", f"{stem}/")) for file in files)


def _local_file(top: str) -> str | None:
    """The file name of a module that stands outside every place of libraries."""
    spec = find_on_disk(top)
    origin = spec.origin if spec else None
    if origin is None or origin in {"built-in", "frozen"} or "site-packages" in origin:
        return None
    place = Path(origin).resolve()
    library = any(place.is_relative_to(root) for root in _library_roots())
    return None if library or _from_layer(place) else place.name


def _from_layer(place: Path) -> bool:
    return any(parent.name == "layers" for parent in place.parents)


def _shadow_advice(file: str, top: str) -> str:
    shown = f"{top}/{file}" if file == "__init__.py" else file
    return f"the local file {shown} hides the library {top}: rename it"


@cache
def _library_roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(root).resolve() for root in {*roots, *site.getsitepackages()})

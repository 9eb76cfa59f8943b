"""Why an import failed: a closed set of causes, read from the exception and from what is on disk.

The message of an exception is read only where the object says nothing, and never leaves this
floor: what a diagnosis shows is safe for a response.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.kinds.dependency.catalog import Catalog
from app.kinds.dependency.failure import Failure, missing_module, read_failure
from app.kinds.dependency.on_disk import (
    find_on_disk,
    foreign_extension,
    installed_version,
    is_emptied,
    local_file,
    module_at,
    records_file,
    records_module,
)
from app.kinds.dependency.requirements import normalize, top_level

__all__ = ["Cause", "Diagnosis", "Diagnostician", "missing_module"]


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
#: (PEP 632, PEP 594, and the "Removed" sections of What's New in Python 3.10 to 3.13).
REMOVED = {
    **dict.fromkeys(("formatter", "parser", "symbol"), "3.10"),
    "binhex": "3.11",
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
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"


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


class Diagnostician:
    """Diagnoses import failures for one catalog and one set of first-party packages."""

    def __init__(self, catalog: Catalog, first_party: frozenset[str]) -> None:
        self._catalog = catalog
        self._first_party = first_party

    def diagnose(self, error: BaseException, requested: str) -> Diagnosis:
        """Why importing ``requested`` raised ``error``."""
        failure = read_failure(error, requested)
        if isinstance(failure.error, ModuleNotFoundError) and failure.module:
            return self.absent(failure.module, failure.chain)
        if failure.module and failure.attribute:
            return self._lacks(failure, failure.module, failure.attribute)
        if failure.broken_binary:
            return self._broken_extension(failure)
        return _code_error(failure)

    def absent(self, name: str, chain: Sequence[str] = ()) -> Diagnosis:
        """Why the module ``name`` is not there."""
        chain, top = _ending_in(chain, name), top_level(name)
        if top in self._first_party:
            advice = f"{name} belongs to this application and is not there: restore the file or"
            return _plain(Cause.FIRST_PARTY_MISSING, name, chain, f"{advice} the import")
        if _is_standard(top) or (top in REMOVED and not self._approved(top)):
            return self._standard_library(name, chain)
        if abi := foreign_extension(name):
            return self._foreign(name, abi, chain)
        if name != top and find_on_disk(top) is not None:
            return self._submodule(name, chain)
        return self._distribution(name, chain)

    # -- a module that is not there ----------------------------------------------------------

    def _standard_library(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        top = top_level(name)
        if name != top and (hidden := self._shadowed(top, name, chain)):
            return hidden
        if not _is_standard(top):
            advice = f"{top} left the standard library in Python {REMOVED[top]}: change the code"
            advice = f"{advice} that imports it"
        elif name != top and find_on_disk(top) is not None:
            advice = f"the standard library of {PYTHON} has no {name}: change the code"
        else:
            advice = f"{name} belongs to the standard library but this Python was built without it"
        return _plain(Cause.STDLIB_MISSING, name, chain, advice)

    def _foreign(self, name: str, abi: str, chain: tuple[str, ...]) -> Diagnosis:
        advice = f"{name} was built for {abi}, not for this Python: rebuild the image with a wheel"
        return self._packaged(Cause.BROKEN_EXTENSION, name, chain, f"{advice} that fits")

    def _submodule(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        """The top-level package is here and the submodule is not."""
        top = top_level(name)
        if hidden := self._shadowed(top, name, chain):
            return hidden
        distribution = self._catalog.provider(top)
        version = installed_version(distribution)
        if records_module(distribution, name):
            return self._incomplete(name, chain)
        what = f"{distribution} {version}" if version else top
        advice = f"{what} has no {name}{self._other_version(distribution)}"
        return self._packaged(Cause.MISSING_SUBMODULE, name, chain, advice)

    def _incomplete(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        distribution = self._catalog.provider(top_level(name))
        version = installed_version(distribution)
        what = f"{distribution} {version}" if version else top_level(name)
        advice = f"{what} is installed but its files are not all there: rebuild the image"
        return self._packaged(Cause.PARTIAL_INSTALL, name, chain, advice)

    def _distribution(self, name: str, chain: tuple[str, ...]) -> Diagnosis:
        """Nothing of the top-level name is here, except perhaps its metadata."""
        distribution = self._catalog.distribution(name)
        heals = self._healer(distribution, chain)
        version = installed_version(distribution)
        if version is None:
            advice = self._missing_advice(name, distribution, chain, heals)
            return self._packaged(Cause.MISSING_DISTRIBUTION, name, chain, advice, heals=heals)
        if heals is None or self._locked_version(distribution) != version:
            return self._incomplete(name, chain)
        advice = f"{distribution} {version} is installed but its files are not all there;"
        return self._packaged(
            Cause.PARTIAL_INSTALL,
            name,
            chain,
            f"{advice} the lock has the same version",
            heals=heals,
            broken=(distribution,),
        )

    def _missing_advice(
        self, name: str, distribution: str, chain: tuple[str, ...], heals: str | None
    ) -> str:
        top = top_level(name)
        needer = _needer(chain, self._first_party)
        subject = f"{needer} needs {top}" if needer else top
        absent = f"{subject}, which is not installed" if needer else f"{top} is not installed"
        locked = self._locked_version(distribution)
        if heals and locked:
            return f"{absent}; it is in the lock as {distribution} {locked}"
        if heals and heals != top:
            return f"{absent}; the lock has what {heals} lacks: {self._lacking(heals)}"
        if heals:
            return f"{absent}; it is approved but not in the lock: run make lock"
        source = "" if distribution == normalize(top) else f" (it comes with {distribution})"
        return f"{absent}{source}; it is not approved for healing: add it to the requirements"

    def _lacking(self, approved: str) -> str:
        plan = self._catalog.plan(approved)
        return ", ".join(f"{entry.name} {entry.version}" for entry in plan.missing) if plan else ""

    def _healer(self, distribution: str, chain: Sequence[str]) -> str | None:
        """The approved name nearest to the fault whose locked closure would mend it.

        An import name need not resemble its distribution's. So when the lock does not tell who
        needs ``distribution``, an approved package on the way that lacks a part is the one.
        """
        fault = top_level(chain[-1])
        names = filter(self._approved, reversed([top_level(module) for module in chain]))
        return next((n for n in names if n == fault or self._mends(n, distribution)), None)

    def _mends(self, approved: str, distribution: str) -> bool:
        needs = self._catalog.lock.path(self._catalog.distribution(approved), distribution)
        return bool(needs or self._lacking(approved))

    def _approved(self, top: str) -> bool:
        """Whether the map names it and may: it has no say over first-party and standard names."""
        ours = top in self._first_party or _is_standard(top)
        return not ours and self._catalog.requirement(top) is not None

    # -- a module that is there and lacks something ------------------------------------------

    def _lacks(self, failure: Failure, module: str, attribute: str) -> Diagnosis:
        """``from module import attribute`` failed, or ``module.attribute`` did."""
        chain = _ending_in(failure.chain, module)
        return (
            self._shadowed(top_level(module), module, chain)
            or self._damaged(module, attribute, failure.chain)
            or _circular(failure, module, f"{module}.{attribute}")
            or self._attribute(module, attribute, chain)
        )

    def _damaged(self, module: str, attribute: str, chain: tuple[str, ...]) -> Diagnosis | None:
        """The diagnosis when a package was emptied, or lost the submodule that is asked for."""
        top, submodule = top_level(module), f"{module}.{attribute}"
        if is_emptied(top):
            return self.absent(top, chain)
        chain = (*_ending_in(chain, module), submodule)
        if abi := foreign_extension(submodule):
            return self._foreign(submodule, abi, chain)
        if find_on_disk(submodule) is not None:
            return None
        lost = records_module(self._catalog.provider(top), submodule)
        return self._incomplete(submodule, chain) if lost else None

    def _attribute(self, module: str, attribute: str, chain: tuple[str, ...]) -> Diagnosis:
        if top_level(module) in self._first_party:
            advice = f"{module} has no {attribute}: mend the import"
            return _plain(Cause.MISSING_ATTRIBUTE, module, chain, advice)
        if _is_standard(top_level(module)):
            advice = f"{module} of {PYTHON} has no {attribute}: change the code"
            return _plain(Cause.MISSING_ATTRIBUTE, module, chain, advice)
        distribution = self._catalog.provider(top_level(module))
        version = installed_version(distribution)
        what = f"{distribution} {version}" if version else module
        advice = f"{what} has no {attribute} in {module}{self._other_version(distribution)}"
        return self._packaged(Cause.MISSING_ATTRIBUTE, module, chain, advice)

    def _broken_extension(self, failure: Failure) -> Diagnosis:
        path = getattr(failure.error, "path", None)
        module = (path and module_at(path)) or failure.module or failure.chain[-1]
        chain = _ending_in(failure.chain, module)
        library = failure.shared_library
        if library and records_file(self._catalog.provider(top_level(module)), library):
            return self._incomplete(module, chain)
        advice = (
            f"{library} is a system library: install it in the image"
            if library
            else f"the compiled part of {module} does not fit this Python or system: rebuild the"
            " image with a wheel that does"
        )
        return self._packaged(Cause.BROKEN_EXTENSION, module, chain, advice)

    # -- what several causes share -----------------------------------------------------------

    def _shadowed(self, top: str, module: str, chain: tuple[str, ...]) -> Diagnosis | None:
        """The diagnosis when a local file stands before a library of the same name."""
        if top in self._first_party:
            return None
        library = (
            _is_standard(top)
            or self._catalog.requirement(top) is not None
            or installed_version(self._catalog.distribution(top)) is not None
        )
        file = local_file(top) if library else None
        if file is None:
            return None
        advice = f"the local file {file} hides the library {top}: rename it"
        return _plain(Cause.SHADOWED, module, chain, advice)

    def _locked_version(self, distribution: str) -> str | None:
        locked = self._catalog.lock.entries.get(distribution)
        return locked.version if locked else None

    def _other_version(self, distribution: str) -> str:
        locked = self._locked_version(distribution)
        if locked and locked != installed_version(distribution):
            return f"; the lock names {locked}: rebuild the image"
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
            distribution=self._catalog.provider(top_level(name)),
            requirement=self._catalog.requirement(heals or name),
            heals=heals,
            broken=broken,
            chain=chain,
        )


def _plain(cause: Cause, module: str, chain: tuple[str, ...], advice: str) -> Diagnosis:
    return Diagnosis(cause=cause, module=module, advice=advice, chain=chain)


def _circular(failure: Failure, module: str, submodule: str) -> Diagnosis | None:
    """The diagnosis when a module was asked for something while its own body was running.

    A package is not bound to the name of a submodule before that submodule's body has ended.
    """
    if submodule in failure.chain:
        module = submodule
    elif not failure.unfinished or failure.chain[-1] == module:
        return None
    chain = _ending_in(failure.chain, module)
    circle = " -> ".join(chain[chain.index(module) :])
    advice = f"modules import each other in a circle ({circle}): break it in the code"
    return _plain(Cause.CIRCULAR_IMPORT, module, chain, advice)


def _code_error(failure: Failure) -> Diagnosis:
    module = failure.chain[-1]
    what = f"{module} raised {type(failure.error).__name__} while it was imported"
    if isinstance(failure.error, SyntaxError):
        what = f"{module}, or a module that it imports, has a syntax error"
    advice = f"{what}: mend the code; the log has the trace"
    return _plain(Cause.CODE_ERROR, module, failure.chain, advice)


def _is_standard(top: str) -> bool:
    return top in sys.stdlib_module_names


def _ending_in(chain: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(chain) if chain and chain[-1] == name else (*chain, name)


def _needer(chain: Sequence[str], first_party: frozenset[str]) -> str | None:
    """The third-party module nearest before the fault, else the first-party one that imports it."""
    fault = top_level(chain[-1])
    others = [name for name in reversed(chain) if top_level(name) != fault]
    packages = [top_level(name) for name in others if top_level(name) not in first_party]
    return next(iter((*packages, *others)), None)

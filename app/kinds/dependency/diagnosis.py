"""Why an import failed: a closed set of causes, read from the exception and from what is on disk.

The message of an exception is read only where the object says nothing, and never leaves this
module: what a diagnosis shows is safe for a response.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from app.healing.kind import Fault, Outcome
from app.kinds.dependency.catalog import Catalog, InstallPlan
from app.kinds.dependency.failure import Failure, read_failure
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


class Cause(StrEnum):
    """What can be wrong with an import."""

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
    IMPORTING = "importing"
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
#: Causes for which it does not matter what distribution brings a module.
OF_NO_DISTRIBUTION = frozenset(
    {
        Cause.STDLIB_MISSING,
        Cause.CIRCULAR_IMPORT,
        Cause.SHADOWED,
        Cause.CODE_ERROR,
        Cause.IMPORTING,
    }
)
PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
#: What this kind of fault is called everywhere.
KIND = "dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(Fault):
    """Why a module could not be imported and what to do about it.

    ``module`` is the one that is really at fault, ``chain`` leads from the one that was asked for
    to it. ``heals`` is the approved top-level name whose locked closure would mend it, and then the
    subject; None when an install would not. ``broken`` are distributions that count as missing.
    """

    kind: str = KIND
    subject: str = ""
    module: str
    distribution: str | None = None
    requirement: str | None = None
    heals: str | None = None
    broken: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", self.subject or self.heals or self.module)
        if self.plan is None and self.refusal is None:
            stranger = self.requirement is None and self.distribution is not None
            refusal = Outcome.NOT_APPROVED if stranger else Outcome.NOT_FIXABLE
            object.__setattr__(self, "refusal", refusal)


class Diagnostician:
    """Diagnoses import failures for one catalog and one set of first-party packages.

    The set may grow: what it holds at the moment of a diagnosis counts.
    """

    def __init__(self, catalog: Catalog, first_party: AbstractSet[str]) -> None:
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
            path, library = getattr(failure.error, "path", None), failure.shared_library
            module = (path and module_at(path)) or failure.module or failure.chain[-1]
            if library and records_file(self._catalog.provider(top_level(module)), library):
                return self._incomplete(module, failure.chain)
            advice = (
                f"{library} is a system library: install it in the image"
                if library
                else f"the compiled part of {module} does not fit this Python or system: rebuild"
                " the image with a wheel that does"
            )
            return self._diagnosis(Cause.BROKEN_EXTENSION, module, failure.chain, advice)
        module = failure.chain[-1]
        what = f"{module} raised {type(failure.error).__name__} while it was imported"
        if isinstance(failure.error, SyntaxError):
            what = f"{module}, or a module that it imports, has a syntax error"
        advice = f"{what}: mend the code; the log has the trace"
        return self._diagnosis(Cause.CODE_ERROR, module, failure.chain, advice)

    def absent(self, name: str, chain: Sequence[str] = ()) -> Diagnosis:
        """Why the module ``name`` is not there."""
        top = top_level(name)
        hidden = self._shadowed(name, chain) if name != top else None
        if hidden is not None:
            return hidden
        if abi := foreign_extension(name):
            cause = Cause.BROKEN_EXTENSION
            advice = f"{name} was built for {abi}, not for this Python: rebuild the image with a"
            advice = f"{advice} wheel that fits"
        elif top in self._first_party:
            cause = Cause.FIRST_PARTY_MISSING
            advice = f"{name} belongs to this application and is not there: restore the file or"
            advice = f"{advice} the import"
        elif top in sys.stdlib_module_names:
            cause = Cause.STDLIB_MISSING
            advice = (
                f"the standard library of {PYTHON} has no {name}: change the code"
                if name != top and find_on_disk(top) is not None
                else f"{name} belongs to the standard library but this Python was built without it"
            )
        elif top in REMOVED and self._catalog.requirement(top) is None:
            cause = Cause.STDLIB_MISSING
            advice = f"{top} left the standard library in Python {REMOVED[top]}: change the code"
            advice = f"{advice} that imports it"
        elif name == top or find_on_disk(top) is None:
            return self._not_installed(name, chain)
        elif records_module(self._catalog.provider(top), name):
            return self._incomplete(name, chain)
        else:
            cause, advice = Cause.MISSING_SUBMODULE, self._version_advice(top, name)
        return self._diagnosis(cause, name, chain, advice)

    def _not_installed(self, name: str, chain: Sequence[str]) -> Diagnosis:
        """Nothing of the top-level name is here, except perhaps its metadata."""
        top, distribution = top_level(name), self._catalog.distribution(name)
        version = installed_version(distribution)
        locked = self._catalog.lock.version(distribution)
        plan = self._nearest_plan(top, distribution, chain)
        if version is not None:
            if plan is None or locked != version:
                return self._incomplete(name, chain)
            cause, broken = Cause.PARTIAL_INSTALL, (distribution,)
            plan = self._catalog.plan(plan.module, broken)
            advice = f"{distribution} {version} is installed but its files are not all there;"
            advice = f"{advice} the lock has the same version"
            return self._diagnosis(cause, name, chain, advice, plan=plan, broken=broken)
        # The third-party package nearest before the fault needs it, else the module of ours.
        others = [module for module in reversed(chain) if top_level(module) != top]
        packages = [top_level(m) for m in others if top_level(m) not in self._first_party]
        needer = next(iter((*packages, *others)), None)
        advice = f"{needer} needs {top}, which is not installed" if needer else ""
        advice = advice or f"{top} is not installed"
        if plan is None:
            advice += "" if distribution == normalize(top) else f" (it comes with {distribution})"
            advice += "; it is not approved for healing: add it to the requirements"
        elif locked:
            advice += f"; it is in the lock as {distribution} {locked}"
        elif plan.module != top:
            parts = (f"{entry.name} {entry.version}" for entry in plan.missing)
            advice += f"; the lock has what {plan.module} lacks: {', '.join(parts)}"
        else:
            advice += "; it is approved but not in the lock: run make lock"
        return self._diagnosis(Cause.MISSING_DISTRIBUTION, name, chain, advice, plan=plan)

    def _nearest_plan(
        self, top: str, distribution: str, chain: Sequence[str]
    ) -> InstallPlan | None:
        """The plan of the approved name nearest to the fault whose closure would mend it.

        An import name need not resemble its distribution's. So when the lock does not have who
        needs ``distribution``, an approved package on the way that lacks a part is the one.
        """
        for name in (top, *map(top_level, reversed(chain))):
            plan = None if self._is_reserved(name) else self._catalog.plan(name)
            needer = self._catalog.distribution(name)
            if plan is not None and (
                name == top or self._catalog.lock.path(needer, distribution) or plan.missing
            ):
                return plan
        return None

    def _lacks(self, failure: Failure, module: str, attribute: str) -> Diagnosis:
        """``from module import attribute`` failed, or ``module.attribute`` did."""
        top, submodule = top_level(module), f"{module}.{attribute}"
        chain = _ending_in(failure.chain, module)
        if hidden := self._shadowed(module, chain):
            return hidden
        if is_emptied(top):
            return self.absent(top, failure.chain)
        if foreign_extension(submodule) or (
            find_on_disk(submodule) is None
            and records_module(self._catalog.provider(top), submodule)
        ):
            return self.absent(submodule, chain)
        # A package is not bound to the name of a submodule before that one's body has ended.
        unbound = submodule in failure.chain
        if unbound or (failure.unfinished and failure.chain[-1] != module):
            module = submodule if unbound else module
            chain = _ending_in(failure.chain, module)
            circle = " -> ".join(chain[chain.index(module) :])
            advice = f"modules import each other in a circle ({circle}): break it in the code"
            return self._diagnosis(Cause.CIRCULAR_IMPORT, module, chain, advice)
        if top in self._first_party:
            advice = f"{module} has no {attribute}: mend the import"
        elif top in sys.stdlib_module_names:
            advice = f"{module} of {PYTHON} has no {attribute}: change the code"
        else:
            advice = self._version_advice(top, f"{attribute} in {module}")
        return self._diagnosis(Cause.MISSING_ATTRIBUTE, module, chain, advice)

    def _shadowed(self, module: str, chain: Sequence[str]) -> Diagnosis | None:
        """The diagnosis when a local file stands before a library of the same name."""
        top = top_level(module)
        is_library = (
            top in sys.stdlib_module_names
            or self._catalog.requirement(top) is not None
            or installed_version(self._catalog.distribution(top)) is not None
        )
        file = local_file(top) if is_library and top not in self._first_party else None
        if file is None:
            return None
        advice = f"the local file {file} hides the library {top}: rename it"
        return self._diagnosis(Cause.SHADOWED, module, chain, advice)

    def _incomplete(self, name: str, chain: Sequence[str]) -> Diagnosis:
        distribution = self._catalog.provider(top_level(name))
        version = installed_version(distribution)
        what = f"{distribution} {version}" if version else top_level(name)
        advice = f"{what} is installed but its files are not all there: rebuild the image"
        return self._diagnosis(Cause.PARTIAL_INSTALL, name, chain, advice)

    def _version_advice(self, top: str, missing: str) -> str:
        """What to do about a part that the installed version of a library does not have."""
        distribution = self._catalog.provider(top)
        version = installed_version(distribution)
        locked = self._catalog.lock.version(distribution)
        what = f"{distribution} {version} has" if version else f"{top} has"
        if locked and locked != version:
            return f"{what} no {missing}; the lock names {locked}: rebuild the image"
        advice = "change the code, or the version that the requirements ask for"
        return f"{what} no {missing}: {advice}"

    def _is_reserved(self, top: str) -> bool:
        """Whether no distribution brings this name, so that the map does not count for it."""
        return top in self._first_party or top in sys.stdlib_module_names

    def _diagnosis(
        self,
        cause: Cause,
        module: str,
        chain: Sequence[str],
        advice: str,
        *,
        plan: InstallPlan | None = None,
        broken: tuple[str, ...] = (),
    ) -> Diagnosis:
        top = top_level(module)
        packaged = cause not in OF_NO_DISTRIBUTION and not self._is_reserved(top)
        requirement = plan.requirement if plan else self._catalog.requirement(top)
        return Diagnosis(
            cause=cause,
            module=module,
            advice=advice,
            plan=plan,
            refusal=plan.refusal if plan else None,
            distribution=self._catalog.provider(top) if packaged else None,
            requirement=requirement if packaged else None,
            heals=plan.module if plan else None,
            broken=broken,
            chain=_ending_in(chain, module),
        )


def _ending_in(chain: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(chain) if chain and chain[-1] == name else (*chain, name)

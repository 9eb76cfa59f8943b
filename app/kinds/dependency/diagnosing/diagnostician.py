"""Why an import failed, read from the exception and from what is on disk.

The message of an exception is read only where the object says nothing, and never leaves this
folder: what a diagnosis shows is safe for a response.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from app.kinds.dependency.catalog import Catalog, InstallPlan
from app.kinds.dependency.diagnosing.failure import Failure, read_failure
from app.kinds.dependency.diagnosing.parties import Parties, with_version
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.facts.binaries import MISFIT_MODULES, BinaryTrouble
from app.kinds.dependency.facts.names import import_name, known
from app.kinds.dependency.facts.standard import LEFT, REMOVED
from app.kinds.dependency.on_disk import (
    bringing,
    find_on_disk,
    foreign_extension,
    installed_version,
    is_emptied,
    is_its_own,
    is_namespace,
    local_file,
    module_at,
    modules_of,
    recorded_file,
    records_module,
)
from app.kinds.dependency.requirements import normalize, top_level

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


class Diagnostician:
    """Diagnoses import failures for one catalog and one set of first-party packages.

    The set may grow: what it holds at the moment of a diagnosis counts.
    """

    def __init__(self, catalog: Catalog, first_party: AbstractSet[str]) -> None:
        self._catalog = catalog
        self._first_party = first_party
        self._parties = Parties(catalog, first_party)

    def diagnose(self, error: BaseException, requested: str) -> Diagnosis:
        """Why importing ``requested`` raised ``error``."""
        failure = read_failure(error, requested)
        module, chain, trouble = failure.module, failure.chain, failure.trouble
        if failure.absent and module:
            parent = module.rpartition(".")[0]
            is_part = bool(parent) and is_namespace(parent)
            return self.absent(failure.wanted if is_part else module, chain)
        if module and failure.attribute:
            return self._lacks(failure, module, failure.attribute)
        culprit = failure.unreadable or chain[-1]
        is_library = self._parties.is_library(culprit)
        if trouble and (is_library or isinstance(failure.error, ImportError | OSError)):
            return self._unloadable(failure, trouble)
        cause, what = Cause.CODE_ERROR, f"{culprit} raised {type(failure.error).__name__}"
        what = f"{what} while it was imported"
        if isinstance(failure.error, SyntaxError):
            what = f"{culprit} has a syntax error"
        elif is_library and failure.texts[0].startswith("module '"):
            # ``module 'lib' has no attribute …``: compiled code of another distribution.
            cause = Cause.MISSING_ATTRIBUTE
            what = f"{self._parties.titled(culprit)} uses what another package does not have"
        remedy = "mend the code"
        if is_library:
            remedy = self._parties.off_lock(map(self._parties.provider, (culprit, *chain))) or (
                f"choose another version of {self._parties.provider(culprit) or top_level(culprit)}"
            )
        return self._diagnosis(cause, culprit, chain, f"{what}: {remedy}; the log has the trace")

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
        elif top in REMOVED and not self._is_brought_back(top):
            cause, advice = Cause.STDLIB_MISSING, self._removed_advice(top, chain)
        elif name == top or find_on_disk(top) is None or is_namespace(_deepest_parent(name)):
            return self._not_installed(name, chain)
        elif any(records_module(one, name) for one in self._catalog.providers(top)):
            return self._incomplete(name, chain)
        else:
            return self._unfit(Cause.MISSING_SUBMODULE, name, name, chain)
        return self._diagnosis(cause, name, chain, advice)

    def foreign(self, name: str) -> Diagnosis | None:
        """Why a module that is here is not the approved one; None when it is, or none is approved.

        A local file, or another distribution, may have its name. Nothing is installed over that.
        """
        approved = self._catalog.requirement(name) and self._catalog.distribution(name)
        if not approved or self._parties.is_reserved(top_level(name)):
            return None
        if installed_version(approved) is not None:
            return None
        if hidden := self._shadowed(name, ()):
            return hidden
        brought = bringing(top_level(name))
        who = f"comes with {with_version(brought[0])}" if brought else "comes with no distribution"
        advice = f"{name} {who}, and {approved} is approved for it, which is not installed: approve"
        advice = f"{advice} the other one, or remove it"
        return self._diagnosis(Cause.SHADOWED, name, (), advice)

    # -- nothing of it is here -----------------------------------------------------------------

    def _not_installed(self, name: str, chain: Sequence[str]) -> Diagnosis:
        """Nothing of the module's distribution is here, except perhaps its metadata."""
        top, distribution = top_level(name), self._catalog.distribution(name)
        found = known(name)
        named = (distribution or normalize(top), *(found.distributions if found else ()))
        likely = dict.fromkeys((*named, normalize(top)))
        installed = next((one for one in likely if installed_version(one) is not None), None)
        plan = self._nearest_plan(name, distribution or normalize(top), chain)
        if installed is not None and top not in LEFT and not is_namespace(top):
            version, brought = installed_version(installed), modules_of(installed)
            if brought and not records_module(installed, top):
                advice = f"{installed} brings no {top}: import {' or '.join(brought[:3])}"
                return self._diagnosis(Cause.CODE_ERROR, name, chain, advice)
            if plan is None or self._catalog.lock.version(installed) != version:
                return self._incomplete(name, chain)
            cause, broken = Cause.PARTIAL_INSTALL, (installed,)
            plan = self._catalog.plan(plan.module, broken)
            advice = f"{installed} {version} is installed but its files are not all there;"
            advice = f"{advice} the lock has the same version"
            return self._diagnosis(cause, name, chain, advice, plan=plan, broken=broken)
        if plan is None and found is None and (meant := import_name(normalize(top))):
            advice = f"{top} is the name of a distribution, which brings {meant}: import that"
            return self._diagnosis(Cause.CODE_ERROR, name, chain, advice)
        needer = self._parties.needer(top, chain)
        advice = f"{needer} needs {name}, which is not installed" if needer else ""
        advice = advice or f"{name} is not installed"
        locked = self._catalog.lock.version(distribution) if distribution else None
        if plan is None:
            advice += self._parties.namesake_advice(needer) or self._stranger_advice(name)
        elif locked:
            advice += f"; it is in the lock as {distribution} {locked}"
        elif plan.module != top or is_namespace(top):
            parts = (f"{entry.name} {entry.version}" for entry in plan.missing)
            advice += f"; the lock has what {plan.module} lacks: {', '.join(parts)}"
        else:
            advice += "; it is approved but not in the lock: run make lock"
        if plan is not None and plan.conflicts:
            advice += f"; {'; '.join(map(str, plan.conflicts))}: rebuild the image"
        return self._diagnosis(Cause.MISSING_DISTRIBUTION, name, chain, advice, plan=plan)

    def _stranger_advice(self, name: str) -> str:
        """What to do about a module that is not approved, as far as its project is known."""
        top, found = top_level(name), known(name)
        if top in LEFT:
            distribution, version = LEFT[top]
            return (
                f"; {distribution} brings it before {version}: add {distribution}<{version} to"
                " the requirements"
            )
        if found is None or not found.distributions:
            return "; it is not approved for healing, and no project is known to bring it"
        brings = found.distributions[0]
        if brings == name:
            return "; it is not approved for healing: add it to the requirements"
        other = f", and {found.namesake} is another project" if found.namesake else ""
        return (
            f" (it comes with {brings}{other}); it is not approved for healing: add {brings} to"
            " the requirements"
        )

    def _nearest_plan(
        self, name: str, distribution: str, chain: Sequence[str]
    ) -> InstallPlan | None:
        """The plan of the approved name nearest to the fault whose closure would mend it.

        An import name need not resemble its distribution's. So when the lock does not have who
        needs ``distribution``, an approved package on the way that lacks a part is the one. What
        is approved of a namespace is one of its parts.
        """
        top = top_level(name)
        is_part = is_namespace(top)
        for candidate in (top, *map(top_level, reversed(chain))):
            plan = None if self._parties.is_reserved(candidate) else self._catalog.plan(candidate)
            needer = self._catalog.distribution(candidate) or candidate
            if plan is not None and (
                (candidate == top and not is_part)
                or self._catalog.lock.path(needer, distribution)
                or plan.missing
            ):
                return plan
        return None

    def _is_brought_back(self, top: str) -> bool:
        """Whether a distribution that is approved, locked or installed brings a removed module."""
        found = known(top)
        return self._catalog.requirement(top) is not None or any(
            records_module(one, top)
            if installed_version(one)
            else self._catalog.lock.version(one) is not None
            for one in (found.distributions if found else ())
        )

    def _removed_advice(self, top: str, chain: Sequence[str]) -> str:
        left = f"{top}, which left the standard library in Python {REMOVED[top]}"
        needer, found = self._parties.needer(top, chain), known(top)
        provider = self._parties.provider(needer) if needer else None
        if off := self._parties.off_lock([provider]):
            return f"{needer} needs {left}: {off}: rebuild the image"
        what = (
            f"{self._parties.titled(needer)} needs {left}"
            if needer
            else left.replace(", which", "")
        )
        remedy = f"use a newer {provider}" if provider else "change the code that imports it"
        if found is not None and found.distributions:
            remedy = f"{remedy}, or add {found.distributions[0]} to the requirements"
        return f"{what}: {remedy}"

    # -- it is here, and is not what is asked for ------------------------------------------------

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
            and (
                is_namespace(module)
                or any(records_module(one, submodule) for one in self._catalog.providers(top))
            )
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
            return self._unfit(Cause.MISSING_ATTRIBUTE, module, f"{attribute} in {module}", chain)
        return self._diagnosis(Cause.MISSING_ATTRIBUTE, module, chain, advice)

    def _unfit(self, cause: Cause, module: str, missing: str, chain: Sequence[str]) -> Diagnosis:
        """An installed library has no ``missing``: it is to blame, or who asks for that is."""
        providers, asker = self._catalog.providers(module), self._parties.needer(module, chain)
        if len(providers) > 1:
            titles = " and ".join(map(with_version, providers))
            own = [one for one in providers if is_its_own(one, top_level(module))]
            won = f", and the files are those of {own[0]}" if len(own) == 1 else ""
            bring = "both bring" if len(providers) == 2 else "all bring"  # noqa: PLR2004
            advice = f"{titles} {bring} {top_level(module)}{won}, which has no {missing}: keep one"
            advice = f"{advice} of them"
            return self._diagnosis(cause, module, chain, advice)
        what = f"{self._parties.titled(top_level(module))} has no {missing}"
        if namesake := self._parties.namesake_advice(module):
            return self._diagnosis(cause, module, chain, what + namesake)
        if off := self._parties.off_lock(providers):
            advice = f"there is no {missing}: {off}: rebuild the image"
        elif asker and self._parties.is_library(asker):
            off = self._parties.off_lock([self._parties.provider(asker)])
            remedy = f"{off}: rebuild the image" if off else "choose versions of them that fit"
            advice = f"{what}, which {self._parties.titled(asker)} asks for: {remedy}"
            return self._diagnosis(cause, asker, chain, advice)
        else:
            advice = f"{what}: change the code, or the version that the requirements ask for"
        return self._diagnosis(cause, module, chain, advice)

    def _unloadable(self, failure: Failure, trouble: BinaryTrouble) -> Diagnosis:
        """Compiled code was found and could not be loaded."""
        path = getattr(failure.error, "path", None)
        named = failure.module if getattr(failure.error, "name", None) else None
        module = (path and module_at(path)) or named or failure.chain[-1]
        cause, library = Cause.BROKEN_EXTENSION, trouble.library
        brought = (recorded_file(one, library or "") for one in self._catalog.providers(module))
        own = next(filter(None, brought), None)
        if trouble.misfit:
            cause, other = Cause.INCOMPATIBLE_VERSIONS, trouble.misfit
            module = self._parties.needer(MISFIT_MODULES[other], failure.chain) or failure.chain[-1]
            off = self._parties.off_lock([self._parties.provider(module), other])
            remedy = f"{off}: rebuild the image" if off else "choose versions of them that fit"
            made = f"was made for another version of {other} than {installed_version(other)}"
            advice = f"{self._parties.titled(module)} {made}: {remedy}"
        elif library and own is not None and not own.exists():
            return self._incomplete(module, failure.chain)
        elif library and own is None:
            packages = f" ({trouble.packages})" if trouble.packages else ""
            advice = f"{library} is a system library: install it in the image{packages}"
        elif trouble.needs:
            advice = f"{module} needs {trouble.needs} or newer: use a newer base image, or a wheel"
            advice = f"{advice} that was built for an older one"
        else:
            advice = f"the compiled part of {module} does not fit this Python or system: rebuild"
            advice = f"{advice} the image with a wheel that does"
        return self._diagnosis(cause, module, failure.chain, advice)

    def _shadowed(self, module: str, chain: Sequence[str]) -> Diagnosis | None:
        """The diagnosis when a local file stands before a library of the same name."""
        top = top_level(module)
        is_library = (
            top in sys.stdlib_module_names
            or self._catalog.requirement(top) is not None
            or installed_version(self._catalog.distribution(top) or normalize(top)) is not None
        )
        file = local_file(top) if is_library and top not in self._first_party else None
        if file is None:
            return None
        advice = f"the local file {file} hides the library {top}: rename it"
        return self._diagnosis(Cause.SHADOWED, module, chain, advice)

    def _incomplete(self, name: str, chain: Sequence[str]) -> Diagnosis:
        what = " and ".join(map(with_version, self._catalog.providers(name))) or top_level(name)
        verb = (
            "are installed but the files are"
            if " and " in what
            else "is installed but its files are"
        )
        advice = f"{what} {verb} not all there: rebuild the image"
        return self._diagnosis(Cause.PARTIAL_INSTALL, name, chain, advice)

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
        packaged = cause not in OF_NO_DISTRIBUTION and not self._parties.is_reserved(top)
        requirement = plan.requirement if plan else self._catalog.requirement(top)
        # What is not here is looked up by its name; what is, by what it has recorded.
        absent = cause is Cause.MISSING_DISTRIBUTION
        distribution_of = self._catalog.distribution if absent else self._parties.provider
        return Diagnosis(
            cause=cause,
            module=module,
            advice=advice,
            plan=plan,
            refusal=plan.refusal if plan else None,
            distribution=distribution_of(module) if packaged else None,
            requirement=requirement if packaged else None,
            heals=plan.module if plan else None,
            broken=broken,
            chain=tuple(chain) if module in chain else (*chain, module),
        )


def _deepest_parent(name: str) -> str:
    """The longest part of a dotted name that is on disk."""
    parent = name.rpartition(".")[0]
    while parent and find_on_disk(parent) is None:
        parent = parent.rpartition(".")[0]
    return parent


def _ending_in(chain: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(chain) if chain and chain[-1] == name else (*chain, name)

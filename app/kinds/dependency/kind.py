"""The kind of missing packages: what is watched, and how the lock's wheels become a layer.

A repair stages the missing part of the locked closure aside, imports it in a fresh interpreter and
commits it by one rename; see :meth:`DependencyKind.repair`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

from app.healing.kind import Fault, Fix, Outcome, Repair, Scope, Step, Work
from app.healing.report import timestamp
from app.kinds.dependency.catalog import (
    INSTALL_ADVICE,
    Catalog,
    InstallOutcome,
    InstallPlan,
    listed_distributions,
)
from app.kinds.dependency.diagnosing.diagnostician import Diagnostician
from app.kinds.dependency.diagnosis import KIND, Cause, Diagnosis
from app.kinds.dependency.imports import ImportReports
from app.kinds.dependency.installer.install import Installer
from app.kinds.dependency.installer.spares import Spares
from app.kinds.dependency.installer.together import Together, imported_by
from app.kinds.dependency.installer.tools import Tools
from app.kinds.dependency.layer_imports import LayerImports
from app.kinds.dependency.layers import Layer, Layers, Stage, interpreter_key
from app.kinds.dependency.lock import LockedDistribution
from app.kinds.dependency.on_disk import (
    distributions,
    find_on_disk,
    installed_version,
    is_namespace,
    is_whole,
    only_importing_tells,
)
from app.kinds.dependency.probe import Verdict, probe
from app.kinds.dependency.requirements import read_requirements, requirement_name, top_level
from app.kinds.dependency.staged import is_there, needs_import, objection
from app.manifest import PACKAGES
from app.settings.declarations import DEFAULT_LOCK, HealingSettings
from app.settings.files import FollowedFile

logger = logging.getLogger(__name__)

#: What each cause means for somebody who only asked for a page.
MEANINGS: Mapping[str, str] = {
    Cause.MISSING_DISTRIBUTION: "A package that this part needs is not installed.",
    Cause.MISSING_SUBMODULE: "A package is there, and a part of it is not.",
    Cause.MISSING_ATTRIBUTE: "A package is too old or too new for what is asked of it.",
    Cause.BROKEN_EXTENSION: "A package's compiled code cannot be loaded here.",
    Cause.INCOMPATIBLE_VERSIONS: "Two packages are here in versions that do not fit each other.",
    Cause.PARTIAL_INSTALL: "A package is installed in part.",
    Cause.FIRST_PARTY_MISSING: "A module of the service's own is missing.",
    Cause.STDLIB_MISSING: "A module of the standard library is missing from this Python.",
    Cause.CIRCULAR_IMPORT: "Modules wait for each other to be imported.",
    Cause.SHADOWED: "Something else has the name of a package.",
    Cause.CODE_ERROR: "A module failed while it was imported.",
    Cause.IMPORTING: "A module is still being imported.",
}


class DependencyKind:
    """Brings approved distributions into layers.

    Args:
        settings: where they are kept and what is allowed.
        catalog: the map joined with the lock.
        required: the names of the map that are watched; those whose distribution the requirements
            file beside the lock lists, or listed when it was locked, when it is None.
        critical: those of them without which nothing is served.
        first_party: top-level names that are never installable.
        reports: how imports have ended.
        environ: the installers' environment.
    """

    name = KIND
    scope = Scope.HOST
    need = PACKAGES
    gates = False
    causes = MEANINGS
    outcomes = INSTALL_ADVICE
    refusals: frozenset[str] = frozenset({InstallOutcome.NOT_LOCKED, InstallOutcome.SET_ASIDE})

    def __init__(
        self,
        settings: HealingSettings,
        catalog: Catalog,
        *,
        required: Iterable[str] | None,
        critical: Iterable[str],
        first_party: AbstractSet[str],
        reports: ImportReports,
        environ: Mapping[str, str],
    ) -> None:
        self.catalog = catalog
        self.layers = Layers(settings.home, interpreter_key(catalog.lock.digest))
        catalog.set_aside = self.layers.deadly
        self.imports_from_layers = LayerImports(self.layers, settings.home / "layer-imports")
        self.diagnostician = Diagnostician(catalog, first_party)
        self._first_party = first_party
        #: The modules of the blueprints, which are imported one after another at boot.
        self.modules: tuple[str, ...] = ()
        self._together = Together(self.layers.staging, self._install, self._imports)
        self.tools = Tools(settings.tools, environ)
        # What fits this interpreter does so whatever the lock says next.
        directory = settings.home / "spares" / interpreter_key("any")
        self.spares = Spares(directory, settings.spare_bytes, self.tools, self._spare_pins)
        self.needs: Mapping[str, tuple[str, ...]] = {}
        #: Packages that blueprints make use of and can do without.
        self.optional: AbstractSet[str] = frozenset()
        self._settings = settings
        self._reports = reports
        self._environ = environ
        self._required = None if required is None else frozenset(required)
        self._critical = frozenset(critical)
        self._requirements = settings.lock.with_suffix(".txt")
        if required is None:
            self._listed: frozenset[str] = frozenset()
            # A lock that was made elsewhere came without requirements: then the project's count.
            beside = self._requirements
            self._watched = beside if beside.exists() else DEFAULT_LOCK.with_suffix(".txt")
            self._followed = FollowedFile(self._watched, self._read_requirements)

    def subjects(self) -> Mapping[str, bool]:
        """The required names of the map, and what blueprints need."""
        approved = tuple(self.catalog.dependency_map.items())
        if self._required is None:
            self._followed.refresh()
            required = {name for name, text in approved if requirement_name(text) in self._listed}
            # Nothing is served without these, whatever has become of the requirements file.
            required |= self._critical & self.catalog.dependency_map.keys()
        else:
            required = {name for name, _ in approved if name in self._required}
        return {name: name in self._critical for name in sorted(required.union(self.needs))}

    def needed(self, name: str) -> bool:
        """Whether the package of this name is needed now.

        By a blueprint, by all, or by who made this kind; what a requirements file merely lists may
        be for another way of serving.
        """
        needed = (self.needs, self.optional, self._critical, self._required or ())
        return any(name in names for names in needed)

    def _read_requirements(self) -> None:
        self._listed = listed_distributions(self._watched, self.catalog.lock)

    def basis(self) -> str:
        """The lock, and what the wheelhouse holds."""
        return self.catalog.basis()

    def faults(self) -> Iterable[Fault]:
        """Why each required package that is not there is not there.

        One that is found on disk is there: whether it imports shows when somebody tries.
        """
        set_aside = self.layers.deadly() & self.catalog.dependency_map.keys()
        for name in dict.fromkeys((*self.subjects(), *sorted(set_aside))):
            if name in sys.modules:
                continue
            report = self._reports.get(name)
            found = report.diagnosis if report is not None else None
            if found is None:
                found = self.unmet(name)
            elif found.cause is Cause.MISSING_DISTRIBUTION:
                found = self.recheck(found)
            if found is not None:
                # It can be another package that this one fails for.
                others = () if found.subject == name else (name, *self.needs.get(name, ()))
                yield replace(found, needed_by=others)

    def unmet(self, name: str) -> Diagnosis | None:
        """Why a package that a blueprint needs is not there, None when it is; imports nothing.

        An approved one is there when its distribution is, not when something else has its name.
        """
        if not self._is_there(name):
            return self.diagnostician.absent(name)
        return None if only_importing_tells(name) else self.diagnostician.foreign(name)

    def _is_there(self, name: str) -> bool:
        """Whether a module can be found; of a namespace, which is shared, the approved part."""
        if is_namespace(name):
            part = self.catalog.distribution(name)
            return part is None or installed_version(part) is not None
        return (
            sys.modules.get(name) is not None
            or find_on_disk(name) is not None
            or only_importing_tells(name)
        )

    def explain(self, error: BaseException) -> None:
        """Nothing but an import fails for a package, and the engine diagnoses imports itself."""

    def recheck(self, fault: Fault) -> Diagnosis | None:
        """None when the module that was missing can be found by now."""
        assert isinstance(fault, Diagnosis)  # noqa: S101 - the engine asks a kind of its own faults
        self.layers.load()
        if self._is_there(fault.module):
            return None
        again = self.diagnostician.absent(fault.module, fault.chain)
        return again if again.heals == fault.heals else fault

    def prepare(self) -> None:
        """Make the directories, and remove the layers that nobody needs any more."""
        self.layers.prepare()
        self.layers.prune(tuple(self.catalog.dependency_map))
        self._together.discard_old()

    def recover(self, subject: str) -> None:
        """Remove the staging directories of a subject whose owner died."""
        self.layers.sweep(subject)

    def adopt(self) -> bool:
        """Put committed layers on ``sys.path``; costs one ``stat`` when there is no new one.

        Those that have ended a process are set aside.
        """
        self.imports_from_layers.watch()
        new = self.layers.load()
        try:
            if self.imports_from_layers.contain(self._survives):
                self.layers.load()
                new = True
        except OSError as error:
            fields = {"error": str(error)}
            logger.debug("a layer cannot be set aside", extra={"fields": fields})
        return new

    def _survives(self, modules: AbstractSet[str]) -> bool:
        names, deadline = ",".join(sorted(modules)), self._settings.probe_deadline
        return not probe(names, (), deadline=deadline, environ=self._environ).crashed

    def fixes(self) -> Iterable[Fix]:
        """The committed layers; the requirements file beside the lock says which are listed."""
        layers = self.layers.committed()
        if not layers:
            return
        listed = read_requirements(self._requirements).names()
        for layer in layers:
            yield Fix(
                kind=KIND,
                subject=layer.subject,
                requirement=layer.requirement,
                installed=layer.installed,
                at=layer.at,
                attempt=layer.attempt,
                cause=layer.cause,
                hashes=layer.hashes,
                seconds=layer.seconds,
                listed=requirement_name(layer.requirement) in listed,
            )

    def mend(self, diagnosis: Diagnosis) -> bool:
        """Take the layers out of use that an import failed for because they are damaged.

        True when that may have changed how the import ends.
        """
        try:
            tops = {top_level(name) for name in (diagnosis.module, *diagnosis.chain)}
            # A module whose bytecode cannot be read has run nothing, so no chain has it.
            tops |= imported_by(diagnosis.chain, self._first_party)
            return self.layers.set_aside_damaged(tops)
        except OSError as error:
            fields = {"error": str(error)}
            logger.warning("a damaged layer cannot be set aside", extra={"fields": fields})
            return False

    def repair(self, fault: Fault, work: Work) -> Repair:
        """Stage, probe and commit what the fault's plan says."""
        plan = fault.plan
        if not isinstance(plan, InstallPlan):
            return Repair(outcome=Outcome.NOT_FIXABLE)
        started = time.monotonic()
        # A layer that has lost what it brought would stand before the new one.
        self.layers.set_aside_damaged({plan.module})
        work.begin(Step.STAGE)
        with self.layers.stage(plan.module, work.attempt) as stage:
            alone = not plan.locked or fault.cause != Cause.MISSING_DISTRIBUTION
            others = partial(self._also_missing, plan, fault)
            if alone or not self._together.fill(plan, others, stage, work):
                left = replace(work, deadline=work.deadline - (time.monotonic() - started))
                failure = self._install(plan, stage, left) or self._probe(plan, stage, left, fault)
                if failure is not None:
                    return replace(failure, requirement=plan.requirement)
            installed = distributions(stage.site)
            layer = Layer(
                attempt=work.attempt,
                subject=plan.module,
                cause=fault.cause,
                requirement=plan.requirement,
                installed=tuple(sorted(installed)),
                hashes=tuple(installed[pin] for pin in sorted(installed)),
                seconds=time.monotonic() - started,
                at=timestamp(time.time()),
            )
            work.begin(Step.COMMIT)
            self.layers.commit(stage, layer)
        work.begin(Step.ACTIVATE)
        self.layers.load()
        return Repair(
            outcome=Outcome.HEALED,
            requirement=plan.requirement,
            installed=layer.installed,
            hashes=layer.hashes,
            seconds=layer.seconds,
        )

    def _spare_pins(self) -> Iterable[LockedDistribution]:
        """What heals of everything that is approved and not there would install."""
        plans = [
            missing.plan
            for name in self.catalog.dependency_map
            if (missing := self.unmet(name)) is not None and missing.fixable
        ]
        pins = [pin for plan in plans if isinstance(plan, InstallPlan) for pin in plan.missing]
        return {pin.name: pin for pin in pins}.values()

    def _also_missing(self, plan: InstallPlan, fault: Fault) -> list[InstallPlan]:
        """The plans of what else is watched, or imported by the application, and not there."""
        asked = fault.chain if isinstance(fault, Diagnosis) else ()
        imported = imported_by((*self.modules, *asked), self._first_party)
        found = []
        for name in sorted((imported & self.catalog.dependency_map.keys()) | {*self.subjects()}):
            missing = self.unmet(name) if name != plan.module else None
            if missing and missing.cause == Cause.MISSING_DISTRIBUTION and missing.fixable:
                found.append(missing.plan)
        return [one for one in found if isinstance(one, InstallPlan) and one.locked]

    def _install(self, plan: InstallPlan, stage: Stage, work: Work) -> Repair | None:
        """Fill the stage; None when it holds exactly what the plan says."""
        settings = self._settings
        installer = Installer(
            tools=self.tools,
            wheelhouse=settings.wheelhouse or self.spares.holding(plan.missing),
            deadline=work.deadline,
            max_file_bytes=settings.max_file_bytes,
            keep=(work.claim,),
        )
        run = (
            installer.install(plan.missing, stage.work, stage.site)
            if plan.locked
            else installer.install_unlocked(plan.requirement, stage.work, stage.site)
        )
        if run.outcome != Outcome.HEALED:
            return Repair(outcome=run.outcome, detail=run.detail)
        found = set(distributions(stage.site))
        complete = found == {entry.pin for entry in plan.missing} if plan.locked else bool(found)
        if run.uncertain and not (complete and is_whole(stage.site)):
            detail = "the installer's exit status was lost, and it has left something out"
            return Repair(outcome=InstallOutcome.INSTALLER_FAILED, detail=detail)
        if not complete:
            detail = "the wheels hold other distributions than were asked for"
            return Repair(outcome=InstallOutcome.INVALID_WHEEL, detail=detail)
        # Here, because commands that install nothing have no use for it.
        from app.kinds.dependency.installer.consistency import unmet_requirement

        if reason := objection(stage.site):
            return Repair(outcome=InstallOutcome.REFUSED_WHEEL, detail=reason)
        if reason := unmet_requirement(stage.site):
            return Repair(outcome=InstallOutcome.UNMET_REQUIREMENT, detail=reason)
        return None

    def _probe(self, plan: InstallPlan, stage: Stage, work: Work, fault: Fault) -> Repair | None:
        """Import what was asked for in a fresh interpreter; what fails there goes to quarantine."""
        asked_by = fault.chain if isinstance(fault, Diagnosis) else ()
        verdict = self._imports((plan.module,), stage, work, asked_by)
        if verdict.ok:
            return None
        self.layers.quarantine(stage)
        crashed = verdict.crashed
        outcome = InstallOutcome.CRASHED_PROBE if crashed else InstallOutcome.PROBE_FAILED
        return Repair(outcome=outcome, error_class=verdict.error_class, detail=verdict.detail)

    def _imports(
        self, modules: Sequence[str], stage: Stage, work: Work, asked_by: Sequence[str] = ()
    ) -> Verdict:
        """What a child makes of the modules, and of all that the application imports of them.

        A wheel that takes files of its own away while it is imported fails, too.
        """
        work.begin(Step.PROBE)
        asking = dict.fromkeys((*self.modules, *asked_by))
        needed = [needs_import(stage.site, module, asking) for module in modules]
        # A heal may bring what a module needs, and not the module itself.
        brought = [module for module in modules if is_there(stage.site, module)]
        whole = is_whole(stage.site)
        verdict = probe(
            ",".join(name for names in needed for name in names),
            [stage.site],
            deadline=self._settings.probe_deadline,
            environ=self._environ,
            keep=(work.claim,),
        )
        there = all(is_there(stage.site, module) for module in brought)
        if verdict.ok and not (there and is_whole(stage.site) >= whole):
            detail = "files of it were gone after its import"
            return Verdict(ok=False, error_class="vanished", detail=detail)
        return verdict

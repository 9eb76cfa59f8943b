"""The engine's face: imports that diagnose, heal what is approved, and say what they did.

``AutoFixer`` adds imports to :class:`app.healing.engine.Engine`, which heals. Creating one touches
nothing: settings are read and directories are made when the first import needs them. Any number of
instances can live in one process, each with its own settings and map.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import ParamSpec, TypeVar

from app.healing.budget import Budget
from app.healing.engine import Engine
from app.healing.journal import Attempt
from app.healing.kind import Fault, Kind, Outcome, Repair
from app.healing.report import HealthReport
from app.kinds.configuration.manifest_file import ManifestFile
from app.kinds.dependency.catalog import CRITICAL, Catalog
from app.kinds.dependency.diagnosing.failure import import_cleanly, missing_module
from app.kinds.dependency.diagnosis import KIND, Cause, Diagnosis
from app.kinds.dependency.imports import ImportReport, ImportReports, initializing
from app.kinds.dependency.kind import DependencyKind
from app.kinds.dependency.layers import Layers
from app.kinds.dependency.on_disk import find_on_disk, only_importing_tells, state_of_path
from app.kinds.dependency.requirements import check_module_name, top_level
from app.kinds.standard import TABLES
from app.manifest import Blueprint
from app.settings.declarations import HealingSettings, Mode
from app.settings.errors import InvalidModuleName

logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

#: The project's own top-level names: never installable, whatever the map says.
FIRST_PARTY = frozenset({"app", "benchmarks", "tests", "wsgi"})

#: How many diagnoses of absent names are kept, since anybody may ask for any.
MAX_ABSENT = 1000


class AutoFixer(Engine):
    """Imports, heals and reports for one home, one map and one lock.

    Args:
        settings: where state is kept and what is allowed; from the environment when left out.
        dependency_map: import name to PEP 508 requirement, the allow-list; that of the manifest,
            as it follows its file, when left out.
        required: the names of the map whose absence health reports; those that the requirements
            file beside the lock lists when left out. What blueprints need is reported too.
        critical: those of them without which nothing is served.
        first_party: top-level names that are never installable.
    """

    def __init__(
        self,
        settings: HealingSettings | None = None,
        *,
        dependency_map: Mapping[str, str] | None = None,
        required: Iterable[str] | None = None,
        critical: Iterable[str] = CRITICAL,
        first_party: Iterable[str] = FIRST_PARTY,
    ) -> None:
        super().__init__(settings)
        self._given_map = dependency_map
        self._required = None if required is None else tuple(required)
        self._critical, self._first_party = frozenset(critical), set(first_party)
        self._reports = ImportReports()
        #: Diagnoses of names that are not approved, as long as nothing comes or goes on the path.
        self._absent = functools.lru_cache(MAX_ABSENT)(
            lambda name, *_: self.dependency.diagnostician.absent(name)
        )
        #: The modules of the blueprints that were watched last.
        self._blueprint_modules: set[str] = set()

    @functools.cached_property
    def manifest(self) -> ManifestFile:
        """What is served and what that needs, as it follows its file."""
        return ManifestFile(self.settings.manifest, TABLES, self.settings.home)

    @functools.cached_property
    def dependency_map(self) -> dict[str, str]:
        """The allow-list: import name to PEP 508 requirement; changes in place."""
        given = self._given_map
        return dict(sorted((self.manifest.current.packages if given is None else given).items()))

    @functools.cached_property
    def dependency(self) -> DependencyKind:
        """The kind that the engine cannot be without: missing packages."""
        settings = self.settings
        catalog = Catalog(
            self.dependency_map,
            settings.lock,
            wheelhouse=settings.wheelhouse,
            allow_unlocked=settings.allow_unlocked,
        )
        kind = DependencyKind(
            settings,
            catalog,
            required=self._required,
            critical=self._critical,
            first_party=self._first_party,
            reports=self._reports,
            environ=os.environ,
        )
        kind.layers.lost = self._record_lost
        return kind

    @functools.cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kinds by name, that of missing packages first."""
        return {KIND: self.dependency}

    @property
    def layers(self) -> Layers:
        """The committed fixes of missing packages."""
        return self.dependency.layers

    def _record_lost(self, subject: str, attempt: str) -> None:
        """Record that an attempt has failed after all, once on this host."""
        row = Attempt(
            attempt=f"{attempt}-{Outcome.LOST}",
            kind=KIND,
            subject=subject,
            cause=Cause.PARTIAL_INSTALL,
            outcome=Outcome.LOST,
            basis=self.dependency.basis(),
        )
        self.journal.append(row)

    # -- importing ---------------------------------------------------------------------------

    def safe_import(self, name: str, package: str | None = None) -> tuple[bool, ModuleType | None]:
        """Import a module, healing it when it is approved: ``(True, module)`` or ``(False, None)``.

        ``package`` anchors a relative ``name`` as in ``importlib.import_module``. No exception of
        the import gets out: a module that raises while it is imported counts as failed.
        """
        module = sys.modules.get(name)
        if module is not None and not initializing(module):
            return True, module
        report = self.import_module(name, package=package)
        return report.success, report.loaded

    def import_module(
        self,
        name: str,
        *,
        package: str | None = None,
        critical: bool = False,
        heal: bool = True,
        deadline: float | None = None,
    ) -> ImportReport:
        """Import a module and report how that went; the report is kept for health.

        ``deadline`` bounds each install in seconds; ``critical`` only sets how loud a failure is.
        """
        report, error = self._import(name, package, heal=heal, deadline=deadline)
        self._reports.record(report, error, critical=critical)
        return report

    def load(self, name: str) -> ModuleType | None:
        """Import a module without healing; None when that fails, for whatever reason.

        Sees at once what another process has healed. Costs a dictionary lookup once loaded.
        """
        module = sys.modules.get(name)
        if module is not None and not initializing(module):
            return module
        return self.import_module(name, heal=False).loaded if self.installed(name) else None

    def installed(self, name: str) -> bool:
        """Whether a module's package is there, what another process has healed included."""
        if self.mode is not Mode.OFF:
            self.layers.load()
        return find_on_disk(top_level(name)) is not None

    def resilient_blueprint_import(
        self,
        path: str,
        *,
        critical: bool = False,
        heal: bool = True,
        patience: float | None = None,
        during: AbstractContextManager[object] | None = None,
    ) -> ModuleType | None:
        """Import a module of the application; None when it fails, and health says so from then on.

        Raises nothing that importing it raises, ``SystemExit`` included. With ``patience`` the
        import is given up after so many seconds; it goes on in its thread, a later call for the
        same path waits for that one and never begins a second. An import that is begun runs within
        ``during``, in whichever thread that is.
        """
        self._reports.watched[path] = critical

        def work() -> ImportReport:
            with during or nullcontext():
                return self.import_module(path, critical=critical, heal=heal)

        if patience is None:
            return work().loaded
        report, ended = self._reports.within(path, work, patience)
        if not ended:
            self._reports.record(report, critical=critical)
        return report.loaded

    def create_graceful_import_wrapper(
        self, func: Callable[Arguments, Value]
    ) -> Callable[Arguments, Value | None]:
        """Wrap a function that imports lazily.

        An ``ImportError`` in it is healed once and the function is called again; it returns None
        when that does not help.
        """

        @functools.wraps(func)
        def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Value | None:
            for healed in (False, True):
                try:
                    return func(*args, **kwargs)
                except ImportError as error:
                    if not healed and self.heal(self.diagnose(error)).healed:
                        continue
                    fields = {"function": func.__qualname__, "missing": error.name}
                    event = "function gives up for a missing module"
                    logger.warning(event, extra={"fields": fields})
                    break
            return None

        return wrapper

    def examine(self, name: str, *, approved: bool = False) -> ImportReport:
        """Say whether a module can be imported, without healing.

        Only a package that is loaded, or approved and needed, is really imported. Any other module
        is looked up on disk, so that no stranger's code runs, its parents' neither, and nobody
        makes this process load more than it is to serve with. With ``approved``, for a process that
        serves nobody, whatever package is approved is imported.

        Raises:
            InvalidModuleName: when ``name`` is no absolute module name.
        """
        check_module_name(name)
        module = sys.modules.get(name)
        if module is not None:
            return ImportReport(name, success=True, available=True, loaded=module)
        if name in self.dependency_map and (approved or self.dependency.needed(name)):
            return self._import(name, None, heal=False, deadline=None)[0]
        found = self.installed(name) and find_on_disk(name) is not None
        if found or only_importing_tells(name):
            return ImportReport(name, success=False, available=True)
        top = top_level(name)
        if top in self.dependency_map:
            diagnosis = self.dependency.diagnostician.absent(name)
        else:
            diagnosis = self._absent(name, state_of_path(), top in self._first_party)
        return ImportReport(name, success=False, available=False, diagnosis=diagnosis)

    def import_report(self, name: str) -> ImportReport | None:
        """How the last import of ``name`` through this engine ended, None when there was none."""
        return self._reports.get(name)

    def _import(
        self, name: str, package: str | None, *, heal: bool, deadline: float | None
    ) -> tuple[ImportReport, BaseException | None]:
        """Import, heal what is missing, import again, until it succeeds or nothing more heals."""
        self.prepare()
        result: Repair | None = None
        tried: set[str] = set()
        mended = False
        while True:
            try:
                module = import_cleanly(name, package)
            except BaseException as raised:
                # A module may raise anything. An interrupt of the main thread is the operator's.
                main_thread = threading.current_thread() is threading.main_thread()
                if isinstance(raised, KeyboardInterrupt) and main_thread:
                    raise
                error = raised
            else:
                return ImportReport(name, True, True, module, None, result), None  # noqa: FBT003
            diagnosis = self.diagnose(error, name)
            if heal and not mended and self.mode is Mode.HEAL:
                mended = True
                if self.dependency.mend(diagnosis):
                    continue
            if not heal or diagnosis.heals is None or diagnosis.subject in tried:
                break
            tried.add(diagnosis.subject)
            with self._reports.awaiting(name, diagnosis):
                result = self.heal(diagnosis, deadline)
            if not result.healed:
                break
        available = package is None and find_on_disk(name) is not None
        return ImportReport(name, False, available, None, diagnosis, result), error  # noqa: FBT003

    # -- the manifest ------------------------------------------------------------------------

    def adopt(self) -> bool:
        """Use what other processes have committed, and the map as the manifest has it now.

        True when there was something new.
        """
        changed = False
        if self._given_map is None:
            wanted, approved = self.manifest.current.packages, self.dependency_map
            changed = wanted != approved
            if changed:
                # In place, and never empty meanwhile: others look names up in it.
                approved.update(wanted)
                for name in approved.keys() - wanted.keys():
                    approved.pop(name, None)
        return super().adopt() or changed

    def end(self) -> None:
        """Stop, and let no import take the blame: this process ends, whatever it is doing."""
        self.stop()
        self.dependency.imports_from_layers.close()

    def fetch_spares(self) -> None:
        """Fetch in a thread what later heals would need, where the settings say so."""
        if self.settings.spares and self.settings.wheelhouse is None and self.mode is Mode.HEAL:
            self.dependency.spares.fetch_soon()

    def watch(self, blueprints: Sequence[Blueprint]) -> None:
        """Report on what these blueprints need, and on no other one's module any more.

        The packages around them are the project's own from then on.
        """
        for kind in self.kinds.values():
            needs: dict[str, tuple[str, ...]] = {}
            for blueprint in blueprints:
                for subject in blueprint.needs.get(kind.need, ()):
                    needs[subject] = (*needs.get(subject, ()), blueprint.module)
            kind.needs = needs
        self.dependency.optional = {name for each in blueprints for name in each.optional}
        modules = {blueprint.module for blueprint in blueprints}
        for module in self._blueprint_modules - modules:
            self._reports.watched.pop(module, None)
        self._blueprint_modules = modules
        self._first_party.update(map(top_level, modules - self.dependency_map.keys()))
        self.dependency.modules = tuple(sorted(modules))

    # -- faults of imports -------------------------------------------------------------------

    def diagnose(self, error: BaseException, requested: str = "") -> Diagnosis:
        """Why an import raised ``error``: for a package, or for what another kind explains."""
        asked = requested or getattr(error, "name", None) or ""
        found = self.dependency.diagnostician.diagnose(error, asked)
        fault = self.explain(error) if found.cause == Cause.CODE_ERROR else None
        if fault is None:
            return found
        return replace(
            found,
            kind=fault.kind,
            subject=fault.subject,
            cause=fault.cause,
            advice=fault.advice,
            refusal=fault.refusal,
        )

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong now: the faults of every kind, and why watched modules do not import."""
        found: dict[tuple[str, str], Fault] = {}
        watched = [
            replace(report.diagnosis, needed_by=(path,))
            for path in tuple(self._reports.watched)
            if (report := self._reports.get(path)) is not None and report.diagnosis is not None
        ]
        for fault in (*super().faults(), *watched):
            key = (fault.kind, fault.subject)
            known = found.get(key)
            needed_by = dict.fromkeys((*(known.needed_by if known else ()), *fault.needed_by))
            found[key] = replace(known or fault, needed_by=tuple(needed_by))
        return tuple(found.values())

    def fix(self, name: str) -> ImportReport:
        """Heal one module now and import it, the budget permitting.

        Raises:
            InvalidModuleName: when ``name`` is no absolute module name.
        """
        check_module_name(name)
        if name in sys.modules:
            return self.examine(name)
        if top_level(name) in self.dependency_map:
            report = self.import_module(name)
            refusal = report.diagnosis.refusal if report.diagnosis else None
        else:
            report = replace(self.examine(name), success=False)
            refusal = Outcome.NOT_APPROVED
        if report.result is None and refusal is not None:
            result = Repair(outcome=refusal, advice=self.advice(KIND, refusal))
            report = replace(report, result=result)
        return report

    def budget(self, name: str) -> Budget:
        """What is left of a module's budget on this host."""
        return self.budget_of(KIND, top_level(name))

    def reset(self, name: str) -> bool:
        """Give a module its whole budget back; False when that could not be written down.

        Raises:
            InvalidModuleName: when ``name`` is not in the dependency map.
        """
        if top_level(name) not in self.dependency_map:
            raise InvalidModuleName(name)
        return self.reset_budget(KIND, top_level(name))

    def _extract_missing_module(self, message: str) -> str:
        """The module that an ``ImportError`` message names, ``""`` when it names none."""
        return missing_module(message)

    def _try_fix_import_error(self, module: str, message: str) -> bool:
        """Heal a missing module: True when it can be imported from now on."""
        name = module or missing_module(message)
        try:
            check_module_name(name)
        except InvalidModuleName:
            return False
        return self.heal(self.dependency.diagnostician.absent(name)).healed

    # -- health ------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """The engine's counters with the field names that clients rely on."""
        return {
            "dependency_map_size": len(self.dependency_map),
            "available_dependencies": sorted(self.dependency_map),
            **super().status(),
        }

    def health_report(self) -> HealthReport:
        """Every watched subject and module, looked at now; heals nothing."""
        mode = self.mode
        watched = dict(self._reports.watched)
        modules = {
            path: report.diagnosis if report else None
            for path in watched
            for report in (self._reports.get(path),)
        }
        critical = {path for path, critical in watched.items() if critical}
        return HealthReport(
            timestamp=datetime.now(UTC),
            checks=(*self.checks(), *self.checks_of("module", modules, critical)),
            fixes=self.fixes(),
            auto_fixer={
                "mode": str(mode),
                "fix_attempts": dict(self.fix_attempts),
                "max_retries": self.max_retries,
                "available_fixes": len(self.dependency_map),
            },
        )

    def check_and_fix_system_health(self) -> dict[str, object]:
        """Heal what may be healed, of every kind, then report the health that results."""
        for fault in self.faults():
            if fault.fixable:
                self.heal(fault)
        for path, critical in tuple(self._reports.watched.items()):
            report = self._reports.get(path)
            if report is None or not report.success:
                self.import_module(path, critical=critical)
        return self.health_report().to_dict()


#: The process's engine. Tests and other services make their own.
auto_fixer = AutoFixer()


def safe_import(name: str, package: str | None = None) -> tuple[bool, ModuleType | None]:
    """``AutoFixer.safe_import`` of the process's engine."""
    return auto_fixer.safe_import(name, package)


def resilient_import(path: str) -> ModuleType | None:
    """``AutoFixer.resilient_blueprint_import`` of the process's engine."""
    return auto_fixer.resilient_blueprint_import(path)


def graceful_import_wrapper(
    func: Callable[Arguments, Value],
) -> Callable[Arguments, Value | None]:
    """``AutoFixer.create_graceful_import_wrapper`` of the process's engine."""
    return auto_fixer.create_graceful_import_wrapper(func)


def health_check() -> dict[str, object]:
    """``AutoFixer.check_and_fix_system_health`` of the process's engine."""
    return auto_fixer.check_and_fix_system_health()

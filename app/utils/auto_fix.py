"""The engine: imports that diagnose, heal what is approved, and say what they did.

``AutoFixer`` composes the parts of ``app.healing``; it holds no rule of its own. Creating one
touches nothing: settings are read and directories are made when the first import needs them. Any
number of instances can live in one process, each with its own settings and map.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, ModuleType
from typing import ParamSpec, TypeVar

from app.healing.background import BoundedCall
from app.healing.background_heals import BackgroundHeals
from app.healing.budget import MAX_RETRIES, Budget
from app.healing.journal import RESET, Attempt, Journal, Total
from app.healing.outcomes import FixResult, Outcome
from app.healing.report import AppliedFix, HealthReport
from app.healing.statistics import attempts_by_subject, statistics
from app.kinds.dependency.catalog import CRITICAL, OPTIONAL, REQUIRED, Catalog
from app.kinds.dependency.diagnosis import Diagnosis, Diagnostician, missing_module
from app.kinds.dependency.examination import Examination
from app.kinds.dependency.failure import import_cleanly
from app.kinds.dependency.healer import KIND, DependencyHealer
from app.kinds.dependency.import_reports import ImportReport, ImportReports
from app.kinds.dependency.layers import Layers, interpreter_key
from app.kinds.dependency.on_disk import find_on_disk
from app.kinds.dependency.patient_imports import PatientImports, initializing
from app.kinds.dependency.requirements import check_module_name, top_level
from app.settings.engine import HealingSettings, Mode
from app.settings.errors import InvalidModuleName

logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

#: The project's own top-level names: never installable, whatever the map says.
FIRST_PARTY = frozenset({"app", "benchmarks", "tests", "wsgi"})
#: The one of them that test-import may import: the others do work when they are imported.
EXAMINABLE = "app"


class AutoFixer:
    """Imports, heals and reports for one home, one map and one lock.

    Args:
        settings: where state is kept and what is allowed; from the environment when left out.
        dependency_map: import name to PEP 508 requirement, the allow-list.
        required: the names of the map whose absence health reports.
        critical: those of them without which nothing is served.
        first_party: top-level names that are never installable.
    """

    def __init__(
        self,
        settings: HealingSettings | None = None,
        *,
        dependency_map: Mapping[str, str] | None = None,
        required: Iterable[str] = REQUIRED,
        critical: Iterable[str] = CRITICAL,
        first_party: Iterable[str] = FIRST_PARTY,
    ) -> None:
        chosen = {**REQUIRED, **OPTIONAL} if dependency_map is None else dependency_map
        self.dependency_map: dict[str, str] = dict(sorted(chosen.items()))
        self.max_retries = MAX_RETRIES
        self._given_settings = settings
        self._required = tuple(sorted(set(required) & set(self.dependency_map)))
        self._critical = frozenset(critical)
        self._first_party = frozenset(first_party)
        self._reports = ImportReports()
        self._imports = PatientImports()
        self._heals = BackgroundHeals()
        self._observers: list[Callable[[Attempt], None]] = []
        self._mutex = threading.RLock()
        self._prepared: Mode | None = None

    # -- the parts ---------------------------------------------------------------------------

    @functools.cached_property
    def settings(self) -> HealingSettings:
        """The settings in force.

        Raises:
            SettingsError: when they come from the environment and one cannot be used.
        """
        return self._given_settings or HealingSettings.from_environ(os.environ)

    @functools.cached_property
    def catalog(self) -> Catalog:
        """The map joined with the lock."""
        return Catalog(self.dependency_map, self.settings.lock)

    @functools.cached_property
    def layers(self) -> Layers:
        """The committed fixes."""
        return Layers(self.settings.home, interpreter_key(self.catalog.lock.digest))

    @functools.cached_property
    def journal(self) -> Journal:
        """What was attempted, by every process of this host."""
        return Journal(self.settings.home / "journal.sqlite3")

    @functools.cached_property
    def _healer(self) -> DependencyHealer:
        return DependencyHealer(
            settings=self.settings,
            catalog=self.catalog,
            layers=self.layers,
            journal=self.journal,
            environ=os.environ,
            max_retries=self.max_retries,
            attempted=self._tell,
        )

    @functools.cached_property
    def _diagnostician(self) -> Diagnostician:
        return Diagnostician(self.catalog, self._first_party)

    @functools.cached_property
    def _examination(self) -> Examination:
        return Examination(
            required=self._required,
            critical=self._critical,
            reports=self._reports,
            diagnostician=self._diagnostician,
            journal=self.journal,
        )

    @property
    def mode(self) -> Mode:
        """The mode in force; a home that cannot be written turns heal into report.

        The first look makes the home's directories and loads the layers that are committed.
        """
        with self._mutex:
            if self._prepared is None:
                self._prepared = self._prepare()
            return self._prepared

    def _prepare(self) -> Mode:
        mode = self.settings.mode
        try:
            if mode is Mode.HEAL:
                self.layers.prepare()
                self.layers.prune(tuple(self.dependency_map))
                self._healer.recover()
        except OSError as error:
            logger.warning(
                "the auto-fix home cannot be written, nothing will be healed",
                extra={"fields": {"home": str(self.settings.home), "error": str(error)}},
            )
            mode = Mode.REPORT
        if mode is not Mode.OFF:
            self.layers.load()
        return mode

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
        self._reports.keep(report, error, critical=critical)
        return report

    def find(self, name: str) -> ModuleType | None:
        """Import a module without healing; None when that fails, for whatever reason.

        Sees at once what another process has healed. Costs a dictionary lookup once loaded.
        """
        module = sys.modules.get(name)
        if module is not None and not initializing(module):
            return module
        if self.mode is not Mode.OFF:
            self.layers.load()
        if find_on_disk(top_level(name)) is None:
            return None
        return self.import_module(name, heal=False).loaded

    def resilient_blueprint_import(
        self,
        path: str,
        *,
        critical: bool = False,
        heal: bool = True,
        patience: float | None = None,
    ) -> ModuleType | None:
        """Import a module of the application; None when it fails, and health says so from then on.

        Raises nothing that importing it raises, ``SystemExit`` included. With ``patience`` the
        import is given up after so many seconds; it goes on in its thread, a later call for the
        same path waits for that one and never begins a second.
        """
        self._reports.watched[path] = critical
        work = partial(self.import_module, path, critical=critical, heal=heal)
        if patience is None:
            return work().loaded
        report, ended = self._imports.report(path, work, patience)
        if not ended:
            self._reports.keep(report, critical=critical)
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
            try:
                return func(*args, **kwargs)
            except ImportError as error:
                if not self._heal(self._diagnostician.diagnose(error, error.name or "")).healed:
                    _log_wrapper(func, error)
                    return None
            try:
                return func(*args, **kwargs)
            except ImportError as error:
                _log_wrapper(func, error)
                return None

        return wrapper

    def examine(self, name: str) -> ImportReport:
        """Say whether a module can be imported, without healing.

        Only a module that is loaded, approved or one of the application's own is really imported.
        Any other is looked up on disk, so that no stranger's code runs, its parents' neither.

        Raises:
            InvalidModuleName: when ``name`` is no absolute module name.
        """
        check_module_name(name)
        module = sys.modules.get(name)
        if module is not None:
            return ImportReport(name, success=True, available=True, loaded=module)
        if top_level(name) in {*self.dependency_map, EXAMINABLE}:
            return self._import(name, None, heal=False, deadline=None)[0]
        if find_on_disk(name) is not None:
            return ImportReport(name, success=False, available=True)
        diagnosis = self._diagnostician.absent(name)
        return ImportReport(name, success=False, available=False, diagnosis=diagnosis)

    def import_report(self, name: str) -> ImportReport | None:
        """How the last import of ``name`` through this engine ended, None when there was none."""
        return self._reports.get(name)

    def _import(
        self, name: str, package: str | None, *, heal: bool, deadline: float | None
    ) -> tuple[ImportReport, BaseException | None]:
        """Import, heal what is missing, import again, until it succeeds or nothing more heals."""
        healing = self.mode is Mode.HEAL and heal
        result: FixResult | None = None
        tried: set[str] = set()
        while True:
            module, error = _try_import(name, package)
            if error is None:
                return _report(name, result, loaded=module), None
            diagnosis = self._diagnostician.diagnose(error, name)
            if not healing or diagnosis.heals is None or diagnosis.heals in tried:
                break
            tried.add(diagnosis.heals)
            with self._imports.awaiting(name, diagnosis):
                result = self._healer.heal(diagnosis, deadline)
            if not result.healed:
                break
        available = package is None and find_on_disk(name) is not None
        return _report(name, result, available=available, diagnosis=diagnosis), error

    def follow(self) -> bool:
        """Use what other processes have healed; True when there was something new.

        Costs one ``stat`` when there was not.
        """
        return self.mode is not Mode.OFF and self.layers.load()

    def _heal(self, diagnosis: Diagnosis, deadline: float | None = None) -> FixResult:
        if self.mode is not Mode.HEAL:
            return FixResult(subject=diagnosis.module, outcome=Outcome.MODE)
        return self._healer.heal(diagnosis, deadline)

    # -- healing on request ------------------------------------------------------------------

    def diagnose(self, error: BaseException, requested: str = "") -> Diagnosis:
        """Why an import raised ``error``."""
        return self._diagnostician.diagnose(error, requested or getattr(error, "name", None) or "")

    def heal_in_background(self, diagnosis: Diagnosis) -> BoundedCall[FixResult] | None:
        """Begin to heal what a diagnosis names, or join the heal of it that is under way.

        None when nothing may be attempted now: it is not fixable, the mode forbids it, or its
        budget wants a pause.
        """
        subject = diagnosis.heals
        if subject is None or self.mode is not Mode.HEAL:
            return None
        work = partial(self._heal, diagnosis)
        return self._heals.begin(subject, work, lambda: self._healer.budget(subject).allows)

    def missing(self) -> tuple[Diagnosis, ...]:
        """Why each required dependency that is not there is not there."""
        return self._examination.missing()

    def fix(self, name: str) -> ImportReport:
        """Heal one module now and import it, the budget permitting.

        Raises:
            InvalidModuleName: when ``name`` is no absolute module name.
        """
        check_module_name(name)
        if name in sys.modules:
            return self.examine(name)
        if top_level(name) in self.dependency_map:
            return self.import_module(name)
        report = self.examine(name)
        refused = FixResult(subject=name, outcome=Outcome.NOT_APPROVED)
        return ImportReport(
            name, success=False, available=report.available, diagnosis=report.diagnosis,
            result=refused,
        )  # fmt: skip

    def reset(self, name: str) -> bool:
        """Give a module its whole budget back; False when that could not be written down.

        Raises:
            InvalidModuleName: when ``name`` is not in the dependency map.
        """
        if top_level(name) not in self.dependency_map:
            raise InvalidModuleName(name)
        attempt = f"reset-{time.time_ns()}-{os.getpid()}"
        subject = top_level(name)
        row = Attempt(attempt=attempt, subject=subject, cause="", outcome=RESET)
        return self.journal.append(row)

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
        return self._heal(self._diagnostician.absent(name)).healed

    # -- telling -----------------------------------------------------------------------------

    def observe(self, callback: Callable[[Attempt], None]) -> None:
        """Have ``callback`` told of each attempt to heal that this process makes from now on.

        It is called once for what healed and for what failed, never for a refusal and never for
        another process's attempt, in the thread that healed and before its caller goes on: it must
        not block. ``attempt.at`` is when the attempt ended. What it raises is logged and costs
        nothing. Observers are never removed: they live as long as the engine.
        """
        self._observers.append(callback)

    def _tell(self, attempt: Attempt) -> None:
        for callback in tuple(self._observers):
            try:
                callback(attempt)
            except Exception:
                # A heal counts whatever they make of it who look on.
                fields = {"subject": attempt.subject, "outcome": str(attempt.outcome)}
                logger.exception("attempt could not be told", extra={"fields": fields})

    # -- what was done -----------------------------------------------------------------------

    @property
    def fix_attempts(self) -> Mapping[str, int]:
        """Attempts made by module, over all processes of this host and their restarts."""
        return MappingProxyType(attempts_by_subject(self._totals()))

    def attempts_by_outcome(self) -> tuple[Total, ...]:
        """Every count of attempts by module, cause and outcome."""
        return self._totals()

    def history(self, limit: int = 100) -> tuple[Attempt, ...]:
        """The newest attempts, newest first."""
        return self.journal.attempts(limit)

    def budget(self, name: str) -> Budget:
        """What is left of a module's budget on this host."""
        return self._healer.budget(top_level(name))

    def fixes(self) -> tuple[AppliedFix, ...]:
        """What runs only because it was healed: the committed layers."""
        return tuple(
            AppliedFix(
                kind=KIND,
                subject=layer.subject,
                requirement=layer.requirement,
                installed=layer.installed,
                at=layer.at,
            )
            for layer in self.layers.committed()
        )

    def status(self) -> dict[str, object]:
        """The engine's counters with the field names that clients rely on (DESIGN section 4)."""
        return {
            "mode": str(self.mode),
            "max_retries": self.max_retries,
            "dependency_map_size": len(self.dependency_map),
            "available_dependencies": list(self.dependency_map),
            **statistics(self._totals()),
            "process": {"pid": os.getpid()},
        }

    def _totals(self) -> tuple[Total, ...]:
        return tuple(total for total in self.journal.totals() if total.outcome != RESET)

    # -- health ------------------------------------------------------------------------------

    def health_report(self) -> HealthReport:
        """Every dependency and every watched module, looked at now; heals nothing."""
        mode = self.mode
        return HealthReport(
            timestamp=datetime.now(UTC),
            checks=tuple(self._examination.checks()),
            fixes=self.fixes(),
            auto_fixer={
                "mode": str(mode),
                "fix_attempts": dict(self.fix_attempts),
                "max_retries": self.max_retries,
                "available_fixes": len(self.dependency_map),
            },
        )

    def check_and_fix_system_health(self) -> dict[str, object]:
        """Heal what is missing and approved, then report the health that results."""
        for diagnosis in self.missing():
            self._heal(diagnosis)
        for path, critical in tuple(self._reports.watched.items()):
            if not self._examination.module(path).ok:
                self.import_module(path, critical=critical)
        return self.health_report().to_dict()


def _try_import(name: str, package: str | None) -> tuple[ModuleType | None, BaseException | None]:
    try:
        return import_cleanly(name, package), None
    except BaseException as error:
        # A module may raise anything. An interrupt of the main thread is the operator's.
        if isinstance(error, KeyboardInterrupt) and _in_main_thread():
            raise
        return None, error


def _report(
    name: str,
    result: FixResult | None,
    *,
    loaded: ModuleType | None = None,
    available: bool = True,
    diagnosis: Diagnosis | None = None,
) -> ImportReport:
    return ImportReport(name, loaded is not None, available, loaded, diagnosis, result)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _log_wrapper(func: Callable[..., object], error: ImportError) -> None:
    logger.warning(
        "function gives up for a missing module",
        extra={"fields": {"function": func.__qualname__, "missing": error.name}},
    )


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

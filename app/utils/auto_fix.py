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
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType, ModuleType
from typing import ParamSpec, TypeVar

from app.healing.catalog import CRITICAL, OPTIONAL, REQUIRED, Catalog
from app.healing.dependencies import KIND, DependencyHealer
from app.healing.diagnosis import Cause, Diagnosis, Diagnostician, missing_module
from app.healing.errors import InvalidModuleName
from app.healing.importing import import_cleanly
from app.healing.journal import RESET, Attempt, Journal, Total
from app.healing.layers import Layers, interpreter_key
from app.healing.lookup import find_on_disk
from app.healing.names import check_module_name, top_level
from app.healing.outcomes import ADVICE, FAILURES, FixResult, Outcome
from app.healing.policy import MAX_RETRIES, Budget
from app.healing.report import AppliedFix, Check, HealthReport
from app.healing.settings import HealingSettings, Mode
from app.healing.statistics import attempts_by_subject, statistics
from app.utils.bounded import BoundedCall

logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

#: The project's own top-level names: never installable, whatever the map says.
FIRST_PARTY = frozenset({"app", "benchmarks", "tests", "wsgi"})
#: The one of them that test-import may import: the others do work when they are imported.
EXAMINABLE = "app"
#: Seconds between two heals of one subject that nobody waits for: a failure that lasts a moment
#: must not use the whole budget up.
BACKGROUND_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How an import ended.

    ``available`` says whether the module can be found, ``loaded`` is the module itself. ``result``
    is the last wish to heal, None when there was none. ``stuck`` says that the process was forked
    in the middle of the import, which leaves the module's lock taken for ever.
    """

    module: str
    success: bool
    available: bool
    loaded: ModuleType | None = None
    diagnosis: Diagnosis | None = None
    result: FixResult | None = None
    stuck: bool = False

    @property
    def healed(self) -> bool:
        """Whether a heal made this import succeed."""
        return self.success and self.result is not None and self.result.healed

    @property
    def needs_restart(self) -> bool:
        """Whether only a new process can make it succeed."""
        refused = self.result is not None and self.result.outcome is Outcome.NEEDS_RESTART
        return self.stuck or refused


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
        self._reports: dict[str, ImportReport] = {}
        self._watched: dict[str, bool] = {}
        self._mutex = threading.RLock()
        self._prepared: Mode | None = None
        self._imports: dict[str, BoundedCall[ImportReport]] = {}
        self._heals: dict[str, BoundedCall[FixResult]] = {}
        #: What the imports that are waiting for a heal need.
        self._awaited: dict[str, Diagnosis] = {}

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
        )

    @functools.cached_property
    def _diagnostician(self) -> Diagnostician:
        return Diagnostician(self.catalog, self._first_party)

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
        if module is not None and not _initializing(module):
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
        self._remember(report, error, critical=critical)
        return report

    def find(self, name: str) -> ModuleType | None:
        """Import a module without healing; None when that fails, for whatever reason.

        Sees at once what another process has healed. Costs a dictionary lookup once loaded.
        """
        module = sys.modules.get(name)
        if module is not None and not _initializing(module):
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
        self._watched[path] = critical
        if patience is None:
            return self.import_module(path, critical=critical, heal=heal).loaded
        with self._mutex:
            call = self._imports.get(path)
            # A fork that met the module half-way left its lock taken for ever; before or after
            # that, while the heal ran, the import can be begun anew.
            if call is None or (call.orphaned and not _initializing(sys.modules.get(path))):
                work = partial(self.import_module, path, critical=critical, heal=heal)
                call = self._imports[path] = BoundedCall(work, f"import {path}")
        try:
            report = call.wait(0 if call.orphaned else patience)
        except TimeoutError:
            unfinished = _unfinished(path, self._awaited.get(path), forked=call.orphaned)
            self._remember(unfinished, None, critical=critical)
            return None
        self._imports.pop(path, None)
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
            self._awaited[name] = diagnosis
            try:
                result = self._healer.heal(diagnosis, deadline)
            finally:
                self._awaited.pop(name, None)
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

    def _remember(
        self, report: ImportReport, error: BaseException | None, *, critical: bool
    ) -> None:
        """Keep the report, and log a failure once, not every time that it is met again."""
        before = self._reports.get(report.module)
        self._reports[report.module] = report
        if report.diagnosis is None:
            if before is not None and not before.success:
                fields = {"import": report.module}
                logger.info("module can be imported again", extra={"fields": fields})
            return
        if before is not None and before.diagnosis == report.diagnosis:
            return
        shows_trace = report.diagnosis.cause is Cause.CODE_ERROR
        logger.log(
            logging.ERROR if critical else logging.WARNING,
            "module cannot be imported",
            exc_info=error if shows_trace else None,
            extra={"fields": {"import": report.module, **_told(report)}},
        )

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
        with self._mutex:
            last = self._heals.get(subject)
            if last is not None and not last.orphaned:
                if not last.done:
                    return last
                if last.age < BACKGROUND_PAUSE:
                    return None
            if not self._healer.budget(subject).allows:
                return None
            call = self._heals[subject] = BoundedCall(
                partial(self._heal, diagnosis), f"heal {subject}"
            )
            return call

    def missing(self) -> tuple[Diagnosis, ...]:
        """Why each required dependency that is not there is not there."""
        found = (self._why_missing(name) for name in self._required)
        return tuple(diagnosis for diagnosis in found if diagnosis is not None)

    def _why_missing(self, name: str) -> Diagnosis | None:
        """None when the module is found on disk: whether it imports shows when somebody tries."""
        report = self._reports.get(name)
        known = report.diagnosis if report is not None and name not in sys.modules else None
        if known is not None and known.cause is Cause.MISSING_DISTRIBUTION:
            known = None if find_on_disk(known.module) is not None else known
        if known is None and name not in sys.modules and find_on_disk(name) is None:
            return self._diagnostician.absent(name)
        return known

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
        checks = [self._check_dependency(name) for name in self._required]
        checks += [self._check_module(path) for path in self._watched]
        return HealthReport(
            timestamp=datetime.now(UTC),
            checks=tuple(checks),
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
        for path, critical in self._watched.items():
            if not self._check_module(path).ok:
                self.import_module(path, critical=critical)
        return self.health_report().to_dict()

    def _check_dependency(self, name: str) -> Check:
        critical = name in self._critical
        return self._check(
            f"dependency_{name}", KIND, name, self._why_missing(name), critical=critical
        )

    def _check_module(self, path: str) -> Check:
        report = self._reports.get(path)
        diagnosis = report.diagnosis if report is not None else None
        name = f"module_{path.replace('.', '_')}"
        return self._check(name, "module", path, diagnosis, critical=self._watched.get(path, False))

    def _check(
        self, name: str, kind: str, subject: str, diagnosis: Diagnosis | None, *, critical: bool
    ) -> Check:
        if diagnosis is None:
            return Check(name=name, kind=kind, subject=subject, ok=True, critical=critical)
        outcome, advice = self._last_outcome(diagnosis), diagnosis.advice
        if outcome is not None:
            advice = f"{advice}; the last attempt to heal it failed: {ADVICE[outcome]}"
        return Check(
            name=name,
            kind=kind,
            subject=subject,
            ok=False,
            critical=critical,
            reason=str(diagnosis.cause),
            advice=advice,
            outcome=str(outcome) if outcome is not None else None,
        )

    def _last_outcome(self, diagnosis: Diagnosis) -> Outcome | None:
        """How the last attempt of this host to heal a fault failed; None when there was none."""
        if diagnosis.heals is None:
            return None
        _, outcome = self.journal.last(KIND, diagnosis.heals)
        return Outcome(outcome) if outcome in FAILURES else None


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


def _initializing(module: ModuleType | None) -> bool:
    """Whether another thread is still running the module's body."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _unfinished(path: str, awaited: Diagnosis | None, *, forked: bool) -> ImportReport:
    """The report of an import that has not ended; after a fork nobody is there to end it."""
    if awaited is not None:
        return ImportReport(path, success=False, available=True, diagnosis=awaited)
    what = f"{path} has not finished importing"
    advice = f"{what}: restart this worker" if forked else f"{what}: find out what it waits for"
    diagnosis = Diagnosis(cause=Cause.CODE_ERROR, module=path, advice=advice, chain=(path,))
    return ImportReport(path, success=False, available=True, diagnosis=diagnosis, stuck=forked)


def _told(report: ImportReport) -> dict[str, object]:
    diagnosis, result = report.diagnosis, report.result
    return {
        "cause": str(diagnosis.cause) if diagnosis else None,
        "advice": diagnosis.advice if diagnosis else None,
        "outcome": str(result.outcome) if result else None,
        "outcome_advice": result.advice if result else None,
    }


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

"""The kind of databases: what is declared is probed, and connected anew when it can be.

A repair makes the connections of this process anew, to whichever host of the URL does what the
database's role says. No statement is ever run again, no limit raised, no host tried that the URL
does not name.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.healing.background import free_after_fork
from app.healing.backoff import doubled
from app.healing.kind import Fault, Fix, Outcome, Repair, Scope, Step, Work
from app.kinds.database import migrations, sqlite
from app.kinds.database.backups import Schedule, Unsound, backups_of
from app.kinds.database.causes import MEANINGS, Cause, cause_of
from app.kinds.database.declaration import NEED, Database, InvalidURL
from app.kinds.database.engines import Databases, name_of
from app.kinds.database.figures import COUNTERS, GAUGES, Counts, measured
from app.kinds.database.plans import KIND, STEPS, fault_of
from app.kinds.database.probe import Probed
from app.kinds.database.sqlite import NoBackup
from app.kinds.database.watch import Watch

logger = logging.getLogger(__name__)

#: The outcome of a repair after which the database still fails.
STILL_FAILING = "still_failing"
#: That of one whose file is damaged and has no sound backup.
NO_BACKUP = "no_backup"
#: The subject of an error of a database that the manifest does not declare.
UNDECLARED = "undeclared"
#: Seconds that the first look waits for its probes, so that the first request knows of them.
FIRST_WAIT = 1.0
#: Seconds that a repair lasts at most, and its first and longest pause between two probes.
LONGEST_REPAIR, FIRST_PAUSE, LAST_PAUSE = 10.0, 0.1, 1.0
#: Seconds after which a connection in use is reason enough to look at the database again.
SLOW = 1.0
#: Seconds for which something counts that only requests meet.
MET_SECONDS = 30.0
#: Causes that only requests meet: a probe would find nothing.
MET = frozenset({Cause.DISK_FULL, Cause.POOL_EXHAUSTED, *sqlite.DAMAGED})
#: Causes for which requests are not stopped: there is much that still works.
PARTIAL = frozenset(
    {
        Cause.DISK_FULL,
        Cause.POOL_EXHAUSTED,
        Cause.MIGRATION_PENDING,
        Cause.STALE_CONNECTIONS,
        Cause.LOCKED,
    }
)
#: Causes in which a server may keep the threads waiting that it has not answered yet.
HANGS = frozenset({Cause.TIMEOUT, Cause.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class _Met:
    """What a request has met, and when by the monotonic clock."""

    cause: Cause
    at: float


class DatabaseKind:
    """Watches the declared databases of one process.

    Args:
        declared: the databases that the manifest declares, the same object until they change.
        environ: the process's environment, which has the variables of their URLs.
        home: where the processes of a host tell each other what they found.
        install: imports a package, which is healed where it is missing; whether that went well.
        migrate: whether pending migrations may be run.
    """

    name = KIND
    scope = Scope.PROCESS
    gates = True
    need = NEED
    causes = MEANINGS
    outcomes: Mapping[str, str] = {
        STILL_FAILING: "the database still fails; it is looked at all the time",
        NO_BACKUP: "no backup of the file passes its check: restore one by hand",
    }
    refusals: frozenset[str] = frozenset()
    gauges = GAUGES
    counters = COUNTERS

    def __init__(
        self,
        declared: Callable[[], Mapping[str, Database]],
        environ: Mapping[str, str],
        home: Path,
        install: Callable[[str], bool] = lambda _: False,
        *,
        migrate: bool = False,
    ) -> None:
        self.needs: Mapping[str, tuple[str, ...]] = {}
        self.counts: dict[str, Counts] = {}
        self.databases = Databases(declared, environ, self._host, self._failed)
        self._declared = declared
        self._environ = environ
        self._directory = home / "databases"
        self._install = install
        self._migrate = migrate
        self._mutex = free_after_fork(threading.RLock())
        self._watches: dict[str, Watch] = {}
        self._met: dict[str, _Met] = {}
        self._schedule = Schedule()
        self._faults: dict[str, Fault] = {}
        #: What the connections of this process were made for: URL and host.
        self._connected: dict[str, tuple[str, str]] = {}

    def subjects(self) -> Mapping[str, bool]:
        """The declared databases, each with whether it is critical."""
        return {name: database.critical for name, database in sorted(self._declared().items())}

    def basis(self) -> str:
        """What the declarations and the variables of their URLs amount to."""
        return " ".join(self._watch(each).address for each in self._declared().values())

    def last(self, subject: str) -> Probed:
        """What was found out about a declared database last.

        Raises:
            KeyError: no such database is declared.
        """
        return self._watch(self._declared()[subject]).last

    def adopt(self) -> bool:
        """Take over what probes have found, and begin those that are due; whether a fault changed.

        The first look waits a moment for them.
        """
        with self._mutex:
            declared = self._declared()
            new = [name for name in declared if name not in self._watches]
            watches = [self._watch(database) for database in declared.values()]
            for watch in watches:
                if self.databases.longest(watch.database.name) > SLOW < watch.age:
                    # It may be the server that does not answer, which no statement says.
                    watch.wake()
                watch.look()
                self._back_up(watch)
            until = time.monotonic() + FIRST_WAIT
            for name in new:
                self._watches[name].wait(max(0.0, until - time.monotonic()))
                self._watches[name].look()
            before = self._faults
            faults = {watch.database.name: self._assess(watch) for watch in watches}
            # Replaced whole: other threads read it meanwhile.
            self._faults = {name: fault for name, fault in faults.items() if fault is not None}
            return self._faults != before

    def faults(self) -> Iterable[Fault]:
        """What is wrong with a declared database, as far as probes and requests have met it."""
        return tuple(self._faults.values())

    def unmet(self, subject: str) -> Fault | None:
        """Why a database does not do what its role says; None while that is not known to be so."""
        fault = self._faults.get(subject)
        return None if fault is None or fault.cause in PARTIAL else fault

    def explain(self, error: BaseException) -> Fault | None:
        """What an error of a database in somebody's code says of it; looks at it at once."""
        cause = cause_of(error)
        if cause is None:
            return None
        declared = self._declared()
        name = name_of(error) or (next(iter(declared)) if len(declared) == 1 else UNDECLARED)
        self._failed(name, cause)
        known = self._faults.get(name)
        if cause in MET or known is None:
            return self._fault(name, cause, "")
        return known

    def look(self, subject: str) -> Probed:
        """What a probe of a declared database finds that is made now.

        Raises:
            KeyError: no such database is declared.
        """
        found = self._watch(self._declared()[subject]).probe()
        self.adopt()
        return found

    def recheck(self, fault: Fault) -> Fault | None:
        """The fault as a probe finds it that is made now."""
        if fault.subject in self._declared():
            self.look(fault.subject)
        return self._faults.get(fault.subject)

    def prepare(self) -> None:
        """Nothing has to be made: probes make their directory."""

    def recover(self, subject: str) -> None:
        """Nothing is left behind."""

    def repair(self, fault: Fault, work: Work) -> Repair:
        """Connect anew until a probe says that the database does what it has to."""
        database = self._declared().get(fault.subject)
        if database is None:
            return Repair(outcome=Outcome.HEALED)
        try:
            done = self._act(database, fault.cause, work)
        except NoBackup:
            return Repair(outcome=NO_BACKUP)
        except sqlite3.Error as error:
            return Repair(outcome=STILL_FAILING, error_class=type(error).__name__)
        work.begin(Step.PROBE)
        deadline, tries = time.monotonic() + min(work.deadline, LONGEST_REPAIR), 0
        while True:
            self.databases.dispose(fault.subject)
            found = self._watch(database).probe()
            self.adopt()
            if self._faults.get(fault.subject) is None:
                done += [f"connection to {found.host}" if found.host else "connection"]
                return Repair(outcome=Outcome.HEALED, installed=tuple(done))
            pause = doubled(FIRST_PAUSE, LAST_PAUSE, tries) * random.uniform(0.5, 1.0)  # noqa: S311
            tries += 1
            if time.monotonic() + pause >= deadline:
                return Repair(outcome=STILL_FAILING, error_class=found.cause or "")
            time.sleep(pause)

    def _act(self, database: Database, cause: str, work: Work) -> list[str]:
        """Do what a cause asks for beyond connecting anew; what was done, as the journal has it.

        Raises:
            NoBackup: a damaged file has no sound backup.
            sqlite3.Error: a file cannot be mended.
        """
        if cause == Cause.DRIVER_MISSING:
            work.begin(Step.STAGE)
            # Each package is an attempt of its own, by the rules of packages.
            missing = self._watch(database).last.detail.split()
            return [name for name in missing if self._install(name)]
        if cause == Cause.MIGRATION_PENDING and self._migrate and database.migrations:
            work.begin(Step.COMMIT)
            well = self._install("alembic") and migrations.upgrade(
                database.migrations, self._environ, work.deadline, work.claim
            )
            return ["migrations"] if well else []
        path = self._file(database)
        if path is None:
            return []
        restored = sqlite.mend(path, cause, copies=database.backups, wait=database.connect_timeout)
        self._met.pop(database.name, None)
        if restored is None:
            return []
        fields = {"database": database.name, "backup": restored.name}
        logger.warning("database was restored from a backup", extra={"fields": fields})
        return [restored.name]

    def fixes(self) -> Iterable[Fix]:
        """Nothing runs only because it was healed."""
        return ()

    def measure(self) -> Mapping[str, Mapping[str, Any]]:
        """The series of the declared databases, and who holds their connections."""
        return {
            name: measured(counts, self.databases.usage(name), self.databases.holders(name))
            for name, counts in tuple(self.counts.items())
            if name in self._declared()
        }

    def _watch(self, database: Database) -> Watch:
        """The watch over a database as it is declared now."""
        with self._mutex:
            watch = self._watches.get(database.name)
            if watch is None or watch.database != database:
                watch = self._watches[database.name] = Watch(
                    database, self._environ, self._directory
                )
            return watch

    def _file(self, database: Database) -> Path | None:
        """The file that a database is; None where it is none."""
        try:
            address = database.address(self._environ)
        except InvalidURL:
            return None
        return sqlite.path_of(address.url) if address.dialect == "sqlite" else None

    def _back_up(self, watch: Watch) -> None:
        """Have a file backed up that is well; one whose copy is damaged is damaged itself."""
        database, path = watch.database, self._file(watch.database)
        if database.backups is not None and path is not None and watch.last.cause is None:
            error = self._schedule.look(path, database.backups)
            cause = Cause.CORRUPT if isinstance(error, Unsound) else error and cause_of(error)
            if cause:
                self._failed(database.name, cause)

    def _host(self, name: str) -> str:
        watch = self._watches.get(name)
        return watch.last.host if watch is not None else ""

    def _failed(self, name: str, cause: Cause) -> None:
        """Note what a request has met, and look at the database at once."""
        if cause in MET:
            self._met[name] = _Met(cause, time.monotonic())
        watch = self._watches.get(name)
        if watch is not None and cause != Cause.POOL_EXHAUSTED:
            watch.wake()

    def _assess(self, watch: Watch) -> Fault | None:
        """What is wrong with a database now; brings its connections in step with that."""
        name, last = watch.database.name, watch.last
        if not watch.known:
            return None
        cause = Cause(last.cause) if last.cause else None
        well = cause is None or cause in PARTIAL
        self._count(name, last, well=well)
        if well:
            self._follow_host(name, (watch.address, last.host))
        elif cause in HANGS:
            self.databases.cut_off(name, watch.database.connect_timeout)
        met = self._met.get(name)
        if well and met is not None and self._still_so(name, met):
            cause = met.cause
        if cause is None:
            return None
        detail = last.detail if cause == last.cause else ""
        if cause == Cause.MIGRATION_PENDING:
            detail = ", ".join(last.pending)
        elif cause == Cause.POOL_EXHAUSTED:
            detail = "; ".join(sorted(set(self.databases.holders(name))))
        return self._fault(name, cause, detail)

    def _still_so(self, name: str, met: _Met) -> bool:
        if met.cause == Cause.POOL_EXHAUSTED:
            usage = self.databases.usage(name)
            return usage.in_use >= usage.most > 0
        return time.monotonic() - met.at < MET_SECONDS

    def _count(self, name: str, last: Probed, *, well: bool) -> None:
        """Count and log when a database goes down and comes back."""
        counts = self.counts.setdefault(name, Counts())
        fields: dict[str, object] = {"database": name, "host": last.host}
        if not well and counts.down_since is None:
            counts.down_since = time.monotonic()
            fields["cause"] = last.cause
            logger.warning("database is down", extra={"fields": fields})
        elif well and counts.down_since is not None:
            seconds = time.monotonic() - counts.down_since
            counts.down_since = None
            counts.seconds_down += seconds
            counts.reconnects += 1
            self.databases.dispose(name)
            fields["seconds"] = round(seconds, 3)
            logger.info("database is back", extra={"fields": fields})

    def _follow_host(self, name: str, now: tuple[str, str]) -> None:
        """Make the connections anew that were made for another host or URL."""
        before = self._connected.get(name)
        if before == now:
            return
        self._connected[name] = now
        if before is None:
            return
        self.databases.dispose(name)
        if before[1] != now[1]:
            self.counts[name].failovers += 1
            fields = {"database": name, "before": before[1], "host": now[1]}
            logger.warning("database is served by another host", extra={"fields": fields})

    def _fault(self, name: str, cause: Cause, detail: str) -> Fault:
        database = self._declared().get(name)
        path = None if database is None else self._file(database)
        steps = {**(STEPS if path is None else sqlite.STEPS)}
        if self._migrate:
            steps[Cause.MIGRATION_PENDING] = "run the migrations with Alembic"
        copies = database and path and database.backups
        lost = cause in sqlite.DAMAGED and not (copies and path and backups_of(path, copies))
        if lost:
            detail = "there is no backup: restore one by hand"
        return fault_of(name, cause, detail, None if database is None or lost else steps)

"""The engine: what happens to a fault of any kind, from its detection to its journal row.

It owns the mode, the budget, the claims and the journal; what a fault is and how it is mended is
its kind's business. A heal reads from top to bottom in :meth:`Engine.heal`.
"""

from __future__ import annotations

import errno
import functools
import logging
import operator
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from app.healing.background import BoundedCall, free_after_fork
from app.healing.budget import Budget, Budgets, FixAttempts
from app.healing.claims import Claims, Mark, read_mark, write_mark
from app.healing.home import TROUBLE, Untrusted, make_directory, trouble
from app.healing.ignored import IgnoredFaults
from app.healing.journal import RESET, Attempt, Journal, Rates, Total
from app.healing.kind import (
    ADVICE,
    REFUSALS,
    Confirmable,
    Fault,
    Fix,
    Kind,
    Measuring,
    NothingToConfirm,
    Outcome,
    Repair,
    Step,
    Work,
)
from app.healing.locks import Busy, Overtaken, has_locks
from app.healing.report import Check
from app.settings.declarations import HealingSettings, Mode
from app.settings.errors import OrchestratorError

logger = logging.getLogger(__name__)

#: Seconds between two looks at whether the home can take a fix.
HOME_LOOK = 2.0
#: Seconds that a heal waits for its row in a journal that is locked.
JOURNAL_PATIENCE = 0.3
#: Seconds for which open faults that were found count as recent.
RECENT = 5.0
#: Seconds between two heals of one subject that nobody waits for: a failure that lasts a moment
#: must not use the whole budget up.
BACKGROUND_PAUSE = 1.0


#: What others have recorded meanwhile and is no reason to try nothing.
PASSED = frozenset({Outcome.HEALED, Outcome.INTERRUPTED, Outcome.LOST, RESET})


class UnknownFault(OrchestratorError):
    """Nothing is known to be wrong with the subject of that kind."""

    def __init__(self, kind: str, subject: str) -> None:
        super().__init__(f"no fault of {kind} {subject[:80]!r} is known")
        self.kind, self.subject = kind, subject


class PlanChanged(OrchestratorError):
    """What would be done is not what was approved."""

    def __init__(self, kind: str, subject: str) -> None:
        super().__init__(f"the plan for {kind} {subject[:80]!r} has changed: look at it again")
        self.kind, self.subject = kind, subject


@dataclass(frozen=True, slots=True)
class Approval:
    """The digest of a plan, and who wants to have that one carried out."""

    digest: str
    caller: str = ""

    def of(self, fault: Fault) -> Fault:
        """The fault without its refusal, where that only waits for this approval.

        Raises:
            PlanChanged: its plan is another one.
        """
        if fault.plan is None or fault.plan.digest != self.digest:
            raise PlanChanged(fault.kind, fault.subject)
        return replace(fault, refusal=None) if fault.plan.on_request else fault


@dataclass(frozen=True, slots=True)
class OpenFault:
    """A fault with what has been tried: how that ended, and when it is tried again.

    ``outcome`` is None while nothing was tried or refused; ``reason`` says what can be done about
    the outcome, in a sentence that is safe to show. ``since`` is when this process first saw it and
    ``at`` when it last looked, in seconds since the epoch.
    """

    fault: Fault
    outcome: str | None
    reason: str | None
    budget: Budget
    since: float
    at: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same fault for as long as it is open."""
        return _key(self.fault)


#: What was found before anything was looked for.
LONG_AGO: tuple[float, tuple[OpenFault, ...]] = (float("-inf"), ())


class Engine:
    """Heals the faults of its kinds for one home.

    Args:
        settings: where state is kept and what is allowed; from the environment when left out.
    """

    def __init__(self, settings: HealingSettings | None = None) -> None:
        self.budgets = Budgets(lambda: self.journal, self._basis)
        self._given_settings = settings
        self._observers: list[Callable[[Attempt], None]] = []
        self._mutex = free_after_fork(threading.RLock())
        self._mode: Mode | None = None
        #: Whether the home's file system has locks, as far as it was tried.
        self.has_locks = True
        self._look_at = float("-inf")
        self._trouble: str | None = None
        self._stopping = False
        #: The attempts that are under way: the process, its claim, and what that says.
        self._active: dict[str, tuple[int, int, Mark]] = {}
        self._background: dict[tuple[str, str], BoundedCall[Repair]] = {}
        #: The open faults that were found last, and when; that is long ago where they have changed.
        self._recent: tuple[float, tuple[OpenFault, ...]] = LONG_AGO
        #: Counts what was healed or adopted: what was looked for before that is no longer recent.
        self._changes = 0
        #: When each open fault was first seen, by kind, subject and cause.
        self._since: dict[tuple[str, str, str], float] = {}
        #: What was refused last, so that the log has each refusal once.
        self._refused: dict[tuple[str, str], tuple[str, str]] = {}

    @functools.cached_property
    def settings(self) -> HealingSettings:
        """The settings in force.

        Raises:
            SettingsError: when they come from the environment and one cannot be used.
        """
        return self._given_settings or HealingSettings.from_environ(os.environ)

    @functools.cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kinds by name; subjects of the first one are spoken of without naming it."""
        return {}

    def add_kind(self, kind: Kind) -> None:
        """Heal faults of one more kind from now on."""
        with self._mutex:
            self.kinds[kind.name] = kind
            # So that it is prepared, too.
            self._mode = None

    @functools.cached_property
    def journal(self) -> Journal:
        """What was attempted, by every process of this host."""
        return Journal(self.settings.home / "journal.sqlite3")

    @functools.cached_property
    def ignored(self) -> IgnoredFaults:
        """The faults that an operator of this host ignores for a while."""
        return IgnoredFaults(self.settings.home, self._basis)

    @functools.cached_property
    def claims(self) -> Claims:
        """Who works on what, on this host."""
        return Claims(self.settings.home)

    # -- mode --------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """The mode in force; a home that cannot take a fix turns heal into report, and back."""
        return self.prepare()

    def prepare(self) -> Mode:
        """Make the home's directories and adopt what is committed, if that is not done yet.

        Looks every other second whether the home can take fixes, and returns the mode in force.
        """
        with self._mutex:
            now = time.monotonic()
            if self._mode is None or (self.settings.mode is Mode.HEAL and now >= self._look_at):
                self._look_at = now + HOME_LOOK
                self._mode = self._mode_now()
            return self._mode

    @property
    def mode_reason(self) -> str | None:
        """Why the mode is not the one that was set, as a code; None when it is."""
        return self._trouble if self.mode is not self.settings.mode else None

    def _mode_now(self) -> Mode:
        first, before = self._mode is None, self._trouble
        if self.settings.mode is Mode.HEAL:
            self._trouble = trouble(self.settings.home)
            if self._trouble is None and (
                first or before is not None or not self.claims.directory.is_dir()
            ):
                try:
                    self._furnish()
                except OSError as error:
                    full = _trouble_of(error).outcome == Outcome.DISK_FULL
                    self._trouble = "home_full" if full else "home_unwritable"
                    if isinstance(error, Untrusted):
                        self._trouble = "home_untrusted"
            if self._trouble != before:
                fields = {"home": str(self.settings.home), "reason": self._trouble or before}
                if self._trouble is not None:
                    what, _ = TROUBLE[self._trouble]
                    logger.warning("%s, nothing will be healed", what, extra={"fields": fields})
                else:
                    logger.info("the auto-fix home can take fixes again", extra={"fields": fields})
        if first and self.settings.mode is not Mode.OFF:
            for kind in self.kinds.values():
                kind.adopt()
        return self.settings.mode if self._trouble is None else Mode.REPORT

    def _furnish(self) -> None:
        """Make the directories, and end what processes began that have died since."""
        make_directory(self.claims.directory)
        locks, self.has_locks = self.has_locks, has_locks(self.claims.directory)
        if locks and not self.has_locks:
            logger.warning("the home has no file locks: lease files take their place")
        for kind in self.kinds.values():
            kind.prepare()
        for mark in self.claims.marks():
            # One claim that cannot be taken is a matter of its own subject.
            if mark.kind in self.kinds:
                with (
                    suppress(OSError),
                    self.claims.hold(mark.kind, mark.subject, wait=0) as claim,
                ):
                    self._end_interrupted(self.kinds[mark.kind], mark.subject, claim)

    # -- what is wrong -----------------------------------------------------------------------

    def faults(self) -> tuple[Fault, ...]:
        """What is wrong now, with the subjects of every kind, and which blueprints need them."""
        return tuple(
            replace(fault, needed_by=(*fault.needed_by, *kind.needs.get(fault.subject, ())))
            for kind in self.kinds.values()
            for fault in kind.faults()
        )

    def fault(self, kind: str, subject: str) -> Fault:
        """What is wrong with one subject.

        Raises:
            UnknownFault: when nothing is known to be.
        """
        for fault in self.faults():
            if (fault.kind, fault.subject) == (kind, subject):
                return fault
        raise UnknownFault(kind, subject)

    def open_faults(self) -> tuple[OpenFault, ...]:
        """The faults with what was tried about them, by any process of this host."""
        changes = self._changes
        opened = tuple(self._opened(self.faults()))
        self._since = {each.key: each.since for each in opened}
        self._recent = (time.monotonic(), opened) if changes == self._changes else LONG_AGO
        return opened

    def recent_faults(self) -> tuple[OpenFault, ...]:
        """The open faults as they were looked for in the last seconds: a worker does that anyway.

        Looks again when nobody has, or when something was healed or adopted since.
        """
        at, opened = self._recent
        return opened if time.monotonic() - at < RECENT else self.open_faults()

    def unmet(self, needs: Mapping[str, Iterable[str]]) -> Iterator[Fault]:
        """Why what is needed is not there: needs are names of subjects by their kind's ``need``.

        What comes and goes is left out: nothing waits for it.
        """
        for kind in self.kinds.values():
            if not kind.gates:
                yield from filter(None, map(kind.unmet, needs.get(kind.need, ())))

    def gates(self, needs: Mapping[str, Iterable[str]]) -> tuple[Callable[[], Fault | None], ...]:
        """For each need that comes and goes a call that says why it is not there at that moment."""
        return tuple(
            partial(kind.unmet, subject)
            for kind in self.kinds.values()
            if kind.gates
            for subject in needs.get(kind.need, ())
        )

    def measuring(self) -> dict[str, Measuring]:
        """The kinds that measure their subjects, by their names."""
        return {name: kind for name, kind in self.kinds.items() if isinstance(kind, Measuring)}

    def explain(self, error: BaseException) -> Fault | None:
        """The fault that an exception of somebody's code comes from, when a kind knows that."""
        return next(filter(None, (kind.explain(error) for kind in self.kinds.values())), None)

    def adopt(self) -> bool:
        """Use what other processes have committed; True when there was something new.

        Looks, too, whether the home can take fixes by now, and the journal what waits for it.
        """
        if self.mode is Mode.OFF:
            return False
        self.journal.write_waiting()
        adopted = [kind.adopt() for kind in self.kinds.values()]
        if any(adopted):
            self._changes += 1
            self._recent = LONG_AGO
        return any(adopted)

    def fixes(self) -> tuple[Fix, ...]:
        """What runs only because it was healed."""
        return tuple(fix for kind in self.kinds.values() for fix in kind.fixes())

    def checks(self) -> Iterator[Check]:
        """A check for each subject that is watched, and for every other one with a fault."""
        watched: set[tuple[str, str]] = set()
        opened = {}
        for found in self.open_faults():
            # A watched subject can fail for another one's fault.
            for subject in (found.fault.subject, *found.fault.needed_by):
                opened[found.fault.kind, subject] = found
        for kind in self.kinds.values():
            for subject, critical in kind.subjects().items():
                watched.add((kind.name, subject))
                fault = opened.get((kind.name, subject))
                yield self._check(kind.name, subject, fault, critical=critical)
        for (kind_name, subject), fault in opened.items():
            if not fault.fault.needed_by and (kind_name, subject) not in watched:
                yield self._check(kind_name, subject, fault)

    def checks_of(
        self, kind: str, faults: Mapping[str, Fault | None], critical: Container[str] = ()
    ) -> list[Check]:
        """A check for each subject, failed where it has a fault."""
        opened = iter(self._opened(fault for fault in faults.values() if fault is not None))
        return [
            self._check(
                kind, subject, next(opened) if fault else None, critical=subject in critical
            )
            for subject, fault in faults.items()
        ]

    def _check(
        self, kind: str, subject: str, opened: OpenFault | None, *, critical: bool = False
    ) -> Check:
        """The health check of a subject: failed while it has a fault, with what was tried."""
        name = f"{kind}_{subject.replace('.', '_')}"
        if opened is None:
            return Check(name=name, kind=kind, subject=subject, ok=True, critical=critical)
        fault, advice = opened.fault, opened.fault.advice
        # The advice itself says so of what nobody may fix.
        if opened.outcome not in {None, Outcome.NOT_FIXABLE, Outcome.NOT_APPROVED}:
            refused = opened.outcome in REFUSALS | self.kinds[fault.kind].refusals
            tried = "not healed" if refused else "the last attempt to heal it failed"
            advice = f"{advice}; {tried}: {opened.reason}"
        return Check(
            name=name,
            kind=kind,
            subject=subject,
            ok=False,
            critical=critical,
            reason=fault.cause,
            advice=advice,
            outcome=opened.outcome,
        )

    def _opened(self, faults: Iterable[Fault]) -> list[OpenFault]:
        """The faults with what was tried about them, in one look at the journal."""
        found = tuple(faults)
        standings = self.budgets.standings((fault.kind, fault.subject) for fault in found)
        since, now = self._since, time.time()
        opened = []
        for fault in found:
            standing = standings[fault.kind, fault.subject]
            outcome = fault.refusal
            if outcome is None and standing.outcome not in {"", Outcome.HEALED, RESET}:
                outcome = standing.outcome
            if outcome is None and self.mode is not Mode.HEAL:
                outcome = Outcome.MODE
            reason = None if outcome is None else self.advice(fault.kind, outcome)
            left = self.budgets.left((fault.kind, fault.subject), standing.failures)
            first_seen = since.get(_key(fault), now)
            opened.append(OpenFault(fault, outcome, reason, left, first_seen, now))
        return opened

    def advice(self, kind: str, outcome: str) -> str:
        """What can be done about an outcome, in a sentence that is safe to show."""
        return self.kinds[kind].outcomes.get(outcome) or ADVICE.get(outcome, outcome)

    # -- healing -----------------------------------------------------------------------------

    def heal(
        self, fault: Fault, deadline: float | None = None, approval: Approval | None = None
    ) -> Repair:
        """Heal a fault within ``deadline`` seconds, or say why not.

        Whoever comes second waits for the first and shares its outcome. Nothing is raised for what
        the world does.

        Raises:
            PlanChanged: what would be done is not what ``approval`` is for.
        """
        kind, key = self.kinds[fault.kind], (fault.kind, fault.subject)
        if approval is not None:
            fault = approval.of(fault)
        if fault.refusal is not None:
            repair = Repair(outcome=fault.refusal)
        elif self._stopping:
            repair = Repair(outcome=Outcome.STOPPING)
        elif self.mode is not Mode.HEAL:
            repair = Repair(outcome=Outcome.MODE)
        else:
            limit = self.settings.install_deadline if deadline is None else deadline
            repair = self._claimed(kind, fault, limit, approval)
        advice = repair.advice or self.advice(fault.kind, repair.outcome)
        repair = replace(repair, advice=advice)
        if repair.outcome in REFUSALS | kind.refusals:
            self._log_refusal(fault, repair)
        elif repair.healed:
            self._refused.pop(key, None)
            self.budgets.healed(key)
        return repair

    def _log_refusal(self, fault: Fault, repair: Repair) -> None:
        """Log once why nothing was tried, not every time that it is met again."""
        key, refused = (fault.kind, fault.subject), (repair.outcome, fault.cause)
        if self._refused.get(key) != refused:
            self._refused[key] = refused
            self._log("fault is not healed", fault, repair, logging.WARNING)

    def _claimed(self, kind: Kind, fault: Fault, limit: float, approval: Approval | None) -> Repair:
        """Heal as the only one on this host, or share what another has done meanwhile."""

        def done() -> bool:
            return self._stopping or (kind.adopt() and kind.recheck(fault) is None)

        wait = limit + self.settings.probe_deadline
        try:
            seen = self.budgets.standing(fault.kind, fault.subject).id
            with self.claims.hold(fault.kind, fault.subject, wait, done) as claim:
                self._end_interrupted(kind, fault.subject, claim)
                kind.adopt()
                current = kind.recheck(fault)
                if current is None:
                    return Repair(outcome=Outcome.HEALED)
                if approval is not None:
                    current = approval.of(current)
                return self._refusal(current, seen) or self._attempt(
                    kind, current, claim, limit, approval.caller if approval else ""
                )
        except PlanChanged:
            raise
        except Overtaken:
            return Repair(outcome=Outcome.STOPPING if self._stopping else Outcome.HEALED)
        except Busy:
            return Repair(outcome=Outcome.BUSY, retry_after=limit)
        except Exception as error:  # noqa: BLE001 - logged, and nothing may get out
            # The claim cannot be taken, or the kind made a mistake: nothing was tried.
            repair = _trouble_of(error)
            self._log_refusal(fault, repair)
            return repair

    def _refusal(self, fault: Fault, seen: int) -> Repair | None:
        """Why nothing is tried; ``seen`` is the newest row that was there before the claim."""
        now = self.budgets.standing(fault.kind, fault.subject)
        if now.id > seen and now.outcome not in PASSED:
            return Repair(outcome=now.outcome)
        if fault.refusal is not None or self._stopping:
            return Repair(outcome=fault.refusal or Outcome.STOPPING)
        left = self.budgets.left((fault.kind, fault.subject), now.failures)
        return None if left.allows else Repair(outcome=Outcome.BUDGET, retry_after=left.retry_after)

    def _attempt(self, kind: Kind, fault: Fault, claim: int, limit: float, caller: str) -> Repair:
        """Repair, and record how that ended, whatever it was."""
        started, attempt = time.monotonic(), uuid.uuid4().hex
        mark = Mark(kind.name, fault.subject, attempt, fault.cause, kind.basis())
        self._refused.pop((kind.name, fault.subject), None)
        try:
            with self._mutex:
                self._active[attempt] = (os.getpid(), claim, mark)
                write_mark(claim, mark)
            kind.recover(fault.subject)
            work = Work(
                attempt=attempt,
                claim=claim,
                deadline=limit,
                caller=caller,
                begin=partial(self._begin, claim),
            )
            repair = kind.repair(fault, work)
        except Exception as error:
            if not isinstance(error, OSError):
                # The kind's own mistake: it costs this attempt, the service goes on.
                logger.exception("repair failed", extra={"fields": {"subject": fault.subject}})
            repair = _trouble_of(error)
        repair = replace(repair, seconds=repair.seconds or time.monotonic() - started)
        row = Attempt(
            attempt=attempt,
            kind=kind.name,
            subject=fault.subject,
            cause=fault.cause,
            outcome=repair.outcome,
            requirement=repair.requirement,
            installed=repair.installed,
            hashes=repair.hashes,
            basis=kind.basis(),
            seconds=repair.seconds,
            error_class=repair.error_class,
            at=time.time(),
        )
        recorded = self._record(row)
        self._changes += 1
        self._recent = LONG_AGO
        # The next holder records what stays marked once more, which counts once.
        with self._mutex, suppress(OSError):
            del self._active[attempt]
            write_mark(claim, None if recorded else replace(mark, outcome=row.outcome))
        if repair.healed:
            self._log("fault healed", fault, repair, logging.INFO)
        else:
            self._log("fault could not be healed", fault, repair, logging.WARNING)
        for callback in tuple(self._observers):
            try:
                callback(row)
            except Exception:
                # A heal counts whatever its observers make of it.
                fields = {"subject": row.subject, "outcome": str(row.outcome)}
                logger.exception("observer failed", extra={"fields": fields})
        return repair

    def _record(self, row: Attempt) -> bool:
        """Write a row to the journal; False when others have it: then it is written a while later.

        A request may be waiting for the heal, and has no need to wait for the journal.
        """
        try:
            return BoundedCall(partial(self.journal.append, row), "journal").wait(JOURNAL_PATIENCE)
        except TimeoutError:
            return False

    def _begin(self, claim: int, step: Step) -> None:
        """Have everybody on this host see which step of an attempt is under way."""
        with self._mutex, suppress(OSError):
            mark = read_mark(claim)
            if mark is not None:
                write_mark(claim, replace(mark, step=step))

    def _end_interrupted(self, kind: Kind, subject: str, claim: int) -> None:
        """Record the attempt of a claim's holder who died, and remove what it has left."""
        mark = read_mark(claim)
        if mark is None or (mark.kind, mark.subject) != (kind.name, subject):
            return
        kind.recover(mark.subject)
        fix = next((fix for fix in kind.fixes() if fix.attempt == mark.attempt), None)
        if fix is None and mark.outcome == Outcome.STOPPING:
            # A reload is no failed attempt.
            with suppress(OSError):
                write_mark(claim, None)
            return
        if fix is None and not mark.outcome:
            fields = {"kind": mark.kind, "subject": mark.subject, "attempt": mark.attempt}
            logger.warning("an earlier heal was interrupted", extra={"fields": fields})
        recorded = self._record(
            Attempt(
                attempt=mark.attempt,
                kind=mark.kind,
                subject=mark.subject,
                cause=mark.cause,
                outcome=Outcome.HEALED if fix else mark.outcome or Outcome.INTERRUPTED,
                requirement="" if fix is None else fix.requirement,
                installed=() if fix is None else fix.installed,
                hashes=() if fix is None else fix.hashes,
                basis=mark.basis,
                seconds=0.0 if fix is None else fix.seconds,
            )
        )
        if recorded:
            with suppress(OSError):
                write_mark(claim, None)

    def heal_in_background(self, fault: Fault) -> BoundedCall[Repair] | None:
        """Begin to heal a fault, or join the heal of it that is under way.

        None when nothing may be tried now: it is refused, which the log has once, or its budget
        wants a pause.
        """
        if self._stopping:
            return None
        if fault.refusal is not None or self.mode is not Mode.HEAL:
            self.heal(fault)
            return None
        key = (fault.kind, fault.subject)
        with self._mutex:
            last = self._background.get(key)
            if last is not None and not last.orphaned:
                if not last.done:
                    return last
                if last.age < BACKGROUND_PAUSE:
                    return None
            if not self.budget_of(*key).allows:
                return None
            call = BoundedCall(partial(self.heal, fault), f"heal {fault.subject}")
            self._background[key] = call
            return call

    def stop(self) -> None:
        """Begin no heal any more: this process is about to end.

        One that is under way goes on; if it is cut off, that costs no budget.
        """
        with self._mutex:
            self._stopping = True
            for pid, claim, mark in self._active.values():
                if pid == os.getpid():
                    with suppress(OSError):
                        write_mark(claim, replace(mark, outcome=Outcome.STOPPING))
        self.journal.write_waiting()

    def fix_fault(
        self, kind: str, subject: str, plan: str | None = None, caller: str = ""
    ) -> Repair:
        """Heal one open fault now; with ``plan``, only if that digest is still its plan's.

        What is done on request alone is done where there is a ``plan``, for ``caller``.

        Raises:
            UnknownFault: when nothing is known to be wrong with it.
            PlanChanged: when its plan is another one by now.
        """
        approval = None if plan is None else Approval(plan, caller)
        return self.heal(self.fault(kind, subject), approval=approval)

    def begin_fix(self, kind: str, subject: str, plan: str, caller: str = "") -> None:
        """Begin what :meth:`fix_fault` does, or join it where it is under way; waits for nothing.

        A person has asked: what was tried in vain before does not count against it.

        Raises:
            UnknownFault: when nothing is known to be wrong with it.
            PlanChanged: when its plan is another one by now.
        """
        approval = Approval(plan, caller)
        fault = approval.of(self.fault(kind, subject))
        with self._mutex:
            last = self._background.get((kind, subject))
            if last is None or last.done or last.orphaned:
                if not self.budget_of(kind, subject).allows:
                    self.reset_budget(kind, subject)
                heal = partial(self.heal, fault, approval=approval)
                self._background[kind, subject] = BoundedCall(heal, f"heal {subject}")

    def confirm(self, kind: str, subject: str, caller: str, *, keep: bool = True) -> str:
        """Keep what a fix on request has changed, or take it back; how that has ended.

        Raises:
            NothingToConfirm: no fix of the subject waits for that.
            OtherCaller: somebody else has asked for the fix.
            OSError: it cannot be ended now.
        """
        found: object = self.kinds.get(kind)
        if not isinstance(found, Confirmable):
            raise NothingToConfirm(subject)
        return found.confirm(subject, caller, keep=keep)

    def unconfirmed(self) -> dict[tuple[str, str], float]:
        """The fixes that wait for a confirmation, by kind and subject, each with until when."""
        return {
            (kind.name, subject): until
            for kind in self.kinds.values()
            if isinstance(kind, Confirmable)
            for subject, until in kind.unconfirmed().items()
        }

    def settle(self, *, healthy: bool | None) -> None:
        """End what nobody has confirmed in time; for ``healthy`` see ``Confirmable``."""
        if self.mode is Mode.HEAL:
            for kind in self.kinds.values():
                if isinstance(kind, Confirmable):
                    kind.settle(healthy=healthy)

    def recheck(self, kind: str, subject: str) -> Fault | None:
        """Look again at one open fault; None when it is gone.

        Raises:
            UnknownFault: when nothing was known to be wrong with it.
        """
        fault = self.fault(kind, subject)
        self.adopt()
        return self.kinds[kind].recheck(fault)

    def under_way(self) -> dict[tuple[str, str], Mark]:
        """The attempts that are being made on this host, by kind and subject."""
        try:
            marks = self.claims.marks()
        except OSError:
            # A home whose name no file system takes: nobody works there.
            marks = []
        return {(mark.kind, mark.subject): mark for mark in marks if not mark.outcome}

    def _log(self, event: str, fault: Fault, repair: Repair, level: int) -> None:
        fields: dict[str, object] = {
            "kind": fault.kind,
            "subject": fault.subject,
            "cause": str(fault.cause),
            "outcome": str(repair.outcome),
        }
        if repair.healed:
            fields["requirement"] = repair.requirement
            fields["installed"] = " ".join(repair.installed)
        else:
            # That nobody may mend it here says less than how it is mended.
            said = repair.outcome in {Outcome.NOT_FIXABLE, Outcome.NOT_APPROVED}
            own = fault.advice if said else ""
            fields["advice"] = own or self.advice(fault.kind, repair.outcome)
        if repair.seconds:
            fields["seconds"] = round(repair.seconds, 3)
        if repair.error_class or repair.detail:
            fields |= {"error": repair.error_class, "detail": repair.detail}
        logger.log(level, event, extra={"fields": fields})

    def observe(self, callback: Callable[[Attempt], None]) -> None:
        """Call ``callback`` with each attempt that this process makes from now on.

        It is called once for what healed and for what failed, never for a refusal and never for
        another process's attempt, in the thread that healed and before its caller goes on: it must
        not block. ``attempt.at`` is when the attempt ended. What it raises is logged and costs
        nothing. Observers are never removed: they live as long as the engine.
        """
        self._observers.append(callback)

    # -- budget and history ------------------------------------------------------------------

    def label(self, kind: str, subject: str) -> str:
        """A subject as people name it: ``kind:subject``, for the first kind the subject alone."""
        return subject if kind == next(iter(self.kinds)) else f"{kind}:{subject}"

    def named(self, label: str) -> tuple[str, str]:
        """The kind and the subject that a label names."""
        kind, colon, subject = label.partition(":")
        return (kind, subject) if colon and kind in self.kinds else (next(iter(self.kinds)), label)

    @property
    def max_retries(self) -> int:
        """Attempts at a subject before the first pause."""
        return self.budgets.max_retries

    @max_retries.setter
    def max_retries(self, attempts: int) -> None:
        self.budgets.max_retries = attempts

    def budget_of(self, kind: str, subject: str) -> Budget:
        """What is left of the budget of a subject, over all processes of this host."""
        return self.budgets.of([(kind, subject)])[kind, subject]

    def reset_budget(self, kind: str, subject: str) -> bool:
        """Give a subject its whole budget back; False when that could not be written down."""
        self.prepare()
        return self.budgets.reset(kind, subject)

    def _basis(self, kind: str) -> str | None:
        return self.kinds[kind].basis() if kind in self.kinds else None

    @property
    def fix_attempts(self) -> dict[str, int]:
        """Attempts made by subject, over all processes of this host and their restarts.

        What is assigned counts as attempts that were made already, for this process.
        """
        return FixAttempts(self._labelled(self.journal.totals()), self._assign)

    @fix_attempts.setter
    def fix_attempts(self, counts: Mapping[str, int]) -> None:
        for label in {*self.fix_attempts, *counts}:
            self._assign(label, counts.get(label, 0))

    def _assign(self, label: str, attempts: int) -> None:
        self.budgets.assign(self.named(label), operator.index(attempts))

    def _labelled(self, totals: Iterable[Total]) -> dict[str, int]:
        return {self.label(*key): count for key, count in self.budgets.attempts(totals).items()}

    def attempts_by_outcome(self) -> tuple[Total, ...]:
        """Every count of attempts by kind, subject, cause and outcome."""
        return self.journal.totals()

    def history(
        self, limit: int = 100, *, kind: str = "", subject: str = "", outcome: str = ""
    ) -> tuple[Attempt, ...]:
        """The newest attempts, newest first; only those of a kind, subject or outcome if given."""
        return self.journal.attempts(limit, kind=kind, subject=subject, outcome=outcome)

    def status(self) -> dict[str, object]:
        """The engine's counters with the field names that clients rely on."""
        totals = self.journal.totals()
        by_subject: dict[tuple[str, str], list[Total]] = {}
        for total in totals:
            by_subject.setdefault((total.kind, total.subject), []).append(total)
        overall, budgets = Rates.of(totals), self.budgets.of(by_subject)
        return {
            "mode": str(self.mode),
            "mode_reason": self.mode_reason,
            "max_retries": self.max_retries,
            "fix_attempts": self._labelled(totals),
            "success_count": overall.successes,
            "failure_count": overall.failures,
            "success_rate": overall.success_rate,
            "failure_rate": overall.failure_rate,
            "modules": {
                self.label(*subject): Rates.of(own)._asdict() for subject, own in by_subject.items()
            },
            "budgets": {
                self.label(*subject): {
                    "attempts_left": left.attempts_left,
                    "retry_after": round(left.retry_after, 1),
                }
                for subject, left in budgets.items()
            },
            "process": {"pid": os.getpid(), "host": socket.gethostname()},
        }


def _key(fault: Fault) -> tuple[str, str, str]:
    return fault.kind, fault.subject, fault.cause


def _trouble_of(error: Exception) -> Repair:
    if not isinstance(error, OSError):
        outcome = Outcome.FAILED
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        outcome = Outcome.DISK_FULL
    else:
        outcome = Outcome.PERMISSION
    return Repair(outcome=outcome, error_class=type(error).__name__, detail=str(error))

"""Healing a missing dependency: decide, stage, probe, commit, record. One kind of fault.

Reads like the table of DESIGN section 1. Every step is one of the parts beside this module; what
happens between a failing import and a retried one is here and nowhere else.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from app.healing.budget import Budget, Failures, budget
from app.healing.claims import Busy, Overtaken
from app.healing.journal import Attempt, Journal
from app.healing.outcomes import REFUSALS, FixResult, Outcome
from app.kinds.dependency.catalog import Catalog, Plan
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.installer import Installer
from app.kinds.dependency.layers import Layer, Layers, Stage, now
from app.kinds.dependency.on_disk import find_on_disk, is_whole
from app.kinds.dependency.probe import probe
from app.kinds.dependency.requirements import normalize
from app.settings.engine import HealingSettings

logger = logging.getLogger(__name__)

KIND = "dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyHealer:
    """Brings approved distributions into layers, once per host however many ask for them.

    ``attempted`` is told of each attempt that was made here, when it is over. It must not raise.
    """

    settings: HealingSettings
    catalog: Catalog
    layers: Layers
    journal: Journal
    environ: Mapping[str, str]
    max_retries: int
    attempted: Callable[[Attempt], None]

    def heal(self, diagnosis: Diagnosis, deadline: float | None = None) -> FixResult:
        """Make what the diagnosis names importable, within ``deadline`` seconds for the install.

        Whoever comes second waits for the first and shares its outcome. Raises nothing for what
        an index, an installer or a wheel does.
        """
        subject = diagnosis.heals
        if subject is None:
            return FixResult(subject=diagnosis.module, outcome=_refusal(diagnosis))
        limit = self.settings.install_deadline if deadline is None else deadline
        seen, _ = self.journal.last(KIND, subject)
        wait = limit + self.settings.probe_deadline
        loaded = self.layers.loaded

        def done() -> bool:
            return self.layers.follow(loaded) and self._is_here(diagnosis)

        try:
            with self.layers.claim(subject, wait, done) as claim:
                return self._heal_alone(claim, diagnosis, limit, seen)
        except Overtaken:
            return FixResult(subject=subject, outcome=Outcome.HEALED)
        except Busy:
            return FixResult(subject=subject, outcome=Outcome.BUSY, retry_after=limit)
        except OSError as error:
            return _disk_trouble(subject, error)

    def budget(self, subject: str) -> Budget:
        """What is left of the budget of ``subject``, over all processes of this host.

        A wheel that came into the wheelhouse since the last failure begins it anew.
        """
        moment = time.time()
        failures = self.journal.failures(KIND, subject, self.catalog.lock.digest, moment)
        if failures.last_at < self._restocked():
            failures = Failures(0, 0.0)
        return budget(subject, failures, moment, self.max_retries)

    def recover(self) -> None:
        """Finish what processes began that have died since: clean up, and write it down."""
        for subject in self.layers.abandoned():
            with suppress(Busy), self.layers.claim(subject, wait=0):
                self._record_interrupted(subject)
        self._record_committed()

    def _restocked(self) -> float:
        """When the wheelhouse last got a wheel, in seconds since the epoch; 0 without one."""
        place = self.settings.wheelhouse
        if place is None:
            return 0.0
        try:
            return max(path.stat().st_mtime for path in (place, *place.glob("*.whl")))
        except OSError:
            return 0.0

    def _heal_alone(
        self, claim: int, diagnosis: Diagnosis, deadline: float, seen: int
    ) -> FixResult:
        subject = diagnosis.heals or diagnosis.module
        self._record_interrupted(subject)
        if self._is_here(diagnosis):
            return FixResult(subject=subject, outcome=Outcome.HEALED)
        newest, outcome = self.journal.last(KIND, subject)
        if newest > seen and outcome in set(Outcome) - {Outcome.HEALED, Outcome.INTERRUPTED}:
            return FixResult(subject=subject, outcome=Outcome(outcome))
        left = self.budget(subject)
        if not left.allows:
            return FixResult(subject=subject, outcome=Outcome.BUDGET, retry_after=left.retry_after)
        plan = self.catalog.plan(subject, diagnosis.broken)
        refusal = self._refuse(plan)
        if plan is None or refusal is not None:
            return FixResult(subject=subject, outcome=refusal or Outcome.NOT_APPROVED)
        return self._attempt(claim, plan, diagnosis, deadline)

    def _is_here(self, diagnosis: Diagnosis) -> bool:
        """Whether what was missing can be found by now, because another has healed it."""
        self.layers.load()
        return find_on_disk(diagnosis.module) is not None

    def _refuse(self, plan: Plan | None) -> Outcome | None:
        if plan is None:
            return Outcome.NOT_APPROVED
        if not plan.locked:
            return None if self.settings.allow_unlocked else Outcome.NOT_LOCKED
        if plan.conflicts:
            return Outcome.NEEDS_RESTART
        return None if plan.missing else Outcome.NOT_FIXABLE

    def _attempt(self, claim: int, plan: Plan, diagnosis: Diagnosis, deadline: float) -> FixResult:
        """Stage, probe and commit; then record how it ended, whatever that was."""
        started = time.monotonic()
        with self.layers.stage(plan.module, claim) as stage:
            try:
                result = self._transact(plan, diagnosis, stage, deadline)
            except OSError as error:
                result = _disk_trouble(plan.module, error)
            result = replace(
                result, requirement=plan.requirement, seconds=time.monotonic() - started
            )
            attempt = self._described(stage.attempt, result, diagnosis.cause)
            if not result.healed:
                self.journal.append(attempt)
        if result.healed:
            self._record_committed()
            self.layers.load()
        _log(result)
        self.attempted(attempt)
        return result

    def _transact(
        self, plan: Plan, diagnosis: Diagnosis, stage: Stage, deadline: float
    ) -> FixResult:
        started = time.monotonic()
        failure = self._install(plan, stage, deadline) or self._probe(plan.module, stage)
        if failure is not None:
            return failure
        installed = _distributions(stage.site)
        layer = Layer(
            attempt=stage.attempt,
            subject=plan.module,
            cause=diagnosis.cause,
            requirement=plan.requirement,
            installed=tuple(sorted(installed)),
            hashes=tuple(installed[pin] for pin in sorted(installed)),
            seconds=time.monotonic() - started,
            at=now(),
        )
        self.layers.commit(stage, layer)
        return FixResult(subject=plan.module, outcome=Outcome.HEALED, installed=layer.installed)

    def _install(self, plan: Plan, stage: Stage, deadline: float) -> FixResult | None:
        installer = Installer(
            wheelhouse=self.settings.wheelhouse,
            deadline=deadline,
            max_file_bytes=self.settings.max_file_bytes,
            tools=self.settings.tools,
            environ=self.environ,
            keep=(stage.claim,),
        )
        run = (
            installer.install(plan.missing, stage.work, stage.site)
            if plan.locked
            else installer.install_unlocked(plan.requirement, stage.work, stage.site)
        )
        if run.outcome is not Outcome.HEALED:
            return FixResult(subject=plan.module, outcome=run.outcome, detail=run.detail)
        wanted = {entry.pin for entry in plan.missing}
        found = set(_distributions(stage.site))
        complete = found == wanted if plan.locked else bool(found)
        if run.uncertain and not (complete and is_whole(stage.site)):
            detail = "the installer's exit status was lost, and it has left something out"
            return FixResult(subject=plan.module, outcome=Outcome.INSTALLER_FAILED, detail=detail)
        if not complete:
            detail = "the wheels hold other distributions than were asked for"
            return FixResult(subject=plan.module, outcome=Outcome.INVALID_WHEEL, detail=detail)
        return None

    def _probe(self, module: str, stage: Stage) -> FixResult | None:
        verdict = probe(
            module,
            [stage.site],
            deadline=self.settings.probe_deadline,
            environ=self.environ,
            keep=(stage.claim,),
        )
        if verdict.ok:
            return None
        self.layers.quarantine(stage)
        return FixResult(
            subject=module,
            outcome=Outcome.CRASHED_PROBE if verdict.crashed else Outcome.PROBE_FAILED,
            error_class=verdict.error_class,
            detail=verdict.detail,
        )

    def _described(self, attempt: str, result: FixResult, cause: str) -> Attempt:
        """An attempt that has just ended."""
        return Attempt(
            attempt=attempt,
            subject=result.subject,
            cause=cause,
            outcome=result.outcome,
            requirement=result.requirement or "",
            installed=result.installed,
            lock=self.catalog.lock.digest,
            seconds=result.seconds,
            error_class=result.error_class,
            at=time.time(),
        )

    def _record_committed(self) -> None:
        for layer in self.layers.unrecorded():
            self._record_layer(layer)

    def _record_layer(self, layer: Layer) -> None:
        recorded = self.journal.append(
            Attempt(
                attempt=layer.attempt,
                subject=layer.subject,
                cause=layer.cause,
                outcome=Outcome.HEALED,
                requirement=layer.requirement,
                installed=layer.installed,
                hashes=layer.hashes,
                lock=self.catalog.lock.digest,
                seconds=layer.seconds,
                at=datetime.fromisoformat(layer.at).timestamp(),
            )
        )
        if recorded:
            self.layers.mark_recorded(layer)

    def _record_interrupted(self, subject: str) -> None:
        for attempt in self.layers.sweep(subject):
            logger.warning(
                "an earlier heal was interrupted, its staging directory is removed",
                extra={"fields": {"subject": subject, "attempt": attempt}},
            )
            interrupted = FixResult(subject=subject, outcome=Outcome.INTERRUPTED)
            cause = Cause.MISSING_DISTRIBUTION
            self.journal.append(self._described(attempt, interrupted, cause))


def _refusal(diagnosis: Diagnosis) -> Outcome:
    """Why nothing heals this diagnosis."""
    if diagnosis.requirement is None and diagnosis.distribution is not None:
        return Outcome.NOT_APPROVED
    return Outcome.NOT_FIXABLE


def _distributions(site: Path) -> dict[str, str]:
    """``name==version`` of what stands in a directory, with the sha256 of each RECORD.

    What has no readable metadata is none.
    """
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        with suppress(UnicodeDecodeError):
            metadata = distribution.metadata
            record = distribution.read_text("RECORD") or ""
            if "Name" in metadata and "Version" in metadata:
                pin = f"{normalize(metadata['Name'])}=={metadata['Version']}"
                found[pin] = f"sha256:{hashlib.sha256(record.encode()).hexdigest()}"
    return found


def _disk_trouble(subject: str, error: OSError) -> FixResult:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return FixResult(
        subject=subject,
        outcome=Outcome.DISK_FULL if full else Outcome.PERMISSION,
        error_class=type(error).__name__,
        detail=str(error),
    )


def _log(result: FixResult) -> None:
    fields = {
        "subject": result.subject,
        "outcome": str(result.outcome),
        "requirement": result.requirement,
        "installed": " ".join(result.installed),
        "seconds": round(result.seconds, 3),
    }
    if result.healed:
        logger.info("dependency healed", extra={"fields": fields})
    elif result.outcome not in REFUSALS:
        told = {"advice": result.advice, "error": result.error_class, "detail": result.detail}
        failed = {**fields, **told}
        logger.warning("dependency could not be healed", extra={"fields": failed})

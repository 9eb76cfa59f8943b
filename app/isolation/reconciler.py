"""The reconciler: the background thread of a worker that keeps its blueprints in step.

Twice a second it uses what other processes have healed and has the application rebuilt when a
quarantined blueprint can be imported; every other second it begins to heal what is missing.
Installs run in threads of their own, so a slow one delays nothing here.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from app.healing.background import BackgroundLoop, BoundedCall
from app.healing.backoff import Backoff, doubled
from app.healing.engine import OpenFault
from app.healing.kind import Fault
from app.healing.report import Status
from app.isolation.import_marks import DEATHS, source_of
from app.isolation.importing import first_unmet, import_blueprints
from app.isolation.states import CRASHED_IMPORT, BlueprintState
from app.kinds.dependency.diagnosis import Cause, Diagnosis
from app.kinds.dependency.on_disk import find_on_disk, invalidate_caches
from app.kinds.dependency.probe import Verdict, probe
from app.manifest import CORE, Manifest
from app.services import Services

logger = logging.getLogger(__name__)

#: Seconds between two passes so that a fix is noticed within a second.
TICK = 0.5
#: Seconds between two looks for faults while nothing has changed.
FAULTS_SECONDS = 2.0
#: Seconds that a quarantined blueprint's import may hold up a pass before it goes on in its thread.
PATIENCE = 2.0
#: First and longest pause, in seconds, between two imports of a blueprint that nothing heals, and
#: between two builds of an application that cannot be built.
FIRST_RETRY, LAST_RETRY = 2.0, 60.0
#: The longest pause between two children that import what has ended processes.
LAST_CRASH = 3600.0
#: Seconds that the imports of what the manifest has added may hold up a pass.
FOLLOW_PATIENCE = 0.3
#: Causes whose diagnosis names a module that the failed import has not met.
_ABSENT = frozenset({Cause.MISSING_DISTRIBUTION, Cause.FIRST_PARTY_MISSING})


class Reconciler:
    """Keeps a worker in step with what is healed on its host, until it is stopped.

    Args:
        services: the process's parts.
        rebuild: builds the application anew and serves it; called when a blueprint came back.
            False when it could not be built.
        prove: has the process answer a request, or end for what an import has done to it.
    """

    def __init__(
        self, services: Services, rebuild: Callable[[], bool], prove: Callable[[], None]
    ) -> None:
        self._services = services
        self._rebuild = rebuild
        self._prove = prove
        self._builds = Backoff(FIRST_RETRY, LAST_RETRY)
        self._imports: dict[str, Backoff] = {}
        #: By blueprint: the modules that its import ran through, and when they were written.
        self._seen: dict[str, dict[str, int]] = {}
        #: By blueprint whose import ended processes: what its source was, and the child under way.
        self._sources: dict[str, str] = {}
        self._probes: dict[str, BoundedCall[Verdict]] = {}
        self._opened: tuple[OpenFault, ...] = ()
        self._faults: tuple[Fault, ...] = ()
        self._look_at = 0.0
        #: What was followed last, and whether the application is of an older one.
        self._manifest: Manifest | None = None
        self._outdated = False
        self._booted_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._loop = BackgroundLoop(self._pass, "reconciler", TICK)

    def start(self) -> None:
        """Begin with a pass at once; starting twice is starting once."""
        self._loop.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it a moment.

        An install that is cut off leaves a staging directory, which the next heal removes.
        """
        self._loop.stop()

    def _pass(self) -> float:
        services, board = self._services, self._services.board
        followed = self._follow()
        changed = self._heal()
        # What the manifest names no longer is not looked at again.
        modules = {blueprint.module for blueprint in board.blueprints}
        quarantined = [state for state in board.quarantined if state.path in modules]
        if quarantined:
            # A directory that did not exist when it was first looked for stays unknown otherwise.
            invalidate_caches()
        moved = [state.name for state in quarantined if self._moves(state, changed=changed)]
        if services.imports.suspected:
            self._prove()
        if (moved or self._outdated) and self._builds.due:
            if self._rebuild():
                self._builds.reset()
                self._outdated = False
                still = {state.name for state in board.quarantined}
                for name in (name for name in moved if name not in still):
                    logger.info("blueprint is back", extra={"fields": {"blueprint": name}})
            else:
                self._builds.failed()
        measured = {}
        for name, kind in services.fixer.measuring().items():
            measured[name] = kind.measure()
            services.metrics.measured(name, kind.counters, measured[name])
        services.workers.write(
            {
                "booted_at": self._booted_at,
                "mode": str(services.fixer.mode),
                "active": [state.name for state in board.states if state.active],
                "quarantined": {state.name: state.reason for state in board.quarantined},
                "measured": measured,
                "requests": services.load.busy,
                "needs_restart": [s.name for s in board.quarantined if s.needs_restart],
                "faults": [[*each.key, each.since] for each in self._opened],
            }
        )
        reading = services.health.peek()
        healthy = reading.report.overall_status is Status.HEALTHY
        services.fixer.settle(healthy=None if reading.pending else healthy)
        services.tracing.try_start()
        if not services.load.busy and not any(fault.fixable for fault in self._faults):
            services.fixer.fetch_spares()
        if moved:
            # What an import fails for by now may be what can be healed.
            self._look_at = 0.0
        if followed or changed or moved:
            services.health.refresh()
        return TICK

    def _follow(self) -> bool:
        """Import what the manifest names anew or otherwise; True when its file has changed.

        What takes longer goes on in its thread, and is in quarantine until it has ended.
        """
        fixer, board = self._services.fixer, self._services.board
        manifest = fixer.manifest.current
        if manifest is self._manifest:
            return False
        self._manifest = manifest
        wanted = (*CORE, *manifest.blueprints)
        if board.follows and wanted != board.blueprints:
            before = {blueprint.name: blueprint for blueprint in board.blueprints}
            changed = [each for each in wanted if before.get(each.name) != each]
            gone = before.keys() - {each.name for each in wanted}
            board.blueprints = wanted
            # What is approved has to be known before what is needed is looked for.
            fixer.adopt()
            fixer.watch(wanted)
            for name in (*gone, *(each.name for each in changed)):
                for known in (self._imports, self._seen, self._sources):
                    known.pop(name, None)
            import_blueprints(changed, fixer, self._services.imports, FOLLOW_PATIENCE)
            self._outdated = True
            self._builds.reset()
            fields = {
                "changed": " ".join(each.name for each in changed),
                "removed": " ".join(sorted(gone)),
            }
            logger.info("the manifest names other blueprints", extra={"fields": fields})
        self._look_at = 0.0
        return True

    def _heal(self) -> bool:
        """Use what others have healed, begin to heal what is missing; whether either has changed.

        What is committed is one ``stat``; what is missing has to be searched for in every directory
        of the path.
        """
        fixer = self._services.fixer
        changed = fixer.adopt()
        if changed or time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + FAULTS_SECONDS
            self._opened = fixer.open_faults()
            before, self._faults = self._faults, tuple(each.fault for each in self._opened)
            changed = changed or self._faults != before
            for fault in self._faults:
                fixer.heal_in_background(fault)
        return changed

    def _moves(self, state: BlueprintState, *, changed: bool) -> bool:
        """Whether a quarantined blueprint can be imported by now, or fails for another reason."""
        fixer = self._services.fixer
        if state.unmet is not None and not state.needs_restart:
            return self._needs_differ(state)
        report = fixer.import_report(state.path)
        if state.reason == CRASHED_IMPORT and report is None:
            if not self._survives(state):
                return False
            self._import(state, PATIENCE)
            return True
        if state.needs_restart or report is None:
            return False
        # One that is still being imported costs a look, whether it has ended by now.
        importing = report.diagnosis is not None and report.diagnosis.cause is Cause.IMPORTING
        if (
            importing
            or report.diagnosis is None
            or self._is_due(state, report.diagnosis, changed=changed)
        ):
            self._import(state, 0.0 if importing else PATIENCE)
            report = fixer.import_report(state.path) or report
        if report.diagnosis is None:
            return True
        now = (report.diagnosis.cause, report.needs_restart)
        return (state.reason, state.needs_restart) != now

    def _import(self, state: BlueprintState, patience: float) -> None:
        """Import a blueprint's module once more; what is missing is healed as any other fault."""
        marks = self._services.imports
        self._services.fixer.resilient_blueprint_import(
            state.path,
            critical=state.critical,
            heal=False,
            patience=patience,
            during=marks.during(state.name, state.path),
        )

    def _survives(self, state: BlueprintState) -> bool:
        """Whether a child has imported a blueprint and lived, which it may try now and then.

        A new source is tried at once. The child's import may fail: that would cost no process.
        What has ended a process again after a child had survived it waits longer each time.
        """
        marks = self._services.imports
        if self._sources.get(state.name) != (source := source_of(state.path)):
            self._sources[state.name] = source
            # What a child says of the source before is of no use any more.
            self._probes.pop(state.name, None)
            in_vain = max(0, marks.deaths(state.name, state.path) - DEATHS)
            pause = doubled(FIRST_RETRY, LAST_CRASH, in_vain)
            self._imports[state.name] = Backoff(pause, LAST_CRASH)
            if in_vain:
                self._imports[state.name].failed()
        retry, call = self._imports[state.name], self._probes.get(state.name)
        if call is None and retry.due and not marks.patches(state.name, state.path):
            retry.failed()
            deadline = self._services.fixer.settings.probe_deadline
            look = partial(probe, state.path, (), deadline=deadline, environ=os.environ)
            self._probes[state.name] = BoundedCall(look, f"probe {state.path}")
        if call is None or not call.done:
            return False
        del self._probes[state.name]
        return not call.wait(0).crashed

    def _needs_differ(self, state: BlueprintState) -> bool:
        """Whether a blueprint lacks nothing that it needs by now, or something else."""
        board, fixer = self._services.board, self._services.fixer
        blueprint = next((each for each in board.blueprints if each.name == state.name), None)
        unmet = first_unmet(blueprint, fixer) if blueprint is not None else None
        if blueprint is not None and unmet is None:
            import_blueprints([blueprint], fixer, self._services.imports, PATIENCE)
        return unmet is None or (unmet.cause, unmet.advice) != (state.reason, state.advice)

    def _is_due(self, state: BlueprintState, diagnosis: Diagnosis, *, changed: bool) -> bool:
        """Whether to import a blueprint again. That runs its code, so it is not done in every pass.

        It is due when something was healed, when one of the modules that its import ran through is
        new or was written again, and otherwise after pauses that double.
        """
        files = {}
        for name in {state.path, *diagnosis.chain}:
            spec = find_on_disk(name)
            if spec is not None:
                files[name] = 0
                with suppress(OSError):
                    files[name] = os.stat(spec.origin or "").st_mtime_ns  # noqa: PTH116 - is text
        if state.name not in self._seen:
            absent = diagnosis.module if diagnosis.cause in _ABSENT else None
            self._seen[state.name] = {name: at for name, at in files.items() if name != absent}
            self._imports[state.name] = Backoff(FIRST_RETRY, LAST_RETRY)
            self._imports[state.name].failed()
        retry, seen = self._imports[state.name], self._seen[state.name]
        if any(seen.get(name) != at for name, at in files.items()):
            self._seen[state.name] = files
            retry.reset()
        elif not (changed or retry.due):
            return False
        retry.failed()
        return True

"""The kind of configuration files: what is declared is followed, checked and served.

A repair is to serve the last good version, which happens by itself: of the file where it cannot be
used as a whole, of an entry where that stands alone. The operator's file is written on request
alone: to make the correction that a fault proposes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from app.healing.background import BoundedCall, free_after_fork
from app.healing.kind import Fault, Fix, NothingToConfirm, Outcome, Plan, Repair, Scope, Work
from app.healing.locks import Busy
from app.healing.report import timestamp
from app.kinds.configuration.causes import MEANINGS, SHOWN_KEY, Broken, Cause, Problem
from app.kinds.configuration.corrections import Correction, correction
from app.kinds.configuration.declaration import NEED, File
from app.kinds.configuration.examine import entries_of, examine, with_entries
from app.kinds.configuration.fixing import Corrections, FileChanged, Unconfirmed
from app.kinds.configuration.formats import Format
from app.kinds.configuration.last_good import LastGoods
from app.kinds.configuration.reading import MAX_BYTES, YAML_MAX_BYTES
from app.kinds.configuration.schemas import Schema, load_schema
from app.kinds.configuration.served import (
    SHOWN_PROBLEMS,
    WHOLE,
    Content,
    FileUnusable,
    ServedFile,
    State,
)

logger = logging.getLogger(__name__)

KIND = "configuration"
#: The outcome of a fault in whose place the last good version is served.
LAST_GOOD = "last_good"
#: That of a fault with a correction that is made on request, and how that can fail.
CORRECTABLE = "correctable"
UNWRITABLE, EDITED, UNCONFIRMED = "file_unwritable", "file_edited", "unconfirmed"
#: Seconds after which a file is read again for whose problem another file, or a package, is to
#: blame; and such problems.
AGAIN_SECONDS = 2.0
OF_OTHERS = frozenset({Cause.NO_PARSER, Cause.SCHEMA_INVALID})


class Application(Protocol):
    """What is needed of Flask's."""

    extensions: dict[str, Any]


class ConfigurationKind:
    """Serves the files of one process.

    Args:
        declared: the files that the manifest declares, the same object until they change.
        environ: the environment from which variables in their paths are taken.
        root: the directory from which relative paths count.
        last_goods: where good versions are kept.
        corrections: those that are not confirmed yet; without them none is proposed.
        own: files of the service itself, which the manifest does not declare.
        install: heals a package that is missing, by the rules of packages.
        clock: seconds that never go back.
    """

    name = KIND
    scope = Scope.PROCESS
    need = NEED
    gates = False
    causes = MEANINGS
    outcomes: Mapping[str, str] = {
        LAST_GOOD: "mend the file, which is noticed by itself",
        CORRECTABLE: "a correction is proposed, which is made if its plan is approved",
        UNWRITABLE: "this user cannot write the file, its directory or the home: edit it by hand",
        EDITED: "the file was edited while it was being corrected; nothing was changed",
        UNCONFIRMED: "confirm the last correction of the file first, or take it back",
    }
    refusals: frozenset[str] = frozenset({LAST_GOOD, CORRECTABLE, UNCONFIRMED})

    def __init__(  # noqa: PLR0913 - all but four have defaults
        self,
        declared: Callable[[], Mapping[str, File]],
        environ: Mapping[str, str],
        root: Path,
        last_goods: LastGoods,
        own: Iterable[ServedFile[Any]] = (),
        *,
        corrections: Corrections | None = None,
        install: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.needs: Mapping[str, tuple[str, ...]] = {}
        self._declared, self._environ, self._root = declared, environ, root
        self._last_goods, self._corrections, self._clock = last_goods, corrections, clock
        # What is called back may ask for files.
        self._mutex = free_after_fork(threading.RLock())
        #: Files by their names, and for what declarations and variables they are followed.
        self._files = {file.name: file for file in own}
        self._own = frozenset(self._files)
        self._followed_for: tuple[Mapping[str, File], Mapping[str, str | None]] | None = None
        #: The packages that are being healed because a file cannot be read without them.
        self._install = install
        self._installs: dict[str, BoundedCall[object]] = {}
        #: When it is tried again to read what others cannot read or check now.
        self._again_at = 0.0
        #: What the faults were made of.
        self._states: dict[str, State[Any]] = {}
        self._faults: dict[str, Fault] = {}
        #: What is proposed for them, with the state and the content that it was made of.
        self._proposed: dict[str, tuple[object, object, Correction | None]] = {}
        self._may_write = False

    @property
    def files(self) -> Mapping[str, ServedFile[Any]]:
        """What Python callers get, by the names of the files."""
        self._ensure_read()
        return self._files

    def subjects(self) -> Mapping[str, bool]:
        """The files, and those that blueprints need."""
        return dict.fromkeys(sorted({*self.files, *self.needs}), False)

    def basis(self) -> str:
        """Nothing is attempted, so no failures are counted."""
        return ""

    def adopt(self) -> bool:
        """Look at each file; True when what is served, or what is wrong, is another thing."""
        with self._mutex:
            self._follow_declared()
            again = self._clock() >= self._again_at
            if again:
                self._again_at = self._clock() + AGAIN_SECONDS
            for file in self._files.values():
                problems = file.state.problems
                of_others = again and bool(problems) and problems[0].cause in OF_OTHERS
                if of_others and problems[0].cause is Cause.NO_PARSER:
                    self._heal(problems[0].key)
                # What reads or checks it may have come since.
                file.refresh(force=of_others)
                if self._may_write:
                    file.settle()
            states = {name: file.state for name, file in self._files.items()}
            if self._states.keys() == states.keys() and all(
                self._states[name] is state for name, state in states.items()
            ):
                return False
            # Replaced whole: other threads read them meanwhile.
            self._states, before = states, self._states
            found = (fault for name in states for fault in self._faults_of(self._files[name]))
            self._faults = {fault.subject: fault for fault in found}
            self._proposed = {
                subject: known
                for subject, known in tuple(self._proposed.items())
                if subject in self._faults
            }
            return bool(before) or bool(self._faults)

    def faults(self) -> Iterable[Fault]:
        """What is wrong with files, or with entries of them."""
        self._ensure_read()
        undeclared = (self.unmet(name) for name in self.needs if name not in self._files)
        return (*map(self._with_plan, self._faults.values()), *filter(None, undeclared))

    def unmet(self, subject: str) -> Fault | None:
        """Why there is nothing to serve of a file; what is old is served, too."""
        file = self.files.get(subject)
        if file is None:
            advice = "the manifest declares no such file, or what it declares cannot be used"
            return _of(subject, Problem(Cause.MISSING, advice), "", None)
        return self._faults.get(subject) if file.state.value is None else None

    def explain(self, error: BaseException) -> Fault | None:
        """The file without which code has failed that asked for its value."""
        return self.unmet(error.name) if isinstance(error, FileUnusable) else None

    def recheck(self, fault: Fault) -> Fault | None:
        """The fault as it is now."""
        self.adopt()
        return next((one for one in self.faults() if one.subject == fault.subject), None)

    def prepare(self) -> None:
        """From now on what is good may be written down; directories are made when that is done."""
        self._may_write = True

    def recover(self, subject: str) -> None:
        """Nothing is left behind."""

    def repair(self, fault: Fault, work: Work) -> Repair:
        """Make the correction that was approved; everything else has been done by itself."""
        name = fault.subject.partition("#")[0]
        file = self._files.get(name)
        *_, proposed = self._proposed.get(fault.subject, (None,))
        if (
            self._corrections is None
            or file is None
            or file.path is None
            or fault.plan is None
            or proposed is None
            or proposed.digest != fault.plan.digest
        ):
            return Repair(outcome=fault.refusal or Outcome.NOT_FIXABLE)
        try:
            self._corrections.apply(name, file.path, proposed.before, proposed.content, work.caller)
        except FileChanged:
            return Repair(outcome=EDITED)
        except Unconfirmed:
            return Repair(outcome=UNCONFIRMED)
        except Busy:
            return Repair(outcome=Outcome.BUSY)
        except OSError as error:
            return Repair(outcome=UNWRITABLE, detail=str(error.strerror))
        self.adopt()
        window = f"{self._corrections.window:.0f} seconds"
        advice = f"it lasts if it is confirmed within {window}, or if the service stays healthy"
        return Repair(outcome=Outcome.HEALED, advice=advice)

    def unconfirmed(self) -> Mapping[str, float]:
        """The files with a correction that nobody has confirmed yet."""
        pending = self._corrections.pending() if self._corrections else {}
        return {name: record.until for name, record in pending.items()}

    def confirm(self, subject: str, caller: str, *, keep: bool) -> str:
        """Keep the correction of a file, or take it back."""
        if self._corrections is None:
            raise NothingToConfirm(subject)
        ending = self._corrections.confirm(subject.partition("#")[0], caller, keep=keep)
        self.adopt()
        return ending

    def settle(self, *, healthy: bool | None) -> None:
        """Take back the corrections that nobody has confirmed, unless the service is healthy."""
        if self._corrections is not None:
            self._corrections.settle(healthy=healthy)

    def fixes(self) -> Iterable[Fix]:
        """Nothing runs only because it was healed."""
        return ()

    def _with_plan(self, fault: Fault) -> Fault:
        """The fault with the correction that is proposed for it, if there is one."""
        name, _, entry = fault.subject.partition("#")
        file, declared = self._files.get(name), self._declared().get(name)
        if file is None or self._corrections is None or not self._may_write:
            return fault
        state, content = file.state, file.content
        known = self._proposed.get(fault.subject)
        if known is None or known[0] is not state or known[1] is not content:
            known = (state, content, _proposal(file, declared, self._root, entry))
            self._proposed[fault.subject] = known
        correction = known[2]
        if correction is None:
            return fault
        if self._corrections.holds(name, correction.before):
            return replace(fault, refusal=UNCONFIRMED)
        plan = Plan(steps=correction.steps, digest=correction.digest, on_request=True)
        return replace(fault, plan=plan, refusal=CORRECTABLE)

    def _heal(self, package: str) -> None:
        """Have a package healed in a thread; whether that may be, and when again, is its kind's."""
        last = self._installs.get(package)
        if self._may_write and package and (last is None or last.done or last.orphaned):
            call = BoundedCall(partial(self._install, package), f"heal {package}")
            self._installs[package] = call

    def _ensure_read(self) -> None:
        if self._followed_for is None or self._followed_for[0] is not self._declared():
            self.adopt()

    def _follow_declared(self) -> None:
        """Follow what is declared now, and nothing else but the service's own."""
        declared = self._declared()
        if self._followed_for is not None:
            for_declared, values = self._followed_for
            if for_declared is declared and all(
                self._environ.get(name) == value for name, value in values.items()
            ):
                return
        files = {name: file for name, file in self._files.items() if name in self._own}
        before = self._followed_for[0] if self._followed_for else {}
        for name, file in declared.items():
            try:
                path = file.location(self._root, self._environ)
            except KeyError:
                path = None
            read = partial(_read, file, self._root)
            limit = YAML_MAX_BYTES if file.format is Format.YAML else MAX_BYTES
            served = self._files.get(name)
            if served is None:
                served = ServedFile(
                    name,
                    path,
                    read,
                    self._last_goods,
                    revocable=file.revocable,
                    written_in=file.format,
                    entries=file.entries,
                    limit=limit,
                    clock=self._clock,
                )
            elif before.get(name) != file:
                served.path, served.read, served.revocable = path, read, file.revocable
                served.written_in, served.entries = file.format, file.entries
                served.limit = limit
                served.refresh(force=True)
            served.path = path
            files[name] = served
        self._files = files
        variables = {name for file in declared.values() for name in file.variables}
        values = {name: self._environ.get(name) for name in variables}
        self._followed_for = (declared, values)

    def _faults_of(self, file: ServedFile[Any]) -> Iterator[Fault]:
        state = file.state
        if state.problems:
            more = f"; and {len(state.problems) - 1} more" if len(state.problems) > 1 else ""
            yield _of(file.name, state.problems[0], more, state.stale.get(WHOLE))
        elif len(state.broken) > SHOWN_PROBLEMS:
            message = f"{len(state.broken)} entries cannot be used; these are the first of them"
            yield _of(
                file.name,
                Problem(Cause.ENTRY_INVALID, message),
                "",
                min(state.stale.values(), default=None),
            )
        for number, (entry, problem) in enumerate(islice(state.broken.items(), SHOWN_PROBLEMS)):
            # A key that looks like none may be a value.
            shown = entry if SHOWN_KEY.fullmatch(entry) else f"entry-{number + 1}"
            yield _of(f"{file.name}#{shown}", problem, "", state.stale.get(entry))


def files(app: Application) -> Mapping[str, ServedFile[Any]]:
    """The files of the manifest, for code of the application: ``files(app)["pricing"].value``."""
    kind: ConfigurationKind = app.extensions["auto_fixer"].kinds[KIND]
    return kind.files


def _read(file: File, root: Path, content: bytes) -> Content[Any]:
    """What the content of a declared file says."""
    schema = _schema(file, root)
    found = examine(content, file.format, schema, file.entries)
    pointer = file.entries or ""
    entries = entries_of(found.value, pointer) if file.entries is not None else {}

    def build(chosen: Mapping[str, object]) -> Any:  # noqa: ANN401 - whatever a file holds
        others = {n: chosen.get(n) for n in entries if chosen.get(n) is not entries[n]}
        value = with_entries(found.value, pointer, others) if others else found.value
        return schema.value(value) if schema else value

    return Content(build, entries, found.broken, found.problems)


def _schema(file: File, root: Path) -> Schema | None:
    texts = file.format in {Format.INI, Format.ENV}
    return load_schema(file.schema, root, texts=texts) if file.schema else None


def _proposal(
    served: ServedFile[Any], file: File | None, root: Path, entry: str
) -> Correction | None:
    """The correction of a file, or of an entry of it, as it was read last.

    ``file`` is what is declared of it; None for one of the service's own.
    """
    state, content = served.state, served.content
    if content is None or served.written_in is None or (entry and entry not in state.broken):
        return None
    _, good = state.entries.get(entry, (None, None))
    last_good = good.content if good else None
    try:
        schema = _schema(file, root) if file else None
        found = correction(content, served.written_in, schema, served.entries, entry, last_good)
        after = served.read(found.content) if found else None
    except Broken:
        return None
    except Exception:
        # What is wrong has to be shown whatever comes of a proposal.
        fields = {"file": served.name}
        logger.exception("correction could not be looked for", extra={"fields": fields})
        return None
    return None if after is None or after.problems or entry in after.broken else found


def _of(subject: str, problem: Problem, more: str, since: float | None) -> Fault:
    """The fault of a file or an entry, and since when what is old is served in its place."""
    if since is None:
        advice = f"{problem}{more}; no last good version of it is known"
        refusal = str(Outcome.NOT_FIXABLE)
    else:
        advice = f"{problem}{more}; since {timestamp(since)} its last good version is served"
        refusal = LAST_GOOD
    return Fault(
        kind=KIND,
        subject=subject,
        cause=problem.cause,
        advice=advice,
        refusal=refusal,
        stale_since=since,
    )

"""One file as it is served: its newest version that can be used, and older ones for what cannot.

While the file cannot be used, its last good version is served; while entries of it cannot be used,
those of the last version in which they could. An entry that the operator has removed is never
brought back, and of a revocable file nothing is.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from app.healing.background import free_after_fork
from app.healing.backoff import Backoff
from app.healing.locks import Busy
from app.kinds.configuration.causes import Broken, Cause, Problem
from app.kinds.configuration.formats import Format
from app.kinds.configuration.last_good import LastGood, LastGoods, Version
from app.kinds.configuration.reading import MAX_BYTES, read
from app.settings.errors import OrchestratorError
from app.settings.files import signature_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which a version has to be served before it counts as good.
PROVEN_SECONDS = 10.0
#: Two changes within one tick of the file system's clock look like one: a file that is not older
#: than these nanoseconds when it is read is read once more.
CLOCK_TICK = 50_000_000
#: First and longest pause, in seconds, between two attempts to write to a home that fails.
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
#: Problems that the log and a fault show at once.
SHOWN_PROBLEMS = 20
#: What is old where a file as a whole is.
WHOLE = ""


class FileUnusable(OrchestratorError):
    """There is no version of a file that can be served."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the file {name} cannot be used")
        self.name = name


@dataclass(frozen=True, slots=True)
class Content(Generic[T]):
    """What one version of a file says.

    Attributes:
        build: makes the value that has these entries, by their names. Raises ``Broken``.
        entries: those that stand alone, in their order, broken ones included.
        broken: what is wrong with each of them that cannot be used.
        problems: why the file as a whole cannot be used; empty where it can.
        hollow: why it is served only where nothing good is known; empty for any other content.
        torn: whether nobody can say which entries were there: none is taken for removed.
    """

    build: Callable[[Mapping[str, object]], T]
    entries: Mapping[str, object] = field(default_factory=dict)
    broken: Mapping[str, Problem] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    hollow: tuple[Problem, ...] = ()
    torn: bool = False


@dataclass(frozen=True, slots=True)
class State(Generic[T]):
    """What is served of a file, and what is wrong with it; replaced whole.

    Attributes:
        value: None where nothing can be served.
        version: the newest that is whole and can be used.
        entries: those that are served, each with the version that it comes from.
        broken: what is wrong with each entry that cannot be used as it is now.
        problems: why the file as a whole cannot be used as it is now; empty where it can.
        stale: since when, in Unix time, something old is served: by entry, "" is the whole file.
    """

    value: T | None = None
    version: Version | None = None
    entries: Mapping[str, tuple[object, Version]] = field(default_factory=dict)
    broken: Mapping[str, Problem] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    stale: Mapping[str, float] = field(default_factory=dict)

    def followed_by(self, content: Content[T], version: Version) -> State[T]:
        """What is served when a version has come: of what is broken in it what was before.

        Raises:
            Broken: no value can be made of it.
        """
        entries = {**self.entries} if content.torn else {}
        for name, entry in content.entries.items():
            if name not in content.broken:
                entries[name] = (entry, version)
            elif name in self.entries:
                entries[name] = self.entries[name]
        value = content.build({name: entry for name, (entry, _) in entries.items()})
        good = self.version if content.hollow or content.torn else version
        return State(value, good, entries, content.broken, (), self.stale)

    def since(self, now: float) -> State[T]:
        """The same, with since when what is old is served: from now on where it was not before."""
        newest = self.version.at if self.version is not None else 0.0
        old = [n for n, (_, one) in self.entries.items() if one.at < newest or n in self.broken]
        if self.problems and self.value is not None:
            old.append(WHOLE)
        return replace(self, stale={name: self.stale.get(name, now) for name in old})


class ServedFile(Generic[T]):
    """Follows a file; safe to use from any thread.

    It is loaded at once. Nothing is written but by ``settle``.

    Args:
        name: what the file is called, also under the home.
        path: where it is; None while that is not known.
        read: what a content says. Raises ``Broken`` for one that says nothing.
        last_goods: where good versions are kept; None for a file of which none are.
        revocable: whether nothing old may be served.
        written_in: how the file is written; None where no correction of it is proposed.
        entries: the JSON pointer of the collection whose members stand alone; None for none.
        limit: the most bytes that the file may have.
        look_seconds: how long lies between two looks at least.
        clock: seconds that never go back.
    """

    def __init__(  # noqa: PLR0913 - all but the first three have defaults
        self,
        name: str,
        path: Path | None,
        read: Callable[[bytes], Content[T]],
        last_goods: LastGoods | None = None,
        *,
        revocable: bool = False,
        written_in: Format | None = None,
        entries: str | None = None,
        limit: int = MAX_BYTES,
        look_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.path, self.revocable = name, path, revocable
        self.written_in, self.entries = written_in, entries
        #: What a content says: another reader, or path, counts when the file is read next.
        self.read = read
        self.limit, self._last_goods = limit, last_goods
        self._clock, self._look_seconds = clock, look_seconds
        self._lock = free_after_fork(threading.Lock())
        self._callbacks: list[Callable[[T], object]] = []
        #: Which file was read last, whether it can have changed since without looking otherwise,
        #: and what it held.
        self._seen: object = None
        self._unsure = False
        self._content: bytes | None = None
        #: The entries that were removed since the version that was written down last.
        self._removed: frozenset[str] = frozenset()
        #: What is written down already: the version that is good, the state.
        self._proven: Version | None = None
        self._settled: State[T] | None = None
        self._writes = Backoff(FIRST_RETRY, LAST_RETRY)
        #: The process that serves it, and since when the newest version.
        self._serves_in = os.getpid()
        self._served_at = self._looked_at = clock()
        self.state: State[T] = State()
        self._load()

    @property
    def value(self) -> T:
        """What is served now.

        Raises:
            FileUnusable: there is nothing that can be served.
        """
        if (value := self.state.value) is None:
            raise FileUnusable(self.name)
        return value

    @property
    def content(self) -> bytes | None:
        """What the file held when it was read last; None where it could not be read."""
        return self._content

    def on_change(self, callback: Callable[[T], object]) -> None:
        """Call back with each new value, in the thread that has noticed it."""
        self._callbacks.append(callback)

    def refresh(self, *, force: bool = False) -> bool:
        """Look at the file, which costs one ``stat``; True when something is otherwise.

        ``force`` has it read in any case. Who comes while another thread looks goes on with what
        was served before.
        """
        if not force and self._clock() - self._looked_at < self._look_seconds:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._looked_at = self._clock()
            if not (force or self._unsure or self._identity() != self._seen):
                return False
            if force:
                self._content = None
            before = self.state
            self._load()
            after = self.state
        finally:
            self._lock.release()
        if after.value is not None and after.value is not before.value:
            for callback in self._callbacks:
                try:
                    callback(after.value)
                except Exception:
                    # It is somebody else's code, and the next one is to be called, too.
                    logger.exception("callback has failed", extra={"fields": {"file": self.name}})
        return after is not before

    def settle(self) -> None:
        """Write down what has been good for long enough, and since when something old is served.

        Where that is not possible, it is tried again after a while.
        """
        state = self.state
        if self._serves_in != os.getpid():
            # What was loaded before a fork has not been served by anybody yet.
            self._serves_in, self._served_at = os.getpid(), self._clock()
        proven = (
            state.version is not self._proven and self._clock() - self._served_at >= PROVEN_SECONDS
        )
        settled = state is self._settled and not proven
        if self._last_goods is None or settled or not self._writes.due:
            return

        def change(known: LastGood) -> LastGood:
            stale = {name: min(at, known.stale.get(name, at)) for name, at in state.stale.items()}
            if self.revocable:
                return LastGood()
            if not (proven and self._is_newer(state, known)):
                return replace(known, removed=known.removed | self._removed, stale=stale)
            served = {version.at: version for _, version in state.entries.values()}
            if state.version is not None:
                served[state.version.at] = state.version
            return LastGood(tuple(served[at] for at in sorted(served)), frozenset(), stale)

        try:
            known = self._last_goods.update(self.name, change)
        except (OSError, Busy):
            self._writes.failed()
            return
        self._writes.reset()
        with self._lock:
            if proven:
                self._proven = state.version
            if self.state is state:
                # The others of this host know since when.
                self.state = self._settled = replace(state, stale=known.stale)

    def _is_newer(self, state: State[T], known: LastGood) -> bool:
        """Whether what this process serves came after what is written down, or is there now."""
        if state.version is None:
            return False
        if not known.versions or state.version.at > known.versions[-1].at:
            return True
        return not state.problems and self._identity() == self._seen

    def _identity(self) -> tuple[Path | None, tuple[int, ...] | None]:
        return self.path, signature_of(self.path) if self.path is not None else None

    def _load(self) -> None:
        """Read the file, and serve of it what can be."""
        now, before = time.time(), self.state
        first = self._seen is None
        # Taken before it is read, so that a change meanwhile is seen at the next look.
        self._seen = _, signature = self._identity()
        self._unsure = signature is not None and abs(time.time_ns() - signature[0]) < CLOCK_TICK
        content: bytes | None = None
        problems = (Problem(Cause.MISSING, "a variable of its path is not set"),)
        if self.path is not None:
            try:
                content = read(self.path, self.limit)
            except Broken as broken:
                problems = (broken.problem,)
        if content is not None and content == self._content:
            return
        self._content = content
        if first and self._last_goods is not None and not self.revocable:
            before = self._restored(self._last_goods.get(self.name), content)
        if content is None:
            state = replace(before, problems=problems, broken={})
        else:
            state = self._followed(before, content, now)
        if state.problems and self.revocable:
            state = State(problems=state.problems)
        if state.version is not before.version:
            self._served_at = self._clock()
        if (state.problems, state.broken) != (self.state.problems, self.state.broken):
            self._log(state)
        elif state.value is self.state.value and not first:
            return
        self.state = state.since(now)

    def _followed(self, before: State[T], content: bytes, now: float) -> State[T]:
        """What is served when the file has this content."""
        known = before.version
        # What is written down already is not written again.
        version = known if known and known.content == content else Version(content, now)
        try:
            found = self.read(content)
            problems = found.problems or (found.hollow if before.version else ())
            if not problems:
                served = State(stale=before.stale) if self.revocable else before
                state = served.followed_by(found, version)
                if not found.torn:
                    gone = self._removed | before.entries.keys() - found.entries.keys()
                    self._removed = gone - (state.entries.keys() - state.broken.keys())
                return state
        except Broken as broken:
            problems = (broken.problem,)
        return replace(before, problems=problems, broken={})

    def _restored(self, known: LastGood, content: bytes | None) -> State[T]:
        """What was served last on this host; no more than its version where that is there now."""
        state: State[T] = State(stale=known.stale)
        same = len(known.versions) == 1 and known.versions[0].content == content
        if same and not known.removed:
            self._proven = known.versions[0]
            return replace(state, version=known.versions[0])
        for version in known.versions:
            # What could be used once may have to meet other demands by now.
            with suppress(Broken):
                found = self.read(version.content)
                entries = {n: e for n, e in found.entries.items() if n not in known.removed}
                if not found.problems:
                    state = state.followed_by(replace(found, entries=entries), version)
        return state

    def _log(self, state: State[T]) -> None:
        why = [*state.problems, *state.broken.values()]
        fields: dict[str, object] = {"file": self.name}
        if not why:
            logger.info("file is good again", extra={"fields": fields})
            return
        fields["why"] = "; ".join(map(str, why[:SHOWN_PROBLEMS]))
        fields |= {"problems": len(why), "old_is_served": state.value is not None}
        logger.warning("file cannot be used as it is", extra={"fields": fields})

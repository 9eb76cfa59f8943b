"""The one owner of ``corrections/`` under the home: corrections that last if they are confirmed.

A file there begins with a line of JSON, the record of one correction, and goes on with the bytes
that the operator's file had before. It is written before that file is, so that whoever is killed
leaves a record by which any other process ends the correction: it is confirmed, or taken back. What
somebody else has written into the file meanwhile stays in any case.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from app.healing.home import is_ours, make_directory
from app.healing.kind import NothingToConfirm, OtherCaller
from app.healing.locks import exclusive
from app.kinds.configuration.reading import MAX_BYTES
from app.kinds.configuration.served import CLOCK_TICK
from app.settings.errors import OrchestratorError
from app.settings.files import read_bounded, replace_whole, signature_of, sync

logger = logging.getLogger(__name__)

DIRECTORY = "corrections"
#: The most bytes of a record's line.
MAX_RECORD = 1 << 14
#: Seconds that one process waits for another one's change.
PATIENCE = 5.0
#: Shares of the time to confirm: after which the service has to be healthy, for how long nobody
#: need have looked, and how often a record says that somebody has.
SETTLED, UNSEEN, NOTED = 0.1, 0.2, 0.05


class FileChanged(OrchestratorError):
    """A file is not what it was when its correction was proposed."""


class Unconfirmed(OrchestratorError):
    """An earlier correction of a file is neither confirmed nor taken back."""


class Ending(StrEnum):
    """How a correction has ended: ``edited_since`` is a file that was left as somebody made it."""

    KEPT = "kept"
    TAKEN_BACK = "taken_back"
    EDITED_SINCE = "edited_since"


@dataclass(frozen=True, slots=True)
class Record:
    """One correction. Times are in Unix time, ``before`` and ``after`` are SHA-256 of the contents.

    ``healthy_at`` is when the service was seen healthy last, ``failed`` whether it was not once.
    """

    path: str
    caller: str
    at: float
    until: float
    before: str
    after: str
    healthy_at: float
    failed: bool = False


class Corrections:
    """The corrections under one home. Creating it touches nothing.

    Args:
        home: the auto-fix home.
        window: seconds within which a correction has to be confirmed.
        clock: Unix time, which counts on after a restart.
    """

    def __init__(
        self, home: Path, window: float, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._home, self._directory = home, home / DIRECTORY
        self.window, self._clock = window, clock
        self._seen: object = None
        self._pending: Mapping[str, Record] = {}
        #: The files that could not be taken back, so that the log has each once.
        self._stuck: set[str] = set()

    def pending(self) -> Mapping[str, Record]:
        """The corrections that are not ended, by the files' names; costs one ``stat``."""
        seen = signature_of(self._directory)
        if seen != self._seen:
            names = [path.name for path in self._directory.iterdir()] if seen else []
            read = {name: self._read(name) for name in names if not name.startswith(".")}
            self._pending = {name: found[0] for name, found in read.items() if found}
            # What changes within one tick of the file system's clock is not seen to change.
            unsure = seen is not None and time.time_ns() - seen[0] < CLOCK_TICK
            self._seen = None if unsure else seen
        return self._pending

    def holds(self, name: str, content: bytes) -> bool:
        """Whether a content is what a correction has made of a file that is not ended yet."""
        record = self.pending().get(name)
        return record is not None and hashlib.sha256(content).hexdigest() == record.after

    def apply(self, name: str, path: Path, before: bytes, after: bytes, caller: str) -> Record:
        """Put another content into a file, for as long as it takes to confirm that.

        A link is followed; owner, mode and attributes stay.

        Raises:
            FileChanged: it does not hold what it did before.
            Unconfirmed: it was corrected a moment ago.
            Busy: another process is at it.
            OSError: the file, its directory or the home cannot be written; nothing has changed.
        """
        make_directory(self._directory)
        with self._lock(name):
            path, now = path.resolve(), self._clock()
            earlier = self._read(name)
            if earlier is not None and _holds(path, earlier[0].after):
                raise Unconfirmed(f"the last correction of {name} is not confirmed yet")
            record = Record(
                path=str(path),
                caller=caller,
                at=now,
                until=now + self.window,
                before=hashlib.sha256(before).hexdigest(),
                after=hashlib.sha256(after).hexdigest(),
                healthy_at=now,
            )
            self._write(name, record, before)
            try:
                _replace(path, record.before, after)
            except BaseException:
                if not _holds(path, record.after):
                    self._remove(name)
                raise
        _log("file corrected", name, record)
        return record

    def confirm(self, name: str, caller: str, *, keep: bool = True) -> Ending:
        """End a correction for its caller: keep it, or take it back.

        Raises:
            NothingToConfirm: there is none.
            OtherCaller: somebody else has made it.
            Busy: another process is at it.
            OSError: the file, its directory or the home cannot be written.
        """
        if name not in self.pending():
            raise NothingToConfirm(name)
        with self._lock(name):
            found = self._read(name)
            if found is None:
                raise NothingToConfirm(name)
            if found[0].caller != caller:
                raise OtherCaller(name)
            return self._end(name, *found, keep=keep)

    def settle(self, *, healthy: bool | None) -> None:
        """End each correction whose time is over: keep it if the service was healthy all the while.

        Args:
            healthy: whether the service is; None where that is not known.
        """
        for name, record in self.pending().items():
            if self._noted(record, healthy=healthy) == record and not self._is_over(record):
                continue
            try:
                with self._lock(name, wait=0.0):
                    found = self._read(name)
                    if found is None:
                        continue
                    noted = self._noted(found[0], healthy=healthy)
                    if self._is_over(noted):
                        self._end(name, noted, found[1], keep=self._proven(noted))
                    elif noted != found[0]:
                        self._write(name, noted, found[1])
                self._stuck.discard(name)
            except TimeoutError:
                continue
            except OSError as error:
                if name not in self._stuck:
                    self._stuck.add(name)
                    fields = {"file": name, "errno": error.errno}
                    logger.warning("correction cannot be ended", extra={"fields": fields})

    def _is_over(self, record: Record) -> bool:
        # A clock that was set back by much would never get there.
        return not record.at - self.window < self._clock() < record.until

    def _proven(self, record: Record) -> bool:
        """Whether the service was seen healthy, until the end and without a gap."""
        latest = max(record.at, record.until - UNSEEN * self.window)
        return not record.failed and record.healthy_at > latest

    def _noted(self, record: Record, *, healthy: bool | None) -> Record:
        """The record with what the health of the service says about the correction."""
        now = min(self._clock(), record.until)
        if healthy is None or record.failed or now < record.at + SETTLED * self.window:
            return record
        if not healthy or now - record.healthy_at > UNSEEN * self.window:
            return replace(record, failed=True)
        if now - record.healthy_at < NOTED * self.window and now < record.until:
            return record
        return replace(record, healthy_at=now)

    def _end(self, name: str, record: Record, before: bytes, *, keep: bool) -> Ending:
        path, ending = Path(record.path), Ending.KEPT
        if not keep:
            ending = Ending.TAKEN_BACK
            try:
                _replace(path, record.after, before)
            except (FileChanged, FileNotFoundError):
                ending = Ending.EDITED_SINCE
        # Whoever was killed while the file was replaced has left it.
        with suppress(OSError):
            _staged(path).unlink(missing_ok=True)
        self._remove(name)
        _log("correction ended", name, record, ending=str(ending))
        return ending

    def _lock(self, name: str, wait: float = PATIENCE) -> AbstractContextManager[int]:
        return exclusive(self._directory / f".{name}.lock", wait)

    def _read(self, name: str) -> tuple[Record, bytes] | None:
        """A record and the bytes from before; None where there is none that can be trusted."""
        try:
            if not is_ours(self._home, DIRECTORY, name):
                return None
            data = read_bounded(self._directory / name, MAX_RECORD + MAX_BYTES)
            line, _, before = data.partition(b"\n")
            record = Record(**json.loads(line))
            intact = hashlib.sha256(before).hexdigest() == record.before
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return (record, before) if intact else None

    def _write(self, name: str, record: Record, before: bytes) -> None:
        line = json.dumps(asdict(record)).encode()
        replace_whole(self._directory / name, line + b"\n" + before)

    def _remove(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)
        sync(self._directory)


def _replace(path: Path, expected: str, content: bytes) -> None:
    """Replace a file by one with the same owner, mode and attributes.

    Raises:
        FileChanged: what it holds has another digest.
        OSError: it cannot be replaced.
    """
    _check(path, expected)
    found = path.stat()
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "the file has other names")
    fresh = _staged(path)
    # Somebody was killed whose lock this process has now.
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            made = os.fstat(descriptor)
            if (found.st_uid, found.st_gid) != (made.st_uid, made.st_gid):
                os.fchown(descriptor, found.st_uid, found.st_gid)
            for attribute in os.listxattr(path):
                with suppress(OSError):
                    os.setxattr(descriptor, attribute, os.getxattr(path, attribute))
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        _check(path, expected)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.auto-fix")


def _holds(path: Path, digest: str) -> bool:
    """Whether this is what a file holds; one that is too large, or none, holds something else."""
    try:
        return hashlib.sha256(read_bounded(path, MAX_BYTES)).hexdigest() == digest
    except (FileNotFoundError, ValueError):
        return False


def _check(path: Path, digest: str) -> None:
    if not _holds(path, digest):
        raise FileChanged(f"{path.name} is not what it was")


def _log(event: str, name: str, record: Record, **more: str) -> None:
    fields = {"file": name, "caller": record.caller, "before": record.before, **more}
    logger.info(event, extra={"fields": {**fields, "after": record.after}})

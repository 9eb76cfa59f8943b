"""A wheelhouse: exactly the lock's wheels for this interpreter and platform, verified."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.doctor.errors import BadFile, CannotWrite, Unavailable
from app.doctor.tools import find_pip, run_tool
from app.doctor.wheels import fitting, sha256
from app.kinds.dependency.installer import redact
from app.kinds.dependency.lock import Lock, LockedDistribution
from app.settings.errors import LockError

DEADLINE = 1800.0
OPTIONS = (
    *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input", "--no-color"),
    *("--progress-bar=off", "--disable-pip-version-check"),
)


@dataclass(frozen=True, slots=True)
class Filled:
    """What a wheelhouse has got: the wheels of the lock, and files that are none of them."""

    added: tuple[str, ...]
    kept: tuple[str, ...]
    strangers: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The result as JSON shows it."""
        lists = {"added": self.added, "kept": self.kept, "strangers": self.strangers}
        return {name: list(value) for name, value in lists.items()}


def fill(lock_path: Path, directory: Path, environ: Mapping[str, str]) -> Filled:
    """Bring every wheel of the lock that fits here into ``directory``.

    They are downloaded aside and checked against the lock, then moved one by one; what is there
    and right is not downloaded again. An interruption leaves whole, verified wheels.

    Raises:
        CommandError: when the lock cannot be read, the directory not be written, or a wheel not be
            had; nothing is added then.
    """
    entries = _entries(lock_path)
    staging = _staging(directory)
    with staging as name:
        have = fitting(directory)
        wanted = [e for e in entries if not have.get(e.name, frozenset()) & set(e.hashes)]
        before = {path.name for path in directory.glob("*.whl")}
        if wanted:
            _download(wanted, Path(name), environ)
        added = _move(wanted, Path(name), directory)
    known = {value for entry in entries for value in entry.hashes}
    strangers = [path.name for path in directory.glob("*.whl") if sha256(path) not in known]
    kept = before - set(added) - set(strangers)
    return Filled(tuple(sorted(added)), tuple(sorted(kept)), tuple(sorted(strangers)))


def _entries(lock_path: Path) -> list[LockedDistribution]:
    try:
        lock = Lock.read(lock_path)
    except LockError as error:
        place = f"{lock_path.name}:{error.line}" if error.line else lock_path.name
        raise BadFile(f"{place}: {error.reason}") from error
    if not lock.entries:
        raise BadFile(f"{lock_path.name} locks nothing: run flask auto-fix lock")
    return sorted(lock.entries.values(), key=lambda entry: entry.name)


def _staging(directory: Path) -> tempfile.TemporaryDirectory[str]:
    """Inside the wheelhouse, so that moving a wheel is one rename."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".incoming-", dir=directory)
    except OSError as error:
        raise CannotWrite(f"{directory} cannot be written ({error.strerror})") from error


def _download(entries: list[LockedDistribution], staging: Path, environ: Mapping[str, str]) -> None:
    listed = staging / "lock.txt"
    lines = [f"{e.pin} {' '.join(f'--hash={value}' for value in e.hashes)}\n" for e in entries]
    listed.write_text("".join(lines), encoding="utf-8")
    command = [*find_pip(environ), "download", *OPTIONS, "-d", str(staging), "-r", str(listed)]
    run = run_tool(command, environ, staging, DEADLINE)
    if run.status != 0:
        raise Unavailable(f"the wheels could not be downloaded: {redact(run.words)}")


def _move(wanted: list[LockedDistribution], staging: Path, directory: Path) -> list[str]:
    """Only what the lock names, and only when all of it is here."""
    hashes = {value: entry.name for entry in wanted for value in entry.hashes}
    found = {path: hashes.get(sha256(path)) for path in sorted(staging.glob("*.whl"))}
    lacking = {entry.name for entry in wanted} - set(found.values())
    if lacking or None in found.values():
        raise Unavailable(f"these wheels are not what the lock names: {', '.join(sorted(lacking))}")
    for path in found:
        path.rename(directory / path.name)
    return [path.name for path in found]

"""Making the locks: the hashed closure of the requirements, for every Python and platform.

uv resolves in a copy of the project's requirement files. Only a lock that resolved whole and reads
as one replaces the one that is there, so an interruption or an outage changes nothing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.doctor.edit import Change
from app.doctor.errors import BadFile, CommandError, Unavailable
from app.doctor.tools import Run, find_uv, run_tool
from app.kinds.dependency.installer import redact
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.requirements import read_requirements
from app.settings.errors import LockError

LOWEST_PYTHON = "3.11"
#: The environment in which uv writes ``make lock`` where its own command line would stand.
NAMED = {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
OPTIONS = (
    *("--quiet", "--color", "never", "--universal", "--python-version", LOWEST_PYTHON),
    *("--generate-hashes", "--no-emit-index-url", "--annotation-style", "split"),
)
HASH = re.compile(r"\s*\\?\s*--hash=sha256:[0-9a-f]{64}")
DEADLINE = 600.0
#: How uv says that the requirements, not the index, are at fault.
UNSOLVABLE = re.compile(r"No solution found|requirements are unsatisfiable|Couldn't parse|Expected")
OUTAGE = re.compile(r"(?i)failed to fetch|error sending request|dns error|connect|timed out|50\d")


@dataclass(frozen=True, slots=True)
class LockFile:
    """One lock: its file, the requirement files that it is made of, the lock that binds it."""

    name: str
    sources: tuple[str, ...]
    bound_by: str | None = None


LOCKS = (
    LockFile("requirements-flask.lock", ("requirements-flask.txt", "requirements-optional.txt")),
    LockFile("requirements-dev.lock", ("requirements-dev.txt",), "requirements-flask.lock"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """How to resolve: the newest versions, or those that were there before a moment."""

    upgrade: bool = False
    exclude_newer: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The same as uv's options."""
        newer = ("--exclude-newer", self.exclude_newer) if self.exclude_newer else ()
        return (*(("--upgrade",) if self.upgrade else ()), *newer)


def compile_locks(
    root: Path,
    environ: Mapping[str, str],
    options: LockOptions | None = None,
    edits: Mapping[str, bytes] | None = None,
) -> tuple[Change, ...]:
    """What the locks of a project become; nothing is written.

    Versions that still fit are kept. ``edits`` are requirement files as they are about to be.

    Raises:
        Unavailable: without uv, or when the index does not answer.
        BadFile: when the requirements cannot be read or contradict each other.
    """
    with _mirror(root, edits or {}) as mirror:
        for lock in _present(mirror):
            _compile(mirror, lock, environ, (options or LockOptions()).arguments)
        return tuple(
            Change(root / lock.name, _content(root / lock.name), (mirror / lock.name).read_bytes())
            for lock in _present(mirror)
        )


@dataclass(frozen=True, slots=True)
class LockDifference:
    """Where a lock is not what compiling the requirements gives."""

    file: str
    subject: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """The difference as JSON shows it."""
        return {"file": self.file, "subject": self.subject, "reason": self.reason}


def check_locks(
    root: Path, environ: Mapping[str, str], options: LockOptions | None = None
) -> tuple[LockDifference, ...]:
    """How the locks differ from what the requirements and the index give now.

    The locked versions are kept where they fit, and their hashes are taken from the index anew:
    so a hash that somebody wrote by hand shows. Newly uploaded files of a version are none.

    Raises:
        Unavailable, BadFile: as :func:`compile_locks` does; BadFile also for an unreadable lock.
    """
    found: list[LockDifference] = []
    with _mirror(root, {}) as mirror:
        for lock in _present(mirror):
            text = _content(root / lock.name)
            if text is None:
                found.append(LockDifference(lock.name, "", "there is no such lock"))
                continue
            _pins(root / lock.name)
            bare = HASH.sub("", text.decode("utf-8-sig"))
            (mirror / lock.name).write_text(bare, encoding="utf-8")
            _compile(mirror, lock, environ, (options or LockOptions()).arguments)
            found += _differences(root / lock.name, mirror / lock.name)
    return tuple(found)


def _differences(ours: Path, theirs: Path) -> Iterator[LockDifference]:
    here, there = _pins(ours), _pins(theirs)
    for pin in sorted(here.keys() - there.keys()):
        yield LockDifference(ours.name, pin, "is in the lock, but nothing asks for it")
    for pin in sorted(there.keys() - here.keys()):
        yield LockDifference(ours.name, pin, "is asked for, but is not in the lock")
    for pin in sorted(here.keys() & there.keys()):
        if not here[pin] <= there[pin]:
            yield LockDifference(ours.name, pin, "has a hash that the index does not know")


def _pins(path: Path) -> dict[str, frozenset[str]]:
    """Pin with marker to hashes, for every Python and platform.

    Raises:
        BadFile: when the file is no lock, with the line.
    """
    try:
        Lock.read(path)
    except LockError as error:
        place = f"{path.name}:{error.line}" if error.line else path.name
        raise BadFile(f"{place}: {error.reason}") from error
    text = path.read_text(encoding="utf-8-sig")
    pins: dict[str, frozenset[str]] = {}
    lines = read_requirements(path).lines
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[-len(lines) :] if lines else []
    for line, block in zip(lines, blocks, strict=True):
        pins[line.text.rstrip(" \\")] = frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))
    return pins


@contextmanager
def _mirror(root: Path, edits: Mapping[str, bytes]) -> Iterator[Path]:
    """A copy of the requirement files in which uv may work."""
    with tempfile.TemporaryDirectory(prefix="auto-fix-lock-") as name:
        mirror = Path(name)
        for path in (*root.glob("requirements*"), *root.glob("uv.toml"), *root.glob("constr*.txt")):
            shutil.copy(path, mirror / path.name)
        for file, content in edits.items():
            (mirror / file).write_bytes(content)
        yield mirror


def _present(mirror: Path) -> Sequence[LockFile]:
    """The locks whose requirements this project has; an image lacks those of development."""
    return [lock for lock in LOCKS if (mirror / lock.sources[0]).is_file()]


def _compile(
    mirror: Path, lock: LockFile, environ: Mapping[str, str], extra: Sequence[str]
) -> None:
    sources = [name for name in lock.sources if (mirror / name).is_file()]
    bound = ["-c", lock.bound_by] if lock.bound_by and (mirror / lock.bound_by).is_file() else []
    command = [find_uv(environ), "pip", "compile", *OPTIONS, *extra, *bound, "-o", lock.name]
    run = run_tool([*command, *sources], {**environ, **NAMED}, mirror, DEADLINE)
    if run.status != 0:
        raise _failure(run, lock)
    _pins(mirror / lock.name)


def _failure(run: Run, lock: LockFile) -> CommandError:
    words = redact(run.words)
    if UNSOLVABLE.search(words) and not OUTAGE.search(words):
        return BadFile(f"{lock.name} cannot be made of {', '.join(lock.sources)}: {words}")
    return Unavailable(f"{lock.name} could not be made: {words}")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None

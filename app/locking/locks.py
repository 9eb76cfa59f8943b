"""Making the locks: the hashed closure of the requirements, for every Python and platform.

uv resolves in a copy of the project's requirement files. Only a lock that resolved whole and reads
as one replaces the one that is there, so an interruption or an outage changes nothing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.healing.children import Child, child_group
from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.installer.configuration import named_index
from app.kinds.dependency.installer.install import with_cache
from app.kinds.dependency.installer.tools import find_tools
from app.kinds.dependency.installer.verdict import blamed, outcome, redact
from app.kinds.dependency.lock import Lock, LockedDistribution
from app.kinds.dependency.requirements import read_requirements
from app.locking.edit import Change, with_requirements, with_tables, write_all
from app.manifest import FILE, read
from app.settings.errors import BadFile, LockError, Unavailable

#: What uv reads the map from; the lock says `# via` this name.
PACKAGES_FILE = "orchestrator-packages.txt"
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


def run_tool(
    command: Sequence[str], environ: Mapping[str, str], directory: Path, deadline: float
) -> tuple[int | None, str]:
    """Run a program in a session of its own: its exit status and all that it printed.

    An interruption of ours ends it too. Addresses and credentials are taken out of what it printed.

    Raises:
        Unavailable: when it cannot be started or has not ended after ``deadline`` seconds.
    """
    name, late = Path(command[0]).name, threading.Event()

    def end(child: Child) -> None:
        late.set()
        child.kill()

    with tempfile.TemporaryFile() as output:
        try:
            with child_group(command, environ=environ, directory=directory, output=output) as child:
                timer = threading.Timer(deadline, end, (child,))
                timer.daemon = True
                timer.start()
                try:
                    status = child.wait()
                finally:
                    timer.cancel()
        except OSError as error:
            raise Unavailable(f"{name} cannot be run: {error.strerror}") from error
        output.seek(0)
        words = redact(output.read().decode(errors="replace"), environ)
    if late.is_set():
        raise Unavailable(f"{name} did not end within {deadline:.0f} s")
    return status, words


@dataclass(frozen=True, slots=True)
class LockFile:
    """One lock: its file, the requirement files that it is made of, the lock that binds it."""

    name: str
    sources: tuple[str, ...]
    bound_by: str | None = None


LOCKS = (
    LockFile("requirements-flask.lock", ("requirements-flask.txt", PACKAGES_FILE)),
    LockFile("requirements-dev.lock", ("requirements-dev.txt",), "requirements-flask.lock"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """How to resolve: the newest versions, those from before a moment, those that have wheels."""

    upgrade: bool = False
    exclude_newer: str | None = None
    wheels: bool = False


@dataclass(frozen=True, slots=True)
class LockDifference:
    """Where a lock is not what compiling the requirements gives."""

    file: str
    subject: str
    reason: str


def read_lock(path: Path) -> Lock:
    """The lock.

    Raises:
        BadFile: when the file is no lock, with the line.
    """
    try:
        return Lock.read(path)
    except LockError as error:
        place = f"{path.name}:{error.line}" if error.line else path.name
        raise BadFile(f"{place}: {error.reason}") from error


def lock_text(entries: Iterable[LockedDistribution]) -> str:
    """Pins with their hashes, as installers read them."""
    lines = (f"{e.pin} {' '.join(f'--hash={value}' for value in e.hashes)}\n" for e in entries)
    return "".join(lines)


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
    changes: list[Change] = []
    with _copied(root, edits or {}) as (copy, locks):
        for lock in locks:
            given = options or LockOptions()
            # Versions with a wheel: no image could be built of another one, and nothing healed.
            _compile(copy, lock, environ, replace(given, wheels=True))
            # The same ones with the hashes of all their files.
            _compile(copy, lock, environ, replace(given, upgrade=False))
            path = root / lock.name
            before = path.read_bytes() if path.is_file() else None
            changes.append(Change(path, before, (copy / lock.name).read_bytes()))
    return tuple(changes)


def mend(
    root: Path,
    requirements: Path,
    lines: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    relock: bool = True,
    tables: Mapping[str, Mapping[str, object]] = {},
) -> tuple[Change, ...]:
    """Add requirement lines (requirement to comment) and make the locks that follow from them.

    All files are written, or none is. Without lines only the locks are made anew, and without
    ``relock`` only the lines are added. The manifest of ``root`` gets the ``tables``, by their
    names.

    Raises:
        CommandError: when that cannot be done; every file is as it was.
    """
    edits: list[Change] = []
    if tables:
        edits.append(with_tables(root / FILE, {}, tables))
    if lines:
        edits.append(with_requirements(requirements, lines))
    if relock:
        contents = {change.path.name: change.after for change in edits}
        edits += compile_locks(root, environ, edits=contents)
    changes = tuple(change for change in edits if change.changes)
    write_all(changes)
    return changes


def check_locks(
    root: Path, environ: Mapping[str, str], options: LockOptions | None = None
) -> tuple[LockDifference, ...]:
    """How the locks differ from what the requirements and the index give now.

    The locked versions are kept where they fit, and their hashes are taken from the index anew:
    so a hash that somebody wrote by hand shows, and so does a pin that has only an sdist. Newly
    uploaded files of a version are none.

    Raises:
        Unavailable, BadFile: as :func:`compile_locks` does; BadFile also for an unreadable lock.
    """
    found: list[LockDifference] = []
    with _copied(root, {}) as (copy, locks):
        for lock in locks:
            path = root / lock.name
            if not path.is_file():
                found.append(LockDifference(lock.name, "", "there is no such lock"))
                continue
            here, given = _pins(path), options or LockOptions()
            _drop_hashes(path, copy / lock.name)
            _compile(copy, lock, environ, given)
            there = _pins(copy / lock.name)
            _drop_hashes(copy / lock.name, copy / lock.name)
            _compile(copy, lock, environ, replace(given, wheels=True))
            reasons = {
                "has no wheel, and no sdist is ever built": (
                    here.keys() & there.keys() - _pins(copy / lock.name).keys()
                ),
                "is in the lock, but nothing asks for it": here.keys() - there.keys(),
                "is asked for, but is not in the lock": there.keys() - here.keys(),
                "has a hash that the index does not know": {
                    pin for pin in here.keys() & there.keys() if not here[pin] <= there[pin]
                },
            }
            for reason, pins in reasons.items():
                found += [LockDifference(lock.name, pin, reason) for pin in sorted(pins)]
    return tuple(found)


def _drop_hashes(lock: Path, copy: Path) -> None:
    """Copy a lock without its hashes: uv takes them from the index then."""
    bare = HASH.sub("", lock.read_bytes().decode("utf-8-sig"))
    copy.write_text(bare, encoding="utf-8")


def _pins(path: Path) -> dict[str, frozenset[str]]:
    """Pin with marker to hashes, for every Python and platform.

    Raises:
        BadFile: when the file is no lock, with the line.
    """
    read_lock(path)
    lines = read_requirements(path).lines
    text = path.read_text(encoding="utf-8-sig")
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[-len(lines) :] if lines else []
    return {
        line.text.rstrip(" \\"): frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))
        for line, block in zip(lines, blocks, strict=True)
    }


@contextmanager
def _copied(root: Path, edits: Mapping[str, bytes]) -> Iterator[tuple[Path, Sequence[LockFile]]]:
    """A copy of the requirement files in which uv may work, and the locks that can be made there.

    What the map of the manifest approves is a requirement file there.

    An image lacks the requirements of development.
    """
    with tempfile.TemporaryDirectory(prefix="auto-fix-lock-") as name:
        copy = Path(name)
        for path in (*root.glob("requirements*"), *root.glob("uv.toml"), *root.glob("constr*.txt")):
            shutil.copy(path, copy / path.name)
        packages = read(root / FILE).packages.values()
        (copy / PACKAGES_FILE).write_text("".join(f"{line}\n" for line in packages), "utf-8")
        for file, content in edits.items():
            (copy / file).write_bytes(content)
        yield copy, [lock for lock in LOCKS if (copy / lock.sources[0]).is_file()]


def _compile(copy: Path, lock: LockFile, environ: Mapping[str, str], options: LockOptions) -> None:
    tool = next(find_tools(("uv",), environ), None)
    if tool is None:
        raise Unavailable("uv is not here, and nothing else resolves a lock for every Python")
    command = [*tool.program, "pip", "compile", *OPTIONS, "-o", lock.name]
    if options.upgrade:
        command.append("--upgrade")
    if options.wheels:
        command += ["--only-binary", ":all:"]
    if options.exclude_newer:
        command += ["--exclude-newer", options.exclude_newer]
    if lock.bound_by and (copy / lock.bound_by).is_file():
        command += ["-c", lock.bound_by]
    command += [name for name in lock.sources if (copy / name).is_file()]
    # The default index is that of heals. Others, and wheels that pip finds on this machine,
    # would hide the hashes of the rest; they are a matter of who locks.
    index = named_index("uv", environ)
    given = {**environ, **NAMED, **({"UV_DEFAULT_INDEX": index} if index else {})}
    status, words = run_tool(command, with_cache(given, copy), copy, DEADLINE)
    if status != 0:
        names = [line.name for path in copy.glob("*.txt") for line in read_requirements(path).lines]
        end = outcome("uv", status, words.splitlines(), filter(None, names))
        if end == InstallOutcome.NO_WHEEL:
            only = f"{', '.join(sorted(blamed(words)))} has no wheel, and no sdist is ever built"
            raise BadFile(f"{lock.name} cannot be made: {only}: {words}")
        if end != InstallOutcome.NETWORK and UNSOLVABLE.search(words):
            raise BadFile(f"{lock.name} cannot be made of {', '.join(lock.sources)}: {words}")
        raise Unavailable(f"{lock.name} could not be made: {words}")
    read_lock(copy / lock.name)

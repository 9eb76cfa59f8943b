"""Changing files so that they are never seen half written, and nothing else in them changes."""

from __future__ import annotations

import codecs
import difflib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.doctor.errors import BadFile, CannotWrite
from app.kinds.dependency.requirements import Kind, read_requirements, requirement_name


@dataclass(frozen=True, slots=True)
class Change:
    """A file as it is and as it is to be; ``before`` is None where there is none yet."""

    path: Path
    before: bytes | None
    after: bytes

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after

    def pins(self) -> list[str]:
        """What a lock's change does to its pins: ``+name==version`` and ``-name==version``."""
        before, after = _pins(self.before or b""), _pins(self.after)
        return [f"-{pin}" for pin in sorted(before - after)] + [
            f"+{pin}" for pin in sorted(after - before)
        ]

    def diff(self) -> str:
        """The change as a unified diff; empty when nothing changes."""
        old = _lines(self.before or b"")
        name = self.path.name
        return "".join(difflib.unified_diff(old, _lines(self.after), f"a/{name}", f"b/{name}"))


def write_all(changes: Iterable[Change]) -> None:
    """Put every changed file in place, each by one rename, once all of them are on disk.

    Modes are kept, and a symbolic link stays one. An interruption leaves each file old or new.

    Raises:
        CannotWrite: when one cannot be written; none is changed then.
    """
    wanted = [change for change in changes if change.changes]
    staged: list[tuple[Path, Path]] = []
    try:
        for change in wanted:
            target = change.path.resolve()
            staged.append((_staged(target, change.after), target))
        for fresh, target in staged:
            fresh.rename(target)
    except OSError as error:
        name = next((c.path.name for c in wanted[len(staged) :]), wanted[-1].path.name)
        raise CannotWrite(f"{name} cannot be written ({error.strerror}); unchanged") from error
    finally:
        for fresh, _ in staged:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def with_requirements(path: Path, lines: Mapping[str, str]) -> Change:
    """The file with requirement lines added at its end, each with a comment that says why.

    What it lists already, in whatever version, is not added again. Comments, order, line ends, a
    byte order mark and a missing last line end all stay.

    Args:
        path: a requirements file.
        lines: requirement to comment.

    Raises:
        BadFile: when it cannot be read, with the line.
    """
    text = read_requirements(path)
    if text.faults:
        raise BadFile(f"{text.faults[0]}; nothing was changed")
    listed = {line.name for line in text.lines if line.applies and line.kind is not Kind.OPTION}
    wanted = {r: c for r, c in lines.items() if requirement_name(r) not in listed}
    before = path.read_bytes()
    return Change(path, before, before + _added(before, wanted))


def without_requirements(path: Path, names: Iterable[str]) -> Change:
    """The file without the lines that ask for these distributions and nothing else changed."""
    unwanted = frozenset(names)
    before = path.read_bytes()
    found = [line for line in read_requirements(path).lines if line.name in unwanted]
    gone = {line.line for line in found if line.kind is Kind.REQUIREMENT}
    kept = [
        raw for number, raw in enumerate(before.splitlines(keepends=True), 1) if number not in gone
    ]
    return Change(path, before, b"".join(kept))


def _added(before: bytes, lines: Mapping[str, str]) -> bytes:
    if not lines:
        return b""
    end = b"\r\n" if before.count(b"\r\n") * 2 > before.count(b"\n") else b"\n"
    bare = before.removeprefix(codecs.BOM_UTF8)
    start = b"" if not bare or bare.endswith((b"\n", b"\r")) else end
    width = max(map(len, lines))
    added = [f"{requirement:<{width}}  # {comment}" for requirement, comment in lines.items()]
    return start + b"".join(line.encode() + end for line in added)


def _staged(target: Path, content: bytes) -> Path:
    """A file beside ``target`` that holds the content and is on disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o644)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def _pins(content: bytes) -> set[str]:
    text = content.decode("utf-8", errors="replace")
    return set(re.findall(r"(?m)^([A-Za-z0-9][\w.-]*==[^\s\\;]+)", text))


def _lines(content: bytes) -> list[str]:
    text = content.decode("utf-8-sig", errors="replace")
    return [f"{line}\n" for line in text.splitlines()]

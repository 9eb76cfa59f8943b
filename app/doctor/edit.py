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

from app.kinds.dependency.requirements import Kind, read_requirements, requirement_name
from app.settings.errors import BadFile, CannotWrite

PIN = re.compile(rb"(?m)^([A-Za-z0-9][\w.-]*==[^\s\\;]+)")


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
        before, after = ({*PIN.findall(text or b"")} for text in (self.before, self.after))
        gone = [f"-{pin.decode()}" for pin in sorted(before - after)]
        return gone + [f"+{pin.decode()}" for pin in sorted(after - before)]

    def diff(self) -> str:
        """The change as a unified diff; empty when nothing changes."""
        old, new = (
            [f"{line}\n" for line in text.decode("utf-8-sig", errors="replace").splitlines()]
            for text in (self.before or b"", self.after)
        )
        name = self.path.name
        return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


def write_all(changes: Iterable[Change]) -> None:
    """Put every changed file in place, each by one rename, once all of them are on disk.

    Modes are kept, and a symbolic link stays one. An interruption leaves each file old or new.

    Raises:
        CannotWrite: when one cannot be written; none is changed then.
    """
    staged: list[tuple[Path, Path]] = []
    name = ""
    try:
        for change in changes:
            if change.changes:
                name, target = change.path.name, change.path.resolve()
                descriptor, fresh = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
                staged.append((Path(fresh), target))
                with os.fdopen(descriptor, "wb") as file:
                    file.write(change.after)
                    file.flush()
                    os.fsync(file.fileno())
                mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
                Path(fresh).chmod(mode)
        for path, target in staged:
            name = target.name
            path.rename(target)
    except OSError as error:
        raise CannotWrite(f"{name} cannot be written ({error.strerror}); unchanged") from error
    finally:
        for path, _ in staged:
            with suppress(OSError):
                path.unlink(missing_ok=True)


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
    end = b"\r\n" if before.count(b"\r\n") * 2 > before.count(b"\n") else b"\n"
    bare = before.removeprefix(codecs.BOM_UTF8)
    start = b"" if not wanted or not bare or bare.endswith((b"\n", b"\r")) else end
    width = max(map(len, wanted), default=0)
    added = [f"{line:<{width}}  # {comment}".encode() + end for line, comment in wanted.items()]
    return Change(path, before, before + start + b"".join(added))


def diff(changes: Iterable[Change]) -> str:
    """The changes as one diff, without those of locks, which nobody reads."""
    return "".join(change.diff() for change in changes if change.path.suffix != ".lock")

"""Changing files so that they are never seen half written, and nothing else in them changes."""

from __future__ import annotations

import codecs
import difflib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
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

    Modes are kept, and a symbolic link stays one; directories that are missing are made. An
    interruption leaves each file old or new, and those before it in ``changes`` new.

    Raises:
        CannotWrite: when one cannot be written; none is changed then.
    """
    staged: list[tuple[Path, Path]] = []
    in_place: list[tuple[Path, bytes | None]] = []
    made: list[Path] = []
    name = ""
    try:
        for change in changes:
            if change.changes:
                name, target = change.path.name, change.path.resolve()
                made += _made_directories(target.parent)
                staged.append((_staged(target, change.after), target))
        for fresh, target in staged:
            name = target.name
            before = target.read_bytes() if target.exists() else None
            fresh.rename(target)
            in_place.append((target, before))
    except OSError as error:
        for target, before in in_place:
            # There was room for it a moment ago.
            with suppress(OSError):
                target.unlink() if before is None else _staged(target, before).rename(target)
        raise CannotWrite(f"{name} cannot be written ({error.strerror}); unchanged") from error
    finally:
        for fresh, _ in staged:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        for directory in reversed(made):
            # One that holds what was written stays.
            with suppress(OSError):
                directory.rmdir()


def _made_directories(directory: Path) -> list[Path]:
    """Make a directory; those that were not there, the outermost first."""
    missing = [one for one in (*reversed(directory.parents), directory) if not one.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return missing


def _staged(target: Path, content: bytes) -> Path:
    """A file beside the target, on disk and with its mode, that only has to be renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o644)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


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


def with_tables(
    path: Path, entries: Mapping[str, Mapping[str, str]], tables: Mapping[str, Mapping[str, object]]
) -> Change:
    """A TOML file with entries added to its tables, and with tables of their own at its end.

    Comments, order, line ends, a byte order mark and a missing last line end all stay. A file that
    is not there is begun.

    Args:
        path: the file.
        entries: by the name of a table, keys and their texts.
        tables: by their names, whole tables.

    Raises:
        BadFile: when the file cannot be read, or has a form in which nothing can be added safely.
    """
    before = path.read_bytes() if path.exists() else None
    try:
        text = (before or b"").decode("utf-8-sig")
        wanted = tomllib.loads(text)
    except ValueError as bad:
        raise BadFile(f"{path.name} is no TOML ({bad}); nothing was changed") from bad
    unfit = BadFile(f"{path.name} has a form that this cannot extend: add the tables by hand")
    groups = {*entries, *(name.partition(".")[0] for name in tables)}
    if not all(isinstance(wanted.get(group, {}), dict) for group in groups):
        raise unfit
    lines = text.splitlines(keepends=True)
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    if lines and (entries or tables) and not lines[-1].endswith("\n"):
        lines[-1] += end
    for table, keys in entries.items():
        wanted.setdefault(table, {}).update(keys)
        written = [f"{key} = {_toml(value)}{end}" for key, value in keys.items()]
        position = _end_of_table(lines, table)
        if position is None:
            lines += [end] * bool(lines) + [f"[{table}]{end}", *written]
        else:
            lines[position:position] = written
    for name, value in tables.items():
        group, _, key = name.partition(".")
        wanted.setdefault(group, {})[key] = dict(value)
        lines += [end] * bool(lines) + [f"[{name}]{end}"]
        lines += [f"{key} = {_toml(each)}{end}" for key, each in value.items()]
    after = "".join(lines)
    try:
        well = tomllib.loads(after) == wanted
    except tomllib.TOMLDecodeError:
        well = False
    if not well:
        raise unfit
    bom = codecs.BOM_UTF8 if (before or b"").startswith(codecs.BOM_UTF8) else b""
    return Change(path, before, bom + after.encode())


def _end_of_table(lines: Sequence[str], table: str) -> int | None:
    """The position behind the last key of a table, None where it has no header."""
    header = re.compile(rf"\s*\[\s*{re.escape(table)}\s*\]\s*(#.*)?")
    found: int | None = None
    for position, line in enumerate(lines):
        text = line.strip()
        if header.fullmatch(text):
            found = position + 1
        elif found is not None and text.startswith("["):
            break
        elif found is not None and text and not text.startswith("#"):
            found = position + 1
    return found


def _toml(value: object) -> str:
    """A text, a truth value or a list of texts as TOML, which has JSON's forms of them."""
    return json.dumps(value, ensure_ascii=False)


def diff(changes: Iterable[Change]) -> str:
    """The changes as one diff, without those of locks, which nobody reads."""
    return "".join(change.diff() for change in changes if change.path.suffix != ".lock")

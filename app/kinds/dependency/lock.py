"""The lock: the hashed closure of the requirements, as ``uv pip compile`` writes it.

The format is pip's requirements file in hash-checking mode, one distribution a paragraph. The
``# via`` annotations name who needs it, and are where the dependency graph is read from: so the
exact closure of one requirement is known without asking an index.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.kinds.dependency.markers import MarkerError, holds
from app.kinds.dependency.requirements import normalize
from app.settings.errors import LockError

PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)\Z", re.ASCII)
VERSION = re.compile(r"[0-9A-Za-z.!+_-]+", re.ASCII)
HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
VIA = re.compile(r"#\s*(via\b)?")
BACKSLASH = "\\"


@dataclass(frozen=True, slots=True)
class LockedDistribution:
    """One exact version with the hashes of every file that may stand for it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str | None
    needed_by: tuple[str, ...]

    @property
    def pin(self) -> str:
        """``name==version``."""
        return f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """The requirement line of an install in hash-checking mode."""
        return " ".join((self.pin, *(f"--hash={value}" for value in self.hashes)))

    def applies(self) -> bool:
        """Whether this interpreter on this machine needs it at all."""
        return self.marker is None or holds(self.marker)


class Lock:
    """The distributions of one lock that apply here, and who needs whom."""

    def __init__(self, entries: Mapping[str, LockedDistribution], digest: str) -> None:
        self.entries = entries
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> Lock:
        """Read a lock.

        Raises:
            LockError: with the line, when one is no exact hashed pin or a pin stands twice.
        """
        entries: dict[str, LockedDistribution] = {}
        for paragraph in _paragraphs(text):
            entry = _locked(paragraph)
            if not entry.applies():
                continue
            if entry.name in entries:
                raise LockError(paragraph.line, f"{entry.name} is pinned twice for this Python")
            entries[entry.name] = entry
        return cls(entries, hashlib.sha256(text.encode()).hexdigest()[:16])

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read the lock at ``path``; a file that is not there is an empty lock.

        Raises:
            LockError: when it cannot be read or is no lock.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            return cls({}, "unlocked")
        except (OSError, UnicodeDecodeError) as error:
            raise LockError(0, f"cannot be read ({type(error).__name__})") from error

    def version(self, distribution: str) -> str | None:
        """The version of a distribution, None when it is not locked."""
        entry = self.entries.get(distribution)
        return entry.version if entry else None

    def closure(self, distribution: str) -> tuple[LockedDistribution, ...]:
        """The distribution and all that it needs here, by name; empty when it is not locked."""
        found: dict[str, LockedDistribution] = {}
        waiting = [normalize(distribution)]
        while waiting:
            name = waiting.pop()
            if name in self.entries and name not in found:
                found[name] = self.entries[name]
                waiting += [
                    entry.name for entry in self.entries.values() if name in entry.needed_by
                ]
        return tuple(found[name] for name in sorted(found))

    def path(self, start: str, end: str) -> tuple[str, ...]:
        """One chain of needs from ``start`` to ``end``, both included; empty when there is none."""
        start, end = normalize(start), normalize(end)
        chains: list[tuple[str, ...]] = [(end,)] if end in self.entries else []
        seen = {end}
        for chain in chains:
            if chain[0] == start:
                return chain
            fresh = [name for name in self.entries[chain[0]].needed_by if name in self.entries]
            chains += [(name, *chain) for name in fresh if name not in seen]
            seen.update(fresh)
        return ()


@dataclass(slots=True)
class _Paragraph:
    """One requirement with its options, and the names of its ``# via`` notes."""

    line: int
    text: str
    needed_by: list[str] = field(default_factory=list)


def _paragraphs(text: str) -> list[_Paragraph]:
    """The requirements of a lock, each with the number of its first line."""
    found: list[_Paragraph] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line, indented = raw.strip(), raw[:1].isspace()
        if line.startswith("#"):
            if found and indented:
                # ``# via a``, ``#   a`` on the lines after it, or ``# via a, b``.
                names = [name.strip() for name in VIA.sub("", line).split(",")]
                found[-1].needed_by += [
                    normalize(name.partition("[")[0].strip())
                    for name in names
                    if name and not name.startswith("-")
                ]
        elif line and found and indented:
            found[-1].text += f" {line.removesuffix(BACKSLASH).strip()}"
        elif line:
            found.append(_Paragraph(number, line.removesuffix(BACKSLASH).strip()))
    return found


def _locked(paragraph: _Paragraph) -> LockedDistribution:
    line = paragraph.line
    requirement, *options = paragraph.text.split(" --hash=")
    pinned, _, marker = map(str.strip, requirement.partition(";"))
    match = PIN.match(pinned)
    if match is None or not VERSION.fullmatch(match["version"]):
        raise LockError(line, "expected name==version")
    if not options:
        raise LockError(line, f"{match['name']} has no --hash=sha256:")
    hashes = tuple(option.strip() for option in options)
    if not all(HASH.fullmatch(value) for value in hashes):
        raise LockError(line, f"{match['name']} has a hash that is not sha256 in hexadecimal")
    entry = LockedDistribution(
        normalize(match["name"]),
        match["version"],
        hashes,
        marker or None,
        tuple(paragraph.needed_by),
    )
    try:
        entry.applies()
    except MarkerError as error:
        raise LockError(line, f"bad marker: {error}") from error
    return entry

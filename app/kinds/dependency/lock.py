"""The lock: the hashed closure of the requirements, as ``uv pip compile`` writes it.

The format is pip's requirements file in hash-checking mode, one distribution a paragraph. The
``# via`` annotations name who needs it, and are where the dependency graph is read from: so the
exact closure of one requirement is known without asking an index.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    """One exact version with the hashes of every file that may stand for it.

    ``needed_by`` are the distributions that need it and the requirement files that ask for it.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str | None
    needed_by: tuple[str, ...]

    @classmethod
    def parse(cls, line: int, text: str, needed_by: Iterable[str] = ()) -> LockedDistribution:
        """Read a requirement with its options, which begins in ``line`` of the lock.

        Raises:
            LockError: when it is no exact pin with hashes, or its marker is none.
        """
        requirement, *options = text.split(" --hash=")
        pinned, _, marker = map(str.strip, requirement.partition(";"))
        match = PIN.match(pinned)
        if match is None or not VERSION.fullmatch(match["version"]):
            raise LockError(line, "expected name==version")
        name, version = match.groups()
        if not options:
            raise LockError(line, f"{name} has no --hash=sha256:")
        hashes = tuple(map(str.strip, options))
        if not all(map(HASH.fullmatch, hashes)):
            raise LockError(line, f"{name} has a hash that is not sha256 in hexadecimal")
        entry = cls(normalize(name), version, hashes, marker or None, tuple(needed_by))
        try:
            entry.applies()
        except MarkerError as error:
            raise LockError(line, f"bad marker: {error}") from error
        return entry

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
        for line, requirement, needed_by in _paragraphs(text):
            entry = LockedDistribution.parse(line, requirement, needed_by)
            if not entry.applies():
                continue
            if entry.name in entries:
                raise LockError(line, f"{entry.name} is pinned twice for this Python")
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


def _paragraphs(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """The requirements of a lock: first line, text with options, names of the ``# via`` notes."""
    start, requirement = 0, ""
    needed_by: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line.startswith("#") and start and raw[:1].isspace():
            # ``# via a``, ``#   a`` on the lines after it, or ``# via a, b``.
            names = [name.strip() for name in VIA.sub("", line).split(",")]
            needed_by += [
                # A requirements file is called as it is, a constraints file needs nothing.
                name.removeprefix("-r ")
                if name.startswith("-r ")
                else normalize(name.partition("[")[0].strip())
                for name in names
                if name and not name.startswith("-c")
            ]
        elif line.startswith("#") or not line:
            continue
        elif start and raw[:1].isspace():
            requirement += f" {line.removesuffix(BACKSLASH).strip()}"
        else:
            if start:
                yield start, requirement, needed_by
            start, requirement, needed_by = number, line.removesuffix(BACKSLASH).strip(), []
    if start:
        yield start, requirement, needed_by

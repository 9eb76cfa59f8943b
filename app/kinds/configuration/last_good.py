"""The one owner of ``last-good/`` under the home: files as they were when they were last good.

A file there begins with a line of JSON and goes on with the content of the versions that it holds,
the oldest first: the newest one that could be used, and those before it from which broken entries
are served. It is replaced whole, so that whoever is killed leaves the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.healing.home import is_ours, make_directory
from app.healing.locks import exclusive
from app.settings.files import read_bounded, replace_whole

DIRECTORY = "last-good"
#: Versions of one file, and bytes of all of them.
MAX_VERSIONS, MAX_BYTES = 8, 1 << 27
#: Seconds that one process waits for another one's change.
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Version:
    """The content of a file at one time: ``at`` is when it was first served, in Unix time."""

    content: bytes = field(repr=False)
    at: float

    @property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class LastGood:
    """What is known of one file.

    Attributes:
        versions: those that may be served, the oldest first. What the newest one has counts, and
            for each entry that is broken in it the newest of the others in which it is not.
        removed: the entries of these versions that the operator has removed since.
        stale: since when, in Unix time, something old is served: by entry, "" is the file itself.
    """

    versions: tuple[Version, ...] = ()
    removed: frozenset[str] = frozenset()
    stale: Mapping[str, float] = field(default_factory=dict)


class LastGoods:
    """What is kept under one home. Creating it touches nothing."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def get(self, name: str) -> LastGood:
        """What is known of a file; nothing where it was damaged, or others could have written it.

        ``name`` has no slash and begins with no dot, as those that a manifest gives.
        """
        path = self._home / DIRECTORY / name
        try:
            if not is_ours(self._home, DIRECTORY, name):
                return LastGood()
            line, _, contents = read_bounded(path, MAX_BYTES).partition(b"\n")
            header = json.loads(line)
            if hashlib.sha256(contents).hexdigest() != header["digest"]:
                return LastGood()
            versions, end = [], 0
            for size, at in header["versions"]:
                start, end = end, end + size
                versions.append(Version(contents[start:end], at))
            return LastGood(tuple(versions), frozenset(header["removed"]), header["stale"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return LastGood()

    def update(self, name: str, change: Callable[[LastGood], LastGood]) -> LastGood:
        """Change what is known of a file, as the only one on this host who does; what it is now.

        Raises:
            Busy: another process is at it.
            OSError: the home cannot be written.
        """
        directory = self._home / DIRECTORY
        make_directory(directory)
        with exclusive(directory / f".{name}.lock", PATIENCE):
            known = self.get(name)
            changed = change(known)
            changed = replace(changed, versions=changed.versions[-MAX_VERSIONS:])
            if changed != known:
                self._write(directory, name, changed)
            return changed

    def _write(self, directory: Path, name: str, known: LastGood) -> None:
        contents = b"".join(version.content for version in known.versions)
        header = {
            "digest": hashlib.sha256(contents).hexdigest(),
            "versions": [(len(version.content), version.at) for version in known.versions],
            "removed": sorted(known.removed),
            "stale": known.stale,
        }
        replace_whole(directory / name, json.dumps(header).encode() + b"\n" + contents)

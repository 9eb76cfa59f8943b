"""Layers against their RECORD files: every file there, as it was installed, and no other."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.kinds.dependency.layers import Layer

#: What Python writes by itself.
CACHE = "__pycache__"


@dataclass(frozen=True, slots=True)
class Flaw:
    """A file of a layer that is not as it was installed."""

    file: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """The flaw as JSON shows it."""
        return {"file": self.file, "reason": self.reason}


def verify(layer: Layer, site: Path) -> tuple[Flaw, ...]:
    """What of a layer has changed since its heal.

    The manifest has the hash of each RECORD, and each RECORD the hashes of its files: a file, or a
    file with its line in RECORD, cannot change unseen. (Symbolic links count as strangers.)
    """
    listed: dict[str, str] = {}
    flaws: list[Flaw] = []
    records = sorted(site.glob("*.dist-info/RECORD"))
    told = {_record_hash(path) for path in records}
    flaws += [Flaw("RECORD", f"none has the hash {value}") for value in {*layer.hashes} - told]
    for path in records:
        if _record_hash(path) not in layer.hashes:
            flaws.append(Flaw(str(path.relative_to(site)), "changed since the heal"))
        listed |= _rows(path)
    flaws += _compared(site, listed)
    return tuple(flaws)


def _record_hash(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _rows(record: Path) -> dict[str, str]:
    with record.open(encoding="utf-8", errors="replace", newline="") as file:
        return {row[0]: row[1] if len(row) > 1 else "" for row in csv.reader(file) if row}


def _compared(site: Path, listed: dict[str, str]) -> Iterator[Flaw]:
    for name, expected in sorted(listed.items()):
        path = site / name
        if not path.resolve().is_relative_to(site.resolve()):
            yield Flaw(name, "lies outside the layer")
        elif not path.is_file():
            yield Flaw(name, "missing")
        elif expected and _digest(path, expected.partition("=")[0]) != expected:
            yield Flaw(name, "changed since the heal")
    for path in sorted(site.rglob("*")):
        name = str(path.relative_to(site))
        known = name in listed or CACHE in path.parts or path.name == ".lock"
        if (path.is_file() or path.is_symlink()) and not known:
            yield Flaw(name, "in no RECORD")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

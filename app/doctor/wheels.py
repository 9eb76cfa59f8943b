"""Wheels in a directory: which of them this interpreter can install, and their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.kinds.dependency.requirements import normalize


def fitting(directory: Path) -> dict[str, frozenset[str]]:
    """The hashes, as a lock writes them, of the wheels that fit here, by distribution."""
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    supported = frozenset(sys_tags())
    found: dict[str, frozenset[str]] = {}
    for path in sorted(directory.glob("*.whl")):
        try:
            name, _, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if tags & supported:
            key = normalize(name)
            found[key] = found.get(key, frozenset()) | {sha256(path)}
    return found


def sha256(path: Path) -> str:
    """``sha256:`` and the digest of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

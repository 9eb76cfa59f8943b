"""What the metadata of installed distributions says, however damaged it is.

``importlib.metadata`` answers differently by version of Python where a file is missing or broken,
and its ``files`` leave out what is gone from disk; a diagnosis is about exactly that.
"""

from __future__ import annotations

import csv
import importlib.metadata
import re
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from app.kinds.dependency.names import normalize


def installed_version(distribution: str) -> str | None:
    """The version that is found on ``sys.path``, None when there is none.

    Metadata that cannot be read counts as none: an interrupted uninstall leaves such directories.
    """
    found = _find(distribution)
    return _header(found, "Version") if found else None


def bringing(top: str) -> str | None:
    """The normalized name of the distribution that says it brings a top-level module.

    Reads the RECORD of all that is installed: for explaining faults, not for every import.
    """
    for found in importlib.metadata.distributions():
        name = _header(found, "Name")
        if name and _records(found, top):
            return normalize(name)
    return None


def records_module(distribution: str, module: str) -> bool:
    """Whether the distribution's RECORD says that it brings the module."""
    found = _find(distribution)
    return found is not None and _records(found, module)


def records_file(distribution: str, file: str) -> bool:
    """Whether the distribution's RECORD lists a file of this name, wherever it goes."""
    found = _find(distribution)
    return found is not None and any(
        line.partition(",")[0].rpartition("/")[2] == file for line in _lines(found, "RECORD")
    )


def _find(distribution: str) -> Distribution | None:
    try:
        return importlib.metadata.distribution(distribution)
    except (PackageNotFoundError, ValueError):
        return None


def is_whole(site: Path) -> bool:
    """Whether all that the RECORDs of the distributions in a directory list inside it is there."""
    found = importlib.metadata.distributions(path=[str(site)])
    rows = csv.reader(line for distribution in found for line in _lines(distribution, "RECORD"))
    files = [row[0] for row in rows if row]
    return all((site / file).exists() for file in files if not file.startswith(("../", "/")))


def _records(found: Distribution, module: str) -> bool:
    stem = module.replace(".", "/")
    return any(line.startswith((f"{stem}.", f"{stem}/")) for line in _lines(found, "RECORD"))


def _header(found: Distribution, field: str) -> str | None:
    for line in _lines(found, "METADATA") or _lines(found, "PKG-INFO"):
        if match := re.match(rf"{field}:\s*(\S+)", line):
            return match[1]
    return None


def _lines(found: Distribution, file: str) -> list[str]:
    try:
        return (found.read_text(file) or "").splitlines()
    except (OSError, UnicodeDecodeError):
        return []

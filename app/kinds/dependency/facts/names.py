"""Which distributions bring an import name, as far as that is known: to explain, never to install.

The table is read when the first diagnosis asks, and is searched as it is.
``python -m tools.names`` writes it, and its first lines name its sources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.kinds.dependency.requirements import normalize

TABLE = Path(__file__).with_name("names.tsv")


@dataclass(frozen=True, slots=True)
class KnownName:
    """What is known of an import name.

    ``distributions`` bring it, the likeliest first; none for a namespace whose part is not known.
    ``namesake`` is the distribution of that very name where it is another project.
    """

    distributions: tuple[str, ...]
    namesake: str | None = None


def known(module: str) -> KnownName | None:
    """What is known of a module, by the longest part of its dotted name; None when nothing is."""
    table, parts = _table(), module.split(".")
    if not module.isascii() or not all(map(str.isidentifier, parts)):
        return None
    for length in range(len(parts), 0, -1):
        row = _row(table, ".".join(parts[:length]))
        if row is not None:
            distributions, _, namesake = row.partition("\t")
            return KnownName(tuple(distributions.split()), namesake or None)
    row = _row(table, f"{parts[0]}*")
    if row is None:
        return None
    # A part of a namespace is in the distribution of its name: google.cloud.storage.blob is in
    # google-cloud-storage, google.api_core in google-api-core.
    name = f"{normalize(module)}-"
    named = [part for part in row.split() if name.startswith(f"{part}-")]
    return KnownName((max(named, key=len),) if named else ())


def import_names(distribution: str) -> tuple[str, ...]:
    """The modules that a distribution is known to bring, by its normalized name."""
    pattern = rf"^([^\t\n#*]+)\t(?:[^\t\n]* )?{re.escape(distribution)}(?: [^\n]*)?$"
    found = re.findall(pattern.encode("ascii", "replace"), _table(), re.MULTILINE)
    return tuple(name.decode() for name in found)


@cache
def _table() -> bytes:
    try:
        return TABLE.read_bytes()
    except OSError:
        return b""


def _row(table: bytes, name: str) -> str | None:
    start = table.find(f"\n{name}\t".encode())
    if start < 0:
        return None
    return table[start + len(name) + 2 : table.index(b"\n", start + 1)].decode()

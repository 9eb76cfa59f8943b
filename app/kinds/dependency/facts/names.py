"""Which distributions bring an import name, as far as that is known: to explain, never to install.

The table is read when the first diagnosis asks, and is searched as it is.
``python -m tools.names`` writes it, and its first lines name its sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
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


@lru_cache(maxsize=256)
def known(module: str) -> KnownName | None:
    """What is known of a module, by the longest part of its dotted name; None when nothing is."""
    table, parts = _table(), module.split(".")
    if not (module.isascii() and all(map(str.isidentifier, parts))):
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


def import_name(distribution: str) -> str | None:
    """A module that is known to come with a distribution, by its normalized name."""
    table, name = _table(), distribution.encode("ascii", "replace")
    place = table.find(b"\t" + name)
    while place >= 0:
        end = place + 1 + len(name)
        module = table[table.rindex(b"\n", 0, place) + 1 : place].decode().rstrip("*")
        if table[end : end + 1] in {b"\n", b"\t", b" "} and not module.startswith("_"):
            return module
        place = table.find(b"\t" + name, end)
    return None


@cache
def _table() -> bytes:
    try:
        return TABLE.read_bytes()
    except OSError:
        return b""


def _row(table: bytes, name: str) -> str | None:
    """What stands behind a name: the lines are sorted, so half of what is left goes each time."""
    wanted, low, high = name.encode("ascii"), 0, len(table)
    while low < high:
        start = table.rfind(b"\n", low, (low + high) // 2) + 1 or low
        start = max(start, low)
        end = table.find(b"\n", start)
        found, _, row = table[start:end].partition(b"\t")
        if found == wanted:
            return row.decode()
        low, high = (end + 1, high) if found < wanted else (low, start)
    return None

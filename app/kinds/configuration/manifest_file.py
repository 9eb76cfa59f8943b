"""The manifest as it follows its file: a file of configuration like any other.

Each of its tables stands alone, also where the text as a whole is no TOML. What such a text has
lost nobody can say, so nothing is taken for removed then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.kinds.configuration.causes import Cause, Problem
from app.kinds.configuration.last_good import LastGoods
from app.kinds.configuration.served import Content, ServedFile
from app.manifest import (
    BLUEPRINT,
    FILE,
    MAX_BYTES,
    PACKAGES,
    Manifest,
    ManifestFault,
    Table,
    parse_content,
)

#: Seconds between two looks at the file.
LOOK_SECONDS = 0.4
NO_BLUEPRINT = "no blueprint of it can be used"
LAST_COUNTS = "what it last said counts"


class ManifestFile:
    """Follows the manifest; safe to use from any thread.

    While the file cannot be read, or names no blueprint although it named some before, what it
    last held stays, with the faults beside it: an editor may have emptied it and not written it
    yet.

    Args:
        path: the file.
        tables: those of kinds of fault.
        home: where it is kept as it was last good; None for nowhere.
    """

    def __init__(
        self, path: Path, tables: Mapping[str, Table] = {}, home: Path | None = None
    ) -> None:
        self.path = path
        self.served = ServedFile(
            FILE,
            path,
            partial(_read, tables),
            LastGoods(home) if home is not None else None,
            limit=MAX_BYTES,
            look_seconds=LOOK_SECONDS,
        )
        self._made_of: tuple[object, ...] = ()
        self._current = Manifest()

    @property
    def current(self) -> Manifest:
        """What counts now, the same object until it changes.

        Costs a ``stat`` every 0.4 s at most.
        """
        self.served.refresh()
        state = self.served.state
        if (made_of := (state.value, state.problems)) != self._made_of:
            faults = tuple(ManifestFault(one.line, "", one.message) for one in state.problems)
            if state.value is None:
                self._current = Manifest(faults=faults)
            elif faults:
                last = ManifestFault(0, "", LAST_COUNTS)
                self._current = replace(state.value, faults=(*faults, last))
            else:
                self._current = state.value
            self._made_of = made_of
        return self._current


def _read(tables: Mapping[str, Table], content: bytes) -> Content[Manifest]:
    """What a manifest says: entries are called as their tables are."""
    found = parse_content(content, tables)
    sections: dict[str, Mapping[str, Any]] = {
        PACKAGES: found.packages,
        BLUEPRINT: {blueprint.name: blueprint for blueprint in found.blueprints},
        **found.tables,
    }
    entries = {f"{table}.{n}": e for table, section in sections.items() for n, e in section.items()}
    cause = Cause.ENTRY_INVALID if found.whole else Cause.SYNTAX
    broken: dict[str, Problem] = {}
    for fault in found.faults:
        # A fault beside an entry costs it nothing.
        name = fault.table if fault.table not in entries else f"{fault.table}.{fault.line}"
        broken.setdefault(name, Problem(cause, fault.message, fault.line))

    def build(chosen: Mapping[str, Any]) -> Manifest:
        made: dict[str, dict[str, Any]] = {table: {} for table in sections}
        for key, entry in chosen.items():
            table, _, name = key.partition(".")
            made[table][name] = entry
        blueprints = sorted(made.pop(BLUEPRINT).values(), key=lambda blueprint: blueprint.line)
        packages = made.pop(PACKAGES)
        return replace(found, blueprints=tuple(blueprints), packages=packages, tables=made)

    hollow = () if found.blueprints else (*broken.values(), Problem(cause, NO_BLUEPRINT))
    there = {name: None for name in broken if name.partition(".")[0] in sections}
    return Content(build, {**entries, **there}, broken, hollow=hollow, torn=not found.whole)

"""The registry of edge functions: a TOML file that is followed and kept as it was last good.

Each function stands alone: one that cannot be used, or has a variable that is not set, is served as
it was, or left out.

::

    [[function]]
    name = "orders"                      # letters, digits, dot, dash, underscore
    url = "https://orders.example.com"   # http or https; the rest may be left out
    timeout = 5.0                        # seconds
    headers = { Authorization = "Bearer ${ORDERS_TOKEN}" }   # from the environment

``edge-functions.example.toml`` shows every key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.edge.errors import RegistryError, RegistryFault
from app.edge.functions import NAME, EdgeFunction, EdgeRegistry, UnsetVariable, rules
from app.kinds.configuration.causes import Broken, Cause, Pointer, Problem
from app.kinds.configuration.formats import Format, parse_document
from app.kinds.configuration.last_good import LastGoods
from app.kinds.configuration.served import Content, ServedFile
from app.settings.files import LOOK_SECONDS

#: What the file is called in health and status, wherever it is.
FILE = "edge-functions.toml"
TABLE = "function"
REQUIRED = ("name", "url")
MAX_FAULTS = 20
#: Characters that a fault shows of what stands in the file.
MAX_SHOWN = 80


class RegistryFile:
    """What is registered, as the file has it; safe to use from any thread.

    Args:
        path: the file, or None when there is none.
        environ: where the headers' values come from.
        home: where the file is kept as it was last good; None for nowhere.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self.served: ServedFile[EdgeRegistry] | None = None
        if path is not None:
            self.served = ServedFile(
                FILE,
                path,
                partial(read_registry, environ),
                LastGoods(home) if home is not None else None,
                written_in=Format.TOML,
                entries=f"/{TABLE}",
                look_seconds=LOOK_SECONDS,
                clock=clock,
            )
        self._made_of: tuple[object, ...] = ()
        self._registry = EdgeRegistry()

    def current(self) -> EdgeRegistry:
        """What is registered now, the same object until it changes.

        Costs a ``stat`` of the file at most once a second.
        """
        if self.served is None:
            return self._registry
        self.served.refresh(force=any(map(self._environ.get, self._registry.unset.values())))
        state = self.served.state
        if self._made_of != (made_of := (state.value, state.problems)):
            self._registry = state.value or EdgeRegistry(configured=True)
            if state.problems:
                faults = [RegistryFault(one.line or None, one.message) for one in state.problems]
                self._registry = replace(self._registry, error=_error(faults), unset={})
            self._made_of = made_of
        return self._registry


def read_registry(environ: Mapping[str, str], content: bytes) -> Content[EdgeRegistry]:
    """What the content of the file registers, with all that is wrong with it.

    Raises:
        Broken: it is no TOML.
    """
    try:
        document = parse_document(content, Format.TOML)
    except Broken as broken:
        message = f"this is not valid TOML: {_shown(broken.problem.message)}"
        raise Broken(replace(broken.problem, message=message)) from None
    reader = _DocumentReader(environ)
    functions = reader.functions(document.value)
    lines = document.locate({pointer for _, pointer, _ in reader.faults})
    located = sorted(
        ((*lines[pointer], entry, message) for entry, pointer, message in reader.faults),
        key=lambda fault: fault[:2],
    )
    problems, broken_ones = [], dict[str, Problem]()
    for line, column, entry, message in located:
        problem = Problem(Cause.ENTRY_INVALID, message, line, column)
        if entry is None:
            problems.append(problem)
        else:
            broken_ones.setdefault(entry, problem)
    faults = [RegistryFault(line or None, message) for line, _, _, message in located]

    def build(chosen: Mapping[str, Any]) -> EdgeRegistry:
        return EdgeRegistry(
            functions=tuple(chosen.values()),
            error=_error(faults),
            unset=reader.unset,
            configured=True,
        )

    return Content(build, functions, broken_ones, tuple(problems))


def _error(faults: list[RegistryFault]) -> RegistryError | None:
    shown = faults[:MAX_FAULTS]
    if (more := len(faults) - len(shown)) > 0:
        shown.append(RegistryFault(None, f"{more} more faults follow"))
    return RegistryError(tuple(shown)) if shown else None


def _shown(text: str) -> str:
    """The text on one short line of ASCII, so that a response or a log may hold it."""
    return ascii(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")[1:-1]


class _DocumentReader:
    """Checks every table of the document and collects all faults."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        #: Of each fault: the entry that it costs, None for the file; where it is; what it is.
        self.faults: list[tuple[str | None, Pointer, str]] = []
        #: The variable that each entry lacks that has one that is not set.
        self.unset: dict[str, str] = {}
        self._rules = rules(environ)

    def functions(self, document: Any) -> dict[str, EdgeFunction | None]:  # noqa: ANN401
        """The functions by their names; None for those that cannot be used."""
        for key in document:
            if key != TABLE:
                self.faults.append((None, (key,), f'unknown key "{_shown(key)}"'))
        tables = document.get(TABLE, [])
        if not isinstance(tables, list):
            self.faults.append((None, (TABLE,), "write [[function]] with two brackets"))
            return {}
        functions: dict[str, EdgeFunction | None] = {}
        first: dict[str, int] = {}
        for index, table in enumerate(tables):
            name = table.get("name") if isinstance(table, dict) else None
            entry = name if isinstance(name, str) and NAME.fullmatch(name) else f"{index + 1}"
            faults = len(self.faults)
            if entry in functions:
                message = f'the name "{entry}" is taken by the function {first[entry] + 1}'
                entry = f"{entry}-{index + 1}"
                self.faults.append((entry, (TABLE, index, "name"), message))
            first[entry] = index
            values = self._values(entry, index, table)
            usable = len(self.faults) == faults and entry not in self.unset
            functions[entry] = EdgeFunction(**values) if usable else None
        return functions

    def _values(self, entry: str, index: int, table: Any) -> dict[str, Any]:  # noqa: ANN401
        """The table's values, with a fault for everything missing, unknown or wrong."""
        at: Pointer = (TABLE, index)
        if not isinstance(table, dict):
            self.faults.append((entry, at, f"function {index + 1} is no table"))
            return {}
        label = f'function "{entry}"' if entry == table.get("name") else f"function {index + 1}"
        for key in REQUIRED:
            if key not in table:
                self.faults.append((entry, at, f"{label} has no {key}"))
        values = {}
        for key, value in table.items():
            if (rule := self._rules.get(key)) is None:
                message = f'{label} has an unknown key "{_shown(key)}"'
                self.faults.append((entry, (*at, key), message))
                continue
            try:
                values[key] = rule.read(value)
            except UnsetVariable as unset:
                self.faults.append((entry, (*at, key), f"{label}: {unset}"))
                self.unset[entry] = unset.variable
            except (TypeError, ValueError):
                # The value itself is not shown: it may hold a password.
                message = f"{label}: {key} must be {rule.expected}"
                self.faults.append((entry, (*at, key), message))
        return values

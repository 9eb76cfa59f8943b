"""The registry of edge functions: a TOML file, read whole or not at all, and read again.

An entry with a variable that is not set is left out alone, until the variable is set.

::

    [[function]]
    name = "orders"                      # letters, digits, dot, dash, underscore
    url = "https://orders.example.com"   # http or https; the rest may be left out
    timeout = 5.0                        # seconds
    headers = { Authorization = "Bearer ${ORDERS_TOKEN}" }   # from the environment

``edge-functions.example.toml`` shows every key.
"""

from __future__ import annotations

import logging
import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.edge.errors import RegistryError, RegistryFault
from app.edge.functions import NAME, EdgeFunction, EdgeRegistry, UnsetVariable, rules
from app.settings.files import FollowedFile, read_bounded

logger = logging.getLogger(__name__)

TABLE = "function"
REQUIRED = ("name", "url")
#: Twenty thousand functions fit; a file beyond it is somebody's mistake.
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_FAULTS = 20
#: Characters that a fault shows of what stands in the file.
MAX_SHOWN = 80

_SYNTAX_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class RegistryFile:
    """Reads the file once, and again when it has changed; safe to use from any thread.

    While the file cannot be used, what it last registered stays, with the error beside it.

    Args:
        path: the file, or None when there is none.
        environ: where the headers' values come from.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._environ = environ
        self._registry = EdgeRegistry()
        self._file = FollowedFile(path, self._load, clock=clock) if path else None

    def current(self) -> EdgeRegistry:
        """What is registered now; costs a ``stat`` of the file at most once a second."""
        if self._file is not None:
            self._file.refresh()
            if any(map(self._environ.get, self._registry.unset.values())):
                self._load()
        return self._registry

    def _load(self) -> None:
        self._registry = load_registry(self._path, self._environ, self._registry)


def load_registry(
    path: Path | None, environ: Mapping[str, str] = os.environ, last: EdgeRegistry | None = None
) -> EdgeRegistry:
    """Read the file; what of it cannot be used is reported at WARNING and in the result.

    Never raises for anything that the file holds or is.

    Args:
        path: the file, or None when there is none.
        environ: where the headers' values come from.
        last: what was read before; its functions stay where the file cannot be used now.
    """
    if path is None:
        return EdgeRegistry()
    before = last.functions if last else ()
    try:
        registry = parse_registry(_read(path), environ)
    except RegistryError as error:
        registry = EdgeRegistry(functions=before, error=error, configured=True)
    else:
        kept = tuple(function for function in before if function.name in registry.unset)
        registry = replace(registry, functions=(*registry.functions, *kept))
        fields: dict[str, object] = {"count": len(registry.functions)}
        logger.info("edge functions registered", extra={"fields": fields})
    event = "edge function is left out" if registry.unset else "edge functions file cannot be used"
    for fault in registry.error.faults if registry.error else ():
        fields = {"file": path, "line": fault.line, "why": fault.message, "kept": len(before)}
        logger.warning(event, extra={"fields": fields})
    return registry


def parse_registry(text: str, environ: Mapping[str, str] = os.environ) -> EdgeRegistry:
    """What the TOML text registers, but for entries with a variable that is not set.

    Raises:
        RegistryError: with every fault and its line.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.rstrip("\n").count("\n") + 1
        reason = _SYNTAX_LINE.sub("", str(error))
        message = f"this is not valid TOML: {_shown(reason[:1].lower() + reason[1:])}"
        raise RegistryError((RegistryFault(line, message),)) from error
    except RecursionError as error:
        raise RegistryError((RegistryFault(None, "the TOML is nested too deeply"),)) from error
    reader = _DocumentReader(TomlLines(text, TABLE), environ)
    functions = reader.functions(document)
    faults = sorted((*reader.faults, *reader.left_out), key=lambda fault: fault.line or 0)
    if (more := len(faults) - MAX_FAULTS) > 0:
        faults[MAX_FAULTS:] = [RegistryFault(None, f"{more} more faults follow")]
    failure = RegistryError(tuple(faults)) if faults else None
    if failure is not None and reader.faults:
        raise failure
    return EdgeRegistry(functions=functions, error=failure, unset=reader.unset, configured=True)


def _read(path: Path) -> str:
    try:
        return read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RegistryError((RegistryFault(line, "the text is not UTF-8"),)) from error
    except OSError as error:
        known = {
            FileNotFoundError: "the file does not exist",
            IsADirectoryError: "expected a regular file and no directory",
        }
        message = known.get(type(error), "the file cannot be read")
        raise RegistryError((RegistryFault(None, message),)) from error
    except ValueError as error:
        raise RegistryError((RegistryFault(None, f"{error}, of at most 8 MiB"),)) from error


def _shown(text: str) -> str:
    """The text on one short line of ASCII, so that a response or a log may hold it."""
    return ascii(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")[1:-1]


class _DocumentReader:
    """Checks every table of the document and collects all faults."""

    def __init__(self, lines: TomlLines, environ: Mapping[str, str]) -> None:
        self.faults: list[RegistryFault] = []
        #: The faults that cost an entry alone, and the variable of each such entry.
        self.left_out: list[RegistryFault] = []
        self.unset: dict[str, str] = {}
        self._lines = lines
        self._rules = rules(environ)

    def fault(self, line: int | None, message: str) -> None:
        self.faults.append(RegistryFault(line, message))

    def functions(self, document: dict[str, object]) -> tuple[EdgeFunction, ...]:
        for key in document:
            if key != TABLE:
                self.fault(self._lines.top(key), f'unknown key "{_shown(key)}"')
        tables = document.get(TABLE, [])
        if not isinstance(tables, list):
            self.fault(self._lines.top(TABLE), "write [[function]] with two brackets")
            return ()
        functions, indexes = [], dict[object, int]()
        for index, table in enumerate(tables):
            if not isinstance(table, dict):
                self.fault(self._lines.table(index), f"function {index + 1} is no table")
                continue
            functions.append(values := self.values(index, table))
            first = indexes.setdefault(name := values.get("name", index), index)
            if first != index:
                taken = f"by the function of line {self._lines.table(first)}"
                line = self._lines.key(index, "name")
                self.fault(line, f'the name "{name}" is taken {taken}')
        if self.faults:
            return ()
        return tuple(EdgeFunction(**one) for one in functions if one["name"] not in self.unset)

    def values(self, index: int, table: dict[str, Any]) -> dict[str, Any]:
        """The table's values, with a fault for everything missing, unknown or wrong."""
        name = table.get("name")
        known = isinstance(name, str) and NAME.fullmatch(name)
        label = f'function "{name}"' if known else f"function {index + 1}"
        for key in REQUIRED:
            if key not in table:
                self.fault(self._lines.table(index), f"{label} has no {key}")
        values = {}
        for key, value in table.items():
            if (rule := self._rules.get(key)) is None:
                self.fault(
                    self._lines.key(index, key), f'{label} has an unknown key "{_shown(key)}"'
                )
                continue
            try:
                values[key] = rule.read(value)
            except UnsetVariable as unset:
                self.left_out.append(
                    RegistryFault(self._lines.key(index, key), f"{label}: {unset}")
                )
                self.unset[str(name)] = unset.variable
            except (TypeError, ValueError):
                # The value itself is not shown: it may hold a password.
                self.fault(self._lines.key(index, key), f"{label}: {key} must be {rule.expected}")
        return values


#: Comments and strings, in the order in which a reader of TOML meets them. The branches that
#: come first keep a quote inside a comment, or a hash inside a string, from opening anything.
_OPAQUE = re.compile(
    r"#[^\n]*"
    r'|"""(?:\\.|[^\\])*?"""+'
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_MULTI_LINE = ('"""', "'''")


class TomlLines:
    """The lines, counted from 1, of the tables of one array in a text that is valid TOML.

    ``tomllib`` does not say them. A table written inline has no line of its own: its answers are
    the line of its array.
    """

    def __init__(self, text: str, array: str) -> None:
        def emptied(match: re.Match[str]) -> str:
            long = match[0].startswith(_MULTI_LINE)
            return "\n" * match[0].count("\n") if long else match[0]

        # Multi-line strings are emptied, so that what they hold looks like no key.
        self._lines = _OPAQUE.sub(emptied, text).split("\n")
        self._array = array
        header = re.compile(rf"\s*\[\[\s*{_spelled(array)}\s*\]\]")
        self._tables = [n for n, line in enumerate(self._lines, 1) if header.match(line)]

    def top(self, key: str) -> int | None:
        """The line of a key, or of a table's header, of the document itself."""
        return self.first(rf"\s*(?:\[\[?\s*)?{_spelled(key)}\s*[=.\]]", 1, len(self._lines))

    def table(self, index: int) -> int | None:
        """The line of the header of the array's table with this index."""
        return self._tables[index] if index < len(self._tables) else self.top(self._array)

    def key(self, index: int, key: str) -> int | None:
        """The line of a key of that table, or the table's own when the key is not found."""
        if index >= len(self._tables):
            return self.top(self._array)
        start, *rest = [*self._tables[index:], len(self._lines) + 1]
        header = self.first(r"\s*\[", start + 1, len(self._lines)) or len(self._lines) + 1
        subtable = rf"\s*\[\s*{_spelled(self._array)}\s*\.\s*{_spelled(key)}\s*[.\]]"
        return (
            self.first(rf"\s*{_spelled(key)}\s*[=.]", start + 1, header - 1)
            or self.first(subtable, start + 1, rest[0] - 1)
            or start
        )

    def first(self, pattern: str, begin: int, end: int) -> int | None:
        """The first of these lines that begins so."""
        opening = re.compile(pattern)
        numbers = range(begin, end + 1)
        return next((n for n in numbers if opening.match(self._lines[n - 1])), None)


def _spelled(key: str) -> str:
    """A pattern for the key, bare or quoted."""
    return rf"""["']?{re.escape(key)}["']?"""

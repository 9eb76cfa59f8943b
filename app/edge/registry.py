"""The registry of edge functions: a TOML file, read whole or not at all.

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
import tomllib
from collections.abc import Mapping
from pathlib import Path

from app.edge.errors import RegistryError, RegistryFault
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.rules import (
    HEADERS_EXPECTED,
    NAME,
    REQUIRED,
    RULES,
    UnsetVariable,
    read_headers,
)
from app.edge.toml_lines import TomlLines

logger = logging.getLogger(__name__)

TABLE = "function"
#: Twenty thousand functions fit; a file beyond it is somebody's mistake.
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_FAULTS = 20
_SHOWN_KEY = 40

_SYNTAX_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load_registry(
    path: Path | None, environ: Mapping[str, str] = os.environ, last: EdgeRegistry | None = None
) -> EdgeRegistry:
    """Read the file at ``path``; a file that cannot be used is told at WARNING and in the result.

    Never raises for anything that the file holds or is.

    Args:
        path: the file, or None when there is none.
        environ: where the headers' values come from.
        last: what was read before; its functions stay when the file cannot be used now.
    """
    if path is None:
        return EdgeRegistry()
    kept = last.functions if last else ()
    try:
        functions = parse_registry(_read(path), environ)
    except RegistryError as error:
        for fault in error.faults:
            fields = {"file": path, "line": fault.line, "why": fault.message, "kept": len(kept)}
            logger.warning("edge functions file cannot be used", extra={"fields": fields})
        return EdgeRegistry(functions=kept, error=error, configured=True)
    logger.info("edge functions registered", extra={"fields": {"count": len(functions)}})
    return EdgeRegistry(functions=functions, configured=True)


def parse_registry(text: str, environ: Mapping[str, str] = os.environ) -> tuple[EdgeFunction, ...]:
    """The functions that the TOML text registers.

    Raises:
        RegistryError: with every fault and its line.
    """
    document = _parse_toml(text)
    reader = _DocumentReader(TomlLines(text, TABLE), environ)
    functions = reader.functions(document)
    if reader.faults:
        raise RegistryError(_first(reader.faults))
    return functions


def _first(faults: list[RegistryFault]) -> tuple[RegistryFault, ...]:
    """The faults by line, and how many more there are when they are too many to read."""
    faults = sorted(faults, key=lambda fault: fault.line or 0)
    more = len(faults) - MAX_FAULTS
    rest = [RegistryFault(None, f"{more} more faults follow")] if more > 0 else []
    return (*faults[:MAX_FAULTS], *rest)


def _read(path: Path) -> str:
    content = _read_bytes(path)
    if content is None:
        raise _file_error("the file does not exist or is no regular file")
    if len(content) > MAX_FILE_BYTES:
        raise _file_error("the file is larger than 8 MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RegistryError((RegistryFault(line, "the text is not UTF-8"),)) from error


def _read_bytes(path: Path) -> bytes | None:
    """A little more than may be read, or None for what is no regular file.

    A device or a pipe could keep the service from booting.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _file_error("the file cannot be read") from error


def _file_error(message: str) -> RegistryError:
    return RegistryError((RegistryFault(None, message),))


def _parse_toml(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError((_syntax_fault(str(error), text),)) from error
    except RecursionError as error:
        raise _file_error("the TOML is nested too deeply") from error


def _syntax_fault(message: str, text: str) -> RegistryFault:
    match = _SYNTAX_LINE.search(message)
    last = text.rstrip("\n").count("\n") + 1
    line = int(match[1]) if match and match[1] else last
    reason = _SYNTAX_LINE.sub("", message)
    return RegistryFault(line, f"this is not valid TOML: {_shown(reason[:1].lower() + reason[1:])}")


def _shown(text: str) -> str:
    """The text on one line of ASCII, so that a response or a log may hold it."""
    return ascii(text)[1:-1]


class _DocumentReader:
    """Checks every table of the document and collects all faults."""

    def __init__(self, lines: TomlLines, environ: Mapping[str, str]) -> None:
        self._lines = lines
        self._environ = environ
        self.faults: list[RegistryFault] = []
        self._names: dict[str, int] = {}

    def functions(self, document: dict[str, object]) -> tuple[EdgeFunction, ...]:
        for key in document:
            if key != TABLE:
                self._fault(self._lines.top(key), f'unknown key "{_key(key)}"')
        tables = document.get(TABLE, [])
        if not isinstance(tables, list):
            self._fault(self._lines.top(TABLE), "write [[function]] with two brackets")
            return ()
        read = (self._function(index, table) for index, table in enumerate(tables))
        return tuple(function for function in read if function is not None)

    def _fault(self, line: int | None, message: str) -> None:
        self.faults.append(RegistryFault(line, message))

    def _function(self, index: int, table: object) -> EdgeFunction | None:
        if not isinstance(table, dict):
            self._fault(self._lines.table(index), f"function {index + 1} is no table")
            return None
        before = len(self.faults)
        values = self._values(index, table)
        if len(self.faults) > before:
            return None
        return EdgeFunction(**values)  # type: ignore[arg-type]

    def _values(self, index: int, table: dict[str, object]) -> dict[str, object]:
        """The table's known values, with a fault for everything missing, unknown or wrong."""
        label = _label(index, table)
        for key in REQUIRED:
            if key not in table:
                self._fault(self._lines.table(index), f"{label} has no {key}")
        values = {}
        for key, value in table.items():
            try:
                values[key] = self._value(key, value)
            except _WrongValue as wrong:
                # The value itself is not shown: it may hold a password.
                self._fault(self._lines.key(index, key), f"{label}{wrong}")
        self._check_unique(index, values.get("name"))
        return values

    def _value(self, key: str, value: object) -> object:
        expected = HEADERS_EXPECTED
        try:
            if key == "headers":
                return read_headers(value, self._environ)
            expected = RULES[key].expected
            return RULES[key].read(value)
        except KeyError:
            raise _WrongValue(f' has an unknown key "{_key(key)}"') from None
        except UnsetVariable as unset:
            message = f": the environment variable {unset.variable} is not set"
            raise _WrongValue(message) from None
        except (TypeError, ValueError):
            raise _WrongValue(f": {key} must be {expected}") from None

    def _check_unique(self, index: int, name: object) -> None:
        if not isinstance(name, str):
            return
        first = self._names.setdefault(name, index)
        if first != index:
            taken = f"by the function of line {self._lines.table(first)}"
            self._fault(self._lines.key(index, "name"), f'the name "{name}" is taken {taken}')


class _WrongValue(Exception):
    """What is wrong with a value, to follow the function's name."""


def _label(index: int, table: dict[str, object]) -> str:
    name = table.get("name")
    known = isinstance(name, str) and NAME.fullmatch(name)
    return f'function "{name}"' if known else f"function {index + 1}"


def _key(key: str) -> str:
    return _shown(key if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]}...")

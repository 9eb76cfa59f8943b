"""The registry of edge functions: a TOML file, read whole or not at all.

::

    [[function]]
    name = "orders"                      # letters, digits, dot, dash, underscore
    url = "https://orders.example.com"   # http or https
    category = "commerce"                # the rest may be left out
    priority = "high"                    # high, normal or low
    description = "Takes new orders."
    health_path = "/health"
    timeout = 5.0                        # seconds
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from app.edge.errors import RegistryError, RegistryFault
from app.edge.toml_lines import TomlLines

logger = logging.getLogger(__name__)

TABLE = "function"
LONGEST_TIMEOUT = 120.0
#: Twenty thousand functions fit; a file beyond it is somebody's mistake.
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_TEXT = 1000
MAX_FAULTS = 20
_SHOWN_KEY = 40

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?P<path>/.*)?", re.ASCII
)
_SYNTAX_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Priority(StrEnum):
    """How much a function matters to the operator."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFunction:
    """A remote HTTP function. ``timeout`` is the seconds that a whole call may take."""

    name: str
    url: str
    category: str = "general"
    priority: Priority = Priority.NORMAL
    description: str = ""
    health_path: str = "/health"
    timeout: float = 5.0

    def to_dict(self) -> dict[str, object]:
        """The function as JSON shows it."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRegistry:
    """What the file registers, in its order; empty, with the error, when it cannot be used.

    ``configured`` is false when no file is named.
    """

    functions: tuple[EdgeFunction, ...] = ()
    error: RegistryError | None = None
    configured: bool = False


def load_registry(path: Path | None) -> EdgeRegistry:
    """Read the file at ``path``; a file that cannot be used is told at WARNING and in the result.

    Never raises for anything that the file holds or is.
    """
    if path is None:
        return EdgeRegistry()
    try:
        functions = parse_registry(_read(path))
    except RegistryError as error:
        for fault in error.faults:
            logger.warning(
                "edge functions file cannot be used",
                extra={"fields": {"file": path, "line": fault.line, "why": fault.message}},
            )
        return EdgeRegistry(error=error, configured=True)
    logger.info("edge functions registered", extra={"fields": {"count": len(functions)}})
    return EdgeRegistry(functions=functions, configured=True)


def parse_registry(text: str) -> tuple[EdgeFunction, ...]:
    """The functions that the TOML text registers.

    Raises:
        RegistryError: with every fault and its line.
    """
    document = _parse_toml(text)
    reader = _DocumentReader(TomlLines(text, TABLE))
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

    def __init__(self, lines: TomlLines) -> None:
        self._lines = lines
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
        for key in _REQUIRED:
            if key not in table:
                self._fault(self._lines.table(index), f"{label} has no {key}")
        values = {}
        for key, value in table.items():
            try:
                values[key] = _RULES[key].read(value)
            except KeyError:
                self._fault(
                    self._lines.key(index, key), f'{label} has an unknown key "{_key(key)}"'
                )
            except (TypeError, ValueError):
                # The value itself is not shown: a URL may hold a password.
                expected = _RULES[key].expected
                self._fault(self._lines.key(index, key), f"{label}: {key} must be {expected}")
        self._check_unique(index, values.get("name"))
        return values

    def _check_unique(self, index: int, name: object) -> None:
        if not isinstance(name, str):
            return
        first = self._names.setdefault(name, index)
        if first != index:
            taken = f"by the function of line {self._lines.table(first)}"
            self._fault(self._lines.key(index, "name"), f'the name "{name}" is taken {taken}')


def _label(index: int, table: dict[str, object]) -> str:
    name = table.get("name")
    known = isinstance(name, str) and _NAME.fullmatch(name)
    return f'function "{name}"' if known else f"function {index + 1}"


def _key(key: str) -> str:
    return _shown(key if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]}...")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a key's value is read; ``read`` raises ValueError or TypeError for a wrong one."""

    read: Callable[[object], object]
    expected: str


def _matching(pattern: re.Pattern[str]) -> Callable[[object], object]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError
        return value

    return read


def _url(value: object) -> str:
    """An http or https URL without credentials, query or fragment, and without a closing slash."""
    if not isinstance(value, str):
        raise TypeError
    match = _URL.fullmatch(value)
    # urlsplit raises ValueError for an address in brackets that is none, and for a port beyond
    # 65535.
    if not match or urlsplit(value).port == 0 or not _is_path(match["path"] or "/"):
        raise ValueError
    return value.rstrip("/")


def _is_path(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _health_path(value: object) -> str:
    if not isinstance(value, str) or not _is_path(value):
        raise ValueError
    return value


def _line_of_text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError
    if not all(character.isprintable() or character in "\n\t" for character in value):
        raise ValueError
    return value


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value <= LONGEST_TIMEOUT:
        raise ValueError
    return float(value)


_REQUIRED = ("name", "url")
_RULES = {
    "name": _Rule(
        _matching(_NAME), "1 to 64 letters, digits, dots, dashes or underscores, a letter first"
    ),
    "url": _Rule(_url, "an http or https URL without credentials, query or fragment"),
    "category": _Rule(_line_of_text, "printable text of at most 1000 characters"),
    "priority": _Rule(lambda value: Priority(cast(str, value)), "high, normal or low"),
    "description": _Rule(_line_of_text, "printable text of at most 1000 characters"),
    "health_path": _Rule(_health_path, 'a path that begins with "/" and has no dot segments'),
    "timeout": _Rule(_timeout, "a number of seconds above 0 and up to 120"),
}

"""The formats of files of configuration: bytes in, tables and lists out, or the line of the fault.

What a parser says of a text may quote it, so messages keep no quotation with a letter in it.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from app.kinds.configuration import positions
from app.kinds.configuration.causes import Broken, Cause, Pointer, Problem, shown_key
from app.settings import sources

#: How deep tables and lists may be nested: what compares or checks them is recursive.
MAX_DEPTH = 64
#: Python reads no number with more digits.
MAX_DIGITS = 4300
#: The longer ones first: they begin as the others do.
BOMS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
QUOTATION = re.compile(r"\s*:?\s*('[^']*\w[^']*'|\"[^\"]*\w[^\"]*\"|\(.*\))")
AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
#: How tomllib begins its messages about keys that are there twice.
TWICE = ("Cannot", "Duplicate")
#: Texts, which are not to be searched, and what else may be of interest in JSON.
JSON_TEXT = r'"(?:\\.|[^"\\])*"?'


class Format(StrEnum):
    """How a file is written."""

    TOML = "toml"
    JSON = "json"
    YAML = "yaml"
    INI = "ini"
    ENV = "env"


#: The formats of files by the ends of their names.
SUFFIXES: Mapping[str, Format] = {
    **{f".{name}": name for name in Format},
    ".yml": Format.YAML,
    ".cfg": Format.INI,
}


def format_of(path: Path) -> Format | None:
    """The format that a file's name tells; None where it tells none."""
    # A name such as .env is all suffix.
    return SUFFIXES.get((path.suffix or path.name).lower())


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds, and where: ``locate`` gives the lines and columns of pointers."""

    value: Any
    locate: Callable[[Collection[Pointer]], dict[Pointer, tuple[int, int]]]


def parse(content: bytes, written_in: Format) -> Any:  # noqa: ANN401 - whatever a file holds
    """The table or list that a text holds.

    Keys are text, in YAML as they are written. TOML has dates and times, all others have them as
    text. An INI file is sections with keys with text, a ``.env`` file is keys with text.

    Raises:
        Broken: with the line and the column.
    """
    return parse_document(content, written_in).value


def parse_document(content: bytes, written_in: Format) -> Document:
    """The same, with what finds the lines of its keys.

    Raises:
        Broken: with the line and the column.
    """
    text = _decode(content)
    try:
        document = PARSERS[written_in](text)
    except RecursionError:
        raise _too_deep(text) from None
    if not isinstance(document.value, dict | list):
        raise Broken(Problem(Cause.WRONG_TYPE, "expected a table or a list", 1, 1))
    _check_depth(document.value, text)
    return document


def position(content: bytes, written_in: Format, pointer: Pointer) -> tuple[int, int]:
    """The line and column of a key or element of a text that parses; (0, 0) where unknown."""
    return parse_document(content, written_in).locate([pointer])[pointer]


def _decode(content: bytes) -> str:
    """The text, without the mark that some editors put before UTF-8."""
    for mark, encoding in BOMS:
        if content.startswith(mark):
            raise Broken(Problem(Cause.ENCODING, f"is {encoding}: save it as UTF-8", 1, 1))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = content[: error.start].decode("utf-8-sig")
        _fail(Cause.ENCODING, "is no UTF-8", text, len(text))
    if "\0" in text:
        _fail(Cause.ENCODING, "has a NUL: save it as UTF-8 text", text, text.index("\0"))
    return text


def _fail(cause: Cause, message: str, text: str, offset: int) -> NoReturn:
    line, column = positions.at(text, offset)
    raise Broken(Problem(cause, message, line, column)) from None


def _reason(message: str) -> str:
    """What a parser says, without what it quotes."""
    reason = QUOTATION.sub("", message)
    return f"{reason[:1].lower()}{reason[1:]}"


def _toml(text: str) -> Document:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = AT.search(message)
        reason = _reason(AT.sub("", message))
        if found and found[1]:
            line, column = int(found[1]), int(found[2])
        else:
            line, column = positions.at(text, len(text.rstrip()))
        if message.startswith(TWICE):
            raise Broken(
                Problem(Cause.DUPLICATE_KEY, "a key or table is here twice", line, column)
            ) from None
        raise Broken(Problem(Cause.SYNTAX, reason, line, column)) from None
    except ValueError:
        _huge_number(text)
    return Document(value, lambda pointers: positions.locate(positions.toml(text), pointers, text))


def _huge_number(text: str) -> NoReturn:
    found = re.search(rf"\d[\d_]{{{MAX_DIGITS},}}", text)
    message = f"a number of more than {MAX_DIGITS} digits"
    _fail(Cause.OUT_OF_RANGE, message, text, found.start() if found else 0)


def _json(text: str) -> Document:
    try:
        value = json.loads(text, object_pairs_hook=_table, parse_constant=_constant)
    except json.JSONDecodeError as error:
        before = text[: error.pos].rstrip()
        # Python says it in another place from 3.13 on.
        if before.endswith(",") and text[error.pos : error.pos + 1] in {"]", "}"}:
            _fail(Cause.SYNTAX, "a comma with nothing behind it", text, len(before) - 1)
        if error.msg.startswith("Illegal trailing comma"):
            _fail(Cause.SYNTAX, "a comma with nothing behind it", text, error.pos)
        _fail(Cause.SYNTAX, _reason(error.msg).removesuffix(" at"), text, error.pos)
    except _Twice:
        seen: set[Pointer] = set()
        for pointer, offset in positions.json(text):
            if pointer in seen:
                _fail(Cause.DUPLICATE_KEY, f"{shown_key(pointer[-1])} is here twice", text, offset)
            seen.add(pointer)
        _fail(Cause.DUPLICATE_KEY, "a key is here twice", text, 0)
    except _NoNumber:
        found = next(f for f in re.finditer(rf"{JSON_TEXT}|NaN|-?Infinity", text) if f[0][0] != '"')
        _fail(Cause.SYNTAX, "NaN and Infinity are no JSON", text, found.start())
    except ValueError:
        _huge_number(text)
    return Document(value, lambda pointers: positions.locate(positions.json(text), pointers, text))


class _Twice(Exception):
    """A table has a key twice."""


class _NoNumber(Exception):
    """A number that JSON does not have."""


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _Twice
    return table


def _constant(name: str) -> NoReturn:
    raise _NoNumber(name)


def _yaml(text: str) -> Document:  # noqa: ARG001
    raise Broken(Problem(Cause.NO_PARSER, "ruamel.yaml is not installed", key="ruamel"))


def _ini(text: str) -> Document:
    parser = configparser.ConfigParser(interpolation=None)
    # Keys stay as they are written.
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(text)
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as error:
        message = "a key or section is here twice"
        raise Broken(Problem(Cause.DUPLICATE_KEY, message, error.lineno or 0, 1)) from None
    except configparser.MissingSectionHeaderError as error:
        message = "expected [section] before the first key"
        raise Broken(Problem(Cause.SYNTAX, message, error.lineno, 1)) from None
    except configparser.ParsingError as error:
        line = error.errors[0][0] if error.errors else 0
        raise Broken(Problem(Cause.SYNTAX, "expected key = value", line, 1)) from None
    value = {name: dict(parser[name]) for name in parser.sections()}
    return Document(value, lambda pointers: positions.locate(positions.ini(text), pointers, text))


def _env(text: str) -> Document:
    read = sources.parse(text.encode(), "")
    for fault in read.faults:
        line = int(fault.name.rpartition(" ")[2])
        raise Broken(Problem(Cause.SYNTAX, f"expected {fault.expected}", line, 1))
    lines: dict[str, int] = {}
    for entry in read.entries:
        if lines.setdefault(entry.name, entry.line) != entry.line:
            message = f"{shown_key(entry.name)} is here twice, in line {lines[entry.name]} too"
            raise Broken(Problem(Cause.DUPLICATE_KEY, message, entry.line, 1))
    value = {entry.name: entry.value for entry in read.entries}
    return Document(
        value, lambda pointers: {p: (lines.get(str(p[0]), 0), 1) for p in pointers if p}
    )


PARSERS: Mapping[Format, Callable[[str], Document]] = {
    Format.TOML: _toml,
    Format.JSON: _json,
    Format.YAML: _yaml,
    Format.INI: _ini,
    Format.ENV: _env,
}


def _too_deep(text: str) -> Broken:
    """Where the brackets are nested deepest."""
    depth = deepest = offset = 0
    for found in re.finditer(r"[][{}]", text):
        depth += 1 if found[0] in "[{" else -1
        if depth > deepest:
            deepest, offset = depth, found.start()
    line, column = positions.at(text, offset)
    return Broken(Problem(Cause.SYNTAX, f"is nested deeper than {MAX_DEPTH}", line, column))


def _check_depth(value: Any, text: str) -> None:  # noqa: ANN401 - whatever a file holds
    if sum(map(text.count, "[{.\n")) < MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for table in level
            for member in (table.values() if isinstance(table, dict) else table)
            if isinstance(member, dict | list)
        ]
        if not level:
            return
    raise _too_deep(text)

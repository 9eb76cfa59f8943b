"""The formats of files: bytes in, tables and lists out, or the line of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from app.kinds.configuration.causes import Broken, Cause, Pointer, Problem, Value
from app.kinds.configuration.parsing import parsers
from app.kinds.configuration.parsing.parsers import MAX_DEPTH, TOO_DEEP, Document, Unparsable
from app.kinds.configuration.parsing.positions import EVERYTHING, line_and_column
from app.kinds.configuration.parsing.yaml_nodes import parse_yaml

CONTAINERS = frozenset({dict, list})
#: How texts begin that are not UTF-8; the longer ones first, which begin as others do.
MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class Format(StrEnum):
    """How a file is written."""

    TOML = "toml"
    JSON = "json"
    YAML = "yaml"
    INI = "ini"
    ENV = "env"


PARSERS: Mapping[Format, Callable[[str], Document]] = {
    Format.TOML: parsers.parse_toml,
    Format.JSON: parsers.parse_json,
    Format.YAML: parse_yaml,
    Format.INI: parsers.parse_ini,
    Format.ENV: parsers.parse_env,
}
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


def parse(content: bytes, written_in: Format) -> Value:
    """The table or list that a text holds.

    Keys are texts, in YAML as they are written. TOML has dates and times, which are texts in all
    others. An INI file is sections with keys with texts, a ``.env`` file is keys with texts.

    Raises:
        Broken: with the line and the column.
    """
    return parse_document(content, written_in).value


def position(content: bytes, written_in: Format, pointer: Pointer) -> tuple[int, int]:
    """The line and column of a key or element of a text that parses, as ``Document.locate``."""
    return parse_document(content, written_in).locate([pointer])[pointer]


def parse_document(content: bytes, written_in: Format) -> Document:
    """What a text holds, with what finds the lines of its keys.

    Raises:
        Broken: with the line and the column.
    """
    text = ""
    try:
        text = decode(content)
        document = PARSERS[written_in](text)
        _check_depth(document)
    except Unparsable as error:
        line, column = line_and_column(text or content.decode(errors="replace"), error.offset)
        raise Broken(Problem(error.cause, str(error), line, column)) from None
    except RecursionError:
        line, column = line_and_column(text, _deepest(text))
        raise Broken(Problem(Cause.SYNTAX, TOO_DEEP, line, column)) from None
    return document


def decode(content: bytes) -> str:
    """The text, without the mark that some editors put before UTF-8.

    Raises:
        Unparsable: it is none.
    """
    for mark, encoding in MARKS:
        if content.startswith(mark):
            raise Unparsable(Cause.ENCODING, f"is {encoding}: save it as UTF-8", 0)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character of the text before it may have several bytes.
        start = len(content[: error.start].decode("utf-8-sig"))
        raise Unparsable(Cause.ENCODING, "is no UTF-8", start) from None
    if "\0" in text:
        raise Unparsable(Cause.ENCODING, "has a NUL: save it as UTF-8", text.index("\0"))
    return text


def _check_depth(document: Document) -> None:
    """Refuse what is nested too deeply, which dotted keys and indents can be without brackets."""
    if not isinstance(document.value, dict | list):
        raise Unparsable(Cause.WRONG_TYPE, "expected a table or a list", 0)
    level = [document.value]
    for _ in range(MAX_DEPTH):
        # Types are compared because a file may hold a hundred thousand values.
        level = [
            member
            for table in level
            for member in (table.values() if type(table) is dict else table)
            if type(member) in CONTAINERS
        ]
        if not level:
            return
    walk = document.walk(document.text, EVERYTHING)
    offset = next((offset for pointer, offset in walk if len(pointer) == MAX_DEPTH), 0)
    raise Unparsable(Cause.SYNTAX, TOO_DEEP, offset)


def _deepest(text: str) -> int:
    """Where the brackets are nested deepest."""
    depth = deepest = offset = 0
    for found in re.finditer(r"[][{}]", text):
        depth += 1 if found[0] in "[{" else -1
        if depth > deepest:
            deepest, offset = depth, found.start()
    return offset

"""Texts in TOML, JSON, INI and ``.env``: what they hold, where, and why they hold nothing.

What a parser says of a text may quote it, so messages keep no quotation with a letter in it.
"""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from app.kinds.configuration.causes import Cause, Pointer, Value, shown_key
from app.kinds.configuration.parsing import positions
from app.kinds.configuration.parsing.positions import EVERYTHING, Found, line_and_column
from app.settings import sources

#: How deep tables and lists may be nested: what compares or checks them is recursive.
MAX_DEPTH = 64
TOO_DEEP = f"is nested deeper than {MAX_DEPTH}"
TRAILING_COMMA = "a comma with nothing behind it"
#: Python reads no number with more digits.
MAX_DIGITS = 4300
HUGE = re.compile(rf"\d[\d_]{{{MAX_DIGITS},}}")
QUOTATION = re.compile(r"""\s*:?\s*('[^']*'|"[^"]*"|\(.*\))""")
#: Punctuation, and the names that parsers have for parts of a text.
HARMLESS = re.compile(r"""\W*|\W*'<[a-z ]+>'""")
#: How tomllib says where it is, and how it begins to speak of keys that are there twice.
AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
TWICE = ("Cannot", "Duplicate")
#: What JSON does not have although Python reads it, behind the texts that may hold it.
NO_NUMBER = re.compile(r'"(?:\\.|[^"\\])*"|(?P<number>-?Infinity|NaN)')


class Unparsable(Exception):
    """A text cannot be used: the cause, and the offset of the character where that shows."""

    def __init__(self, cause: Cause, message: str, offset: int) -> None:
        super().__init__(message)
        self.cause = cause
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds; ``walk`` goes through its keys and elements with their offsets."""

    value: Value
    text: str = field(repr=False)
    walk: Callable[[str, Container[Pointer]], Iterable[Found]]

    def locate(self, pointers: Collection[Pointer]) -> dict[Pointer, tuple[int, int]]:
        """Their lines and columns, or those of the nearest thing around them; (0, 0) if none."""
        wanted = {pointer[:length] for pointer in pointers for length in range(1, len(pointer) + 1)}
        found = positions.offsets(self.walk(self.text, wanted), wanted)
        located = {}
        for pointer in pointers:
            around = (pointer[:length] for length in range(len(pointer), 0, -1))
            nearest = next((one for one in around if one in found), None)
            located[pointer] = line_and_column(self.text, found[nearest]) if nearest else (0, 0)
        return located


def reason(message: str) -> str:
    """What a parser says, without what it quotes of the text."""
    text = QUOTATION.sub(lambda q: q[0] if HARMLESS.fullmatch(q[0]) else "", message)
    return f"{text[:1].lower()}{text[1:]}"


def parse_toml(text: str) -> Document:
    """A text in TOML 1.0.

    Raises:
        Unparsable: it is none.
    """
    try:
        return Document(tomllib.loads(text), text, positions.walk_toml)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
    except ValueError:
        raise _huge_number(text) from None
    found, end = AT.search(said), len(text.rstrip())
    offset = positions.offset_of(text, int(found[1]), int(found[2])) if found and found[1] else end
    if said.startswith(TWICE):
        # It is said behind the value, which may have several lines.
        start = positions.last_statement(text[:offset]) if said.startswith("Cannot") else offset
        raise Unparsable(Cause.DUPLICATE_KEY, "a key or table is here twice", start)
    if offset >= end:
        # What is not closed is shown where it begins.
        offset = positions.stray_quote(text) or offset
    raise Unparsable(Cause.SYNTAX, reason(AT.sub("", said)), offset)


def parse_json(text: str) -> Document:
    """A text in JSON as RFC 8259 has it, without duplicate keys.

    Raises:
        Unparsable: it is none.
    """

    def table(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise _duplicate(positions.walk_json(text))
        return members

    def no_number(_: str) -> NoReturn:
        offset = next(found.start() for found in NO_NUMBER.finditer(text) if found["number"])
        raise Unparsable(Cause.SYNTAX, "NaN and Infinity are no JSON", offset)

    try:
        value = json.loads(text, object_pairs_hook=table, parse_constant=no_number)
        return Document(value, text, positions.walk_json)
    except json.JSONDecodeError as error:
        said, offset = reason(error.msg).removesuffix(" at"), error.pos
        before = text[:offset].rstrip()
        # Python says it at the comma from 3.13 on, and at what follows before.
        if said.startswith("illegal trailing comma"):
            said = TRAILING_COMMA
        elif before.endswith(",") and text[offset : offset + 1] in {"]", "}"}:
            said, offset = TRAILING_COMMA, len(before) - 1
        raise Unparsable(Cause.SYNTAX, said, offset) from None
    except ValueError:
        raise _huge_number(text) from None


def parse_ini(text: str) -> Document:
    """A text as ``configparser`` reads it: sections with their keys, which are as written.

    Nothing is put in the place of ``%(name)s``; the keys of ``[DEFAULT]`` are in every section.

    Raises:
        Unparsable: it is none.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(text)
        value = {name: dict(parser[name]) for name in parser.sections()}
        return Document(value, text, positions.walk_ini)
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as error:
        # Faults of syntax are told after the whole text by the parser, and before it here.
        parse_ini(text[: positions.offset_of(text, error.lineno or 1)])
        cause, said, line = Cause.DUPLICATE_KEY, "a key or section is here twice", error.lineno
    except configparser.MissingSectionHeaderError as error:
        cause, said, line = Cause.SYNTAX, "expected [section] before the first key", error.lineno
    except configparser.ParsingError as error:
        line = error.errors[0][0] if error.errors else 1
        cause, said = Cause.SYNTAX, "expected key = value"
    raise Unparsable(cause, said, positions.offset_of(text, line or 1))


def parse_env(text: str) -> Document:
    """A text in the form of the service's own ``.env`` file, without duplicate keys.

    Raises:
        Unparsable: it is none.
    """
    read = sources.parse(text.encode(), "")
    for fault in read.faults:
        offset = positions.offset_of(text, int(fault.name.rpartition(" ")[2]))
        raise Unparsable(Cause.SYNTAX, f"expected {fault.expected}", offset)

    def walk(text: str, wanted: Container[Pointer]) -> Iterator[Found]:
        for entry in read.entries:
            if (entry.name,) in wanted:
                yield (entry.name,), positions.offset_of(text, entry.line)

    value = {entry.name: entry.value for entry in read.entries}
    if len(value) < len(read.entries):
        raise _duplicate(walk(text, EVERYTHING))
    return Document(value, text, walk)


def _duplicate(walk: Iterable[Found]) -> Unparsable:
    """The first key that is there for the second time."""
    seen: set[Pointer] = set()
    for pointer, offset in walk:
        if pointer in seen:
            message = f"{shown_key(pointer[-1])} is here twice"
            return Unparsable(Cause.DUPLICATE_KEY, message, offset)
        seen.add(pointer)
    return Unparsable(Cause.DUPLICATE_KEY, "a key is here twice", 0)


def _huge_number(text: str) -> Unparsable:
    found = HUGE.search(text)
    message = f"a number of more than {MAX_DIGITS} digits"
    return Unparsable(Cause.OUT_OF_RANGE, message, found.start() if found else 0)

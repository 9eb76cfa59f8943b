"""Where in a text a key or an element stands, which parsers do not say; for texts that are valid.

Each ``Found`` is a pointer and the offset of its key or element. Nothing here costs anything until
a file has a problem.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator
from configparser import ConfigParser
from json import loads

from app.kinds.configuration.causes import Pointer

Found = tuple[Pointer, int]

JSON_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|[][{}:,]|[^\s"\[\]{}:,]+')
#: Comments and strings first, so that nothing in them looks like anything else.
TOML_PIECE = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""+' + r"|'''.*?'''+" + r'|"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'"
    r"|[][{}=,.\n]|[^\s\[\]{}=,.#\"']+",
    re.DOTALL,
)
#: A header of bare keys, and lines with simple values behind it, which nobody looks into.
TOML_HEADER = re.compile(r"\[(?P<array>\[)?(?P<names>[\w-]+(?:\.[\w-]+)*+)\](?(array)\])", re.ASCII)
_SCALAR = r"""(?:"(?:\\.|[^"\\\n])*+"(?!")|'[^'\n]*+'(?!')|[^\s"'\[\]{},\#=]++)"""
TOML_BODY = re.compile(
    rf"""
    (?: [ \t]*+
        (?: [\w.-]++ [ \t]*+ = [ \t]*+
            (?: {_SCALAR} | \[ [ \t]*+ (?: {_SCALAR} [ \t]*+ ,? [ \t]*+ )*+ \] )
            [ \t]*+
        )?+
        (?: \#[^\n]*+ )?+ \r?+ \n
    )*+
    """,
    re.ASCII | re.VERBOSE,
)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a character, counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def offset_of(text: str, line: int, column: int = 1) -> int:
    """The offset of a line and a column."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


class Everything:
    """Holds whatever is asked for."""

    def __contains__(self, pointer: object) -> bool:
        return True


EVERYTHING = Everything()


def offsets(walk: Iterable[Found], wanted: Collection[Pointer]) -> dict[Pointer, int]:
    """The offsets of the pointers that the walk meets; it ends where all have been met."""
    found: dict[Pointer, int] = {}
    for pointer, offset in walk:
        if pointer in wanted:
            found.setdefault(pointer, offset)
            if len(found) == len(wanted):
                break
    return found


def walk_json(text: str, wanted: Container[Pointer] = EVERYTHING) -> Iterator[Found]:
    """Every key and element of a JSON text that is wanted."""
    outer: list[tuple[Pointer, int | None]] = []
    # The table or list that the walk is in, the index of the element of a list, and the value.
    base: Pointer = ()
    index: int | None = None
    here: Pointer = ()
    expects_key = False
    for found in JSON_PIECE.finditer(text):
        piece = found[0]
        if piece in {"}", "]"}:
            base, index = outer.pop() if outer else (base, index)
            expects_key = False
        elif piece == ",":
            index = None if index is None else index + 1
            expects_key = index is None
        elif piece != ":":
            if expects_key or index is not None:
                here = (*base, loads(piece) if index is None else index)
                if here in wanted:
                    yield here, found.start()
            if piece in {"{", "["}:
                outer.append((base, index))
                base, index = here, 0 if piece == "[" else None
            expects_key = piece == "{"


def walk_toml(text: str, wanted: Container[Pointer] = EVERYTHING) -> Iterator[Found]:
    """Every key, table and element of a TOML text; nothing in tables that are not wanted."""
    return _TomlWalk(text, wanted).found()


def last_statement(text: str) -> int:
    """The offset of the last header or key with its value in a TOML text."""
    walk = _TomlWalk(text, EVERYTHING)
    deque(walk.found(), maxlen=0)
    return walk.statement


def stray_quote(text: str) -> int | None:
    """The offset of the first quote in a TOML text that opens what is not closed."""
    end = 0
    for piece in TOML_PIECE.finditer(text):
        if text[end : piece.start()].strip():
            break
        end = piece.end()
    quote = re.compile("[\"']").search(text, end)
    return quote.start() if quote else None


class _TomlWalk:
    """Goes through the pieces of a text from the first to the last."""

    def __init__(self, text: str, wanted: Container[Pointer]) -> None:
        self._text, self._wanted = text, wanted
        #: Where the last header or key began.
        self.statement = 0
        #: What the statement at hand holds.
        self._found: list[Found] = []
        #: The arrays of tables, with the index of the last table of each.
        self._arrays: dict[Pointer, int] = {}
        self._go_to(0)

    def found(self) -> Iterator[Found]:
        base: Pointer = ()
        while piece := self._piece():
            if piece == "\n":
                self._advance()
                continue
            self.statement = self._start()
            if piece == "[":
                base = self._header()
            else:
                self._pair(base)
            yield from self._found
            self._found.clear()

    def _go_to(self, offset: int) -> None:
        self._pieces = TOML_PIECE.finditer(self._text, offset)
        self._advance()

    def _advance(self) -> None:
        self._now = next(self._pieces, None)
        while self._now is not None and self._now[0].startswith("#"):
            self._now = next(self._pieces, None)

    def _piece(self) -> str:
        """The piece at hand; empty at the end."""
        return self._now[0] if self._now else ""

    def _start(self) -> int:
        return self._now.start() if self._now else len(self._text)

    def _keys(self) -> list[tuple[str, int]]:
        """A dotted key, up to what ends it."""
        keys = []
        while (piece := self._piece()) not in {"=", "]", "\n", ""}:
            if piece != ".":
                name = tomllib.loads(f"key = {piece}")["key"] if piece[0] in "\"'" else piece
                keys.append((name, self._start()))
            self._advance()
        self._advance()
        return keys

    def _header(self) -> Pointer:
        start = self._start()
        if plain := TOML_HEADER.match(self._text, start):
            array, names, end = bool(plain["array"]), plain["names"].split("."), plain.end()
        else:
            self._advance()
            array = self._piece() == "[" and self._start() == start + 1
            if array:
                self._advance()
            names = [name for name, _ in self._keys()]
            end = self._start() + array
        pointer: Pointer = ()
        for number, name in enumerate(names, 1):
            pointer = (*pointer, name)
            self._found.append((pointer, start))
            if array and number == len(names):
                self._arrays[pointer] = self._arrays.get(pointer, -1) + 1
            if pointer in self._arrays:
                pointer = (*pointer, self._arrays[pointer])
                self._found.append((pointer, start))
        body = None if pointer in self._wanted else TOML_BODY.match(self._text, end)
        self._go_to(body.end() if body else end)
        return pointer

    def _pair(self, base: Pointer) -> None:
        for name, start in self._keys():
            base = (*base, name)
            self._found.append((base, start))
        self._value(base)

    def _value(self, pointer: Pointer) -> None:
        opening = self._piece()
        if opening not in {"[", "{"}:
            while self._piece() not in {"\n", ",", "]", "}", ""}:
                self._advance()
            return
        self._advance()
        index = 0
        while (piece := self._piece()) not in {"]", "}", ""}:
            if piece in {"\n", ","}:
                self._advance()
            elif opening == "{":
                self._pair(pointer)
            else:
                element = (*pointer, index)
                self._found.append((element, self._start()))
                self._value(element)
                index += 1
        self._advance()


def walk_ini(text: str, wanted: Container[Pointer] = EVERYTHING) -> Iterator[Found]:
    """Every section of an INI text, and every key that is wanted, by the patterns of the parser."""
    # The indent of the last key: what is indented more goes on with its value.
    end, section, indent = 0, "", sys.maxsize
    for line in text.split("\n"):
        start, end = end, end + len(line) + 1
        content = line.strip()
        depth = len(line) - len(line.lstrip())
        if not content or content[0] in "#;" or depth > indent:
            continue
        if header := ConfigParser.SECTCRE.match(content):
            section, indent = header["header"], sys.maxsize
            yield (section,), start + depth
        elif pair := ConfigParser.OPTCRE.match(content):
            indent = depth
            key = (section, pair["option"].rstrip())
            if key in wanted:
                yield key, start + depth

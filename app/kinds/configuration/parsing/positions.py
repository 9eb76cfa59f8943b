"""Where in a text a key or an element stands, which parsers do not say; for texts that are valid.

Each ``Found`` is a pointer and the offset of its key or element. Nothing here costs anything until
a file has a problem.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
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


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a character, counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def offset_of(text: str, line: int, column: int = 1) -> int:
    """The offset of a line and a column."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


def offsets(walk: Iterable[Found], pointers: Collection[Pointer]) -> dict[Pointer, int | None]:
    """The offset of each pointer, or of the nearest thing around it; None where there is none."""
    wanted = {pointer[:length] for pointer in pointers for length in range(1, len(pointer) + 1)}
    found: dict[Pointer, int] = {}
    for pointer, offset in walk:
        if pointer in wanted:
            found.setdefault(pointer, offset)
    result = {}
    for pointer in pointers:
        around = (found.get(pointer[:length]) for length in range(len(pointer), 0, -1))
        result[pointer] = next((offset for offset in around if offset is not None), None)
    return result


def walk_json(text: str) -> Iterator[Found]:
    """Every key and element of a JSON text."""
    outer: list[tuple[Pointer, int | None]] = []
    # The table or list that the walk is in, the index of the element of a list, and the value.
    base: Pointer = ()
    index: int | None = None
    here: Pointer = ()
    expects_key = False
    for found in JSON_PIECE.finditer(text):
        piece = found[0]
        if piece in {"}", "]"}:
            if outer:
                base, index = outer.pop()
            expects_key = False
        elif piece == ",":
            index = None if index is None else index + 1
            expects_key = index is None
        elif expects_key:
            here = (*base, loads(piece))
            yield here, found.start()
            expects_key = False
        elif piece != ":":
            if index is not None:
                here = (*base, index)
                yield here, found.start()
            if piece in {"{", "["}:
                outer.append((base, index))
                base, index, expects_key = here, 0 if piece == "[" else None, piece == "{"


def walk_toml(text: str) -> Iterable[Found]:
    """Every key, table and element of a TOML text."""
    return _TomlWalk(text).found


def last_statement(text: str) -> int:
    """The offset of the last header or key with its value in a TOML text."""
    return _TomlWalk(text).statement


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

    def __init__(self, text: str) -> None:
        self.found: list[Found] = []
        self._pieces = [one for one in TOML_PIECE.finditer(text) if not one[0].startswith("#")]
        self._next = 0
        #: The arrays of tables, with the index of the last table of each.
        self._arrays: dict[Pointer, int] = {}
        base: Pointer = ()
        #: Where the last header or key began.
        self.statement = 0
        while piece := self._piece():
            if piece != "\n":
                self.statement = self._pieces[self._next].start()
            if piece == "[":
                base = self._header()
            elif piece == "\n":
                self._next += 1
            else:
                self._pair(base)

    def _piece(self) -> str:
        """The next piece; empty at the end."""
        return self._pieces[self._next][0] if self._next < len(self._pieces) else ""

    def _keys(self) -> list[tuple[str, int]]:
        """A dotted key, up to what ends it."""
        keys = []
        while (piece := self._piece()) not in {"=", "]", "\n", ""}:
            if piece != ".":
                name = tomllib.loads(f"key = {piece}")["key"] if piece[0] in "\"'" else piece
                keys.append((name, self._pieces[self._next].start()))
            self._next += 1
        self._next += 1
        return keys

    def _header(self) -> Pointer:
        start = self._pieces[self._next].start()
        self._next += 1
        array = self._piece() == "[" and self._pieces[self._next].start() == start + 1
        self._next += array
        keys = self._keys()
        self._next += array
        pointer: Pointer = ()
        for number, (name, _) in enumerate(keys, 1):
            pointer = (*pointer, name)
            self.found.append((pointer, start))
            if array and number == len(keys):
                self._arrays[pointer] = self._arrays.get(pointer, -1) + 1
            if pointer in self._arrays:
                pointer = (*pointer, self._arrays[pointer])
                self.found.append((pointer, start))
        return pointer

    def _pair(self, base: Pointer) -> None:
        for name, start in self._keys():
            base = (*base, name)
            self.found.append((base, start))
        self._value(base)

    def _value(self, pointer: Pointer) -> None:
        opening = self._piece()
        if opening not in {"[", "{"}:
            while self._piece() not in {"\n", ",", "]", "}", ""}:
                self._next += 1
            return
        self._next += 1
        index = 0
        while (piece := self._piece()) not in {"]", "}", ""}:
            if piece in {"\n", ","}:
                self._next += 1
            elif opening == "{":
                self._pair(pointer)
            else:
                element = (*pointer, index)
                self.found.append((element, self._pieces[self._next].start()))
                self._value(element)
                index += 1
        self._next += 1


def walk_ini(text: str) -> Iterator[Found]:
    """Every section and key of an INI text, by the patterns of the parser."""
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
            yield (section, pair["option"].rstrip()), start + depth

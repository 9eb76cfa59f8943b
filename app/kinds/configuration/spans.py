"""Where in a text a key, a value or an entry begins and ends; for texts that can be parsed.

A span is a pair of offsets in characters. What is written in a way that is not followed here has
none. Whoever changes a text by its spans parses it again, and compares.
"""

from __future__ import annotations

import re
from typing import Any

from app.kinds.configuration.causes import Pointer
from app.kinds.configuration.formats import Format
from app.kinds.configuration.parsing import positions

Span = tuple[int, int]

PIECES = {Format.JSON: positions.JSON_PIECE, Format.TOML: positions.TOML_PIECE}
WALKS = {Format.JSON: positions.walk_json, Format.TOML: positions.walk_toml}
BRACKETS = {"{": 1, "[": 1, "}": -1, "]": -1}
#: A blank line or a comment of TOML or YAML: at the end of a table it belongs to what follows.
BETWEEN = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n?")


def keys(text: str, written_in: Format, pointer: Pointer) -> list[Span]:
    """Every place where a key is written; in TOML a table's name may be in several headers."""
    name = str(pointer[-1])
    if written_in is Format.YAML:
        key, _ = _yaml_member(text, pointer)
        return [] if key is None else [_marks(key)]
    if written_in in PIECES:
        found = (offset for where, offset in WALKS[written_in](text) if where == pointer)
        return [_key_at(text, written_in, pointer, offset) for offset in found]
    if written_in is Format.INI:
        offsets = [offset for where, offset in positions.walk_ini(text) if where == pointer]
        starts = [text.index(name, offset) for offset in offsets]
    else:
        pattern = rf"^[ \t]*(?:export[ \t]+)?({re.escape(name)})[ \t]*="
        starts = [found.start(1) for found in re.finditer(pattern, text, re.MULTILINE)]
    return [(start, start + len(name)) for start in starts]


def value(text: str, written_in: Format, pointer: Pointer) -> Span | None:
    """Where the value of a key, or an element, stands in JSON, TOML or YAML."""
    if written_in is Format.YAML:
        _, member = _yaml_member(text, pointer)
        return None if member is None else _without_end(text, _marks(member))
    if written_in not in PIECES:
        return None
    offsets = [offset for where, offset in WALKS[written_in](text) if where == pointer]
    if len(offsets) != 1:
        return None
    start = offsets[0]
    if isinstance(pointer[-1], str):
        pieces = PIECES[written_in].finditer(text, _key_at(text, written_in, pointer, start)[1])
        sign, first = next(pieces, None), next(pieces, None)
        if sign is None or first is None or sign[0] not in {":", "="}:
            return None
        start = first.start()
    return start, _end_of_value(text, written_in, start)


def entry(text: str, written_in: Format, pointer: Pointer) -> Span | None:
    """Where a member of a table or list stands, its key or its headers included."""
    if written_in is Format.TOML and (sections := _toml_sections(text, pointer)) is not None:
        return sections
    whole, places = value(text, written_in, pointer), []
    if isinstance(pointer[-1], str):
        places = keys(text, written_in, pointer)
    if whole is None or len(places) > 1:
        return None
    return (places[0][0] if places else whole[0]), whole[1]


def _key_at(text: str, written_in: Format, pointer: Pointer, offset: int) -> Span:
    """The key that is written at an offset, which in TOML may be that of a header."""
    pieces = (piece for piece in PIECES[written_in].finditer(text, offset) if piece[0] != ".")
    piece = next(pieces)
    if piece[0] == "[":
        # The indexes of arrays of tables are not in the header.
        for _ in filter(lambda step: isinstance(step, str), pointer):
            piece = next(piece for piece in pieces if piece[0] != "[")
    return piece.span()


def _end_of_value(text: str, written_in: Format, start: int) -> int:
    depth, end = 0, start
    for piece in PIECES[written_in].finditer(text, start):
        bracket = BRACKETS.get(piece[0], 0)
        if depth == 0 and (piece[0] in {"\n", ","} or piece[0][0] == "#" or bracket < 0):
            break
        depth += bracket
        end = piece.end()
    return end


def _toml_sections(text: str, pointer: Pointer) -> Span | None:
    """From the first header of a table to the end of the last one, where no other is between."""
    headers: dict[int, Pointer] = {}
    for where, offset in positions.walk_toml(text):
        # Each header tells the names of the tables around first; an element begins so, too.
        if text[offset] == "[" and (offset in headers or len(where) == 1):
            headers[offset] = where
    starts = [*sorted(headers), len(text)]
    inside = [n for n, at in enumerate(starts[:-1]) if headers[at][: len(pointer)] == pointer]
    if not inside or inside != list(range(inside[0], inside[-1] + 1)):
        return None
    return _without_end(text, (starts[inside[0]], starts[inside[-1] + 1]))


def _without_end(text: str, span: Span) -> Span:
    """A span without the blank lines and comments at its end."""
    start, end = span
    lines = text[start:end].splitlines(keepends=True)
    while len(lines) > 1 and BETWEEN.fullmatch(lines[-1]):
        end -= len(lines.pop())
    return start, start + len(text[start:end].rstrip())


def _yaml_member(text: str, pointer: Pointer) -> tuple[Any, Any]:
    """ruamel.yaml's nodes of a key and its value; None for what is not written there itself."""
    from ruamel.yaml import YAML

    key, node = None, YAML(typ="safe", pure=True).compose(text)
    for step in pointer:
        key = None
        if node.id == "sequence" and isinstance(step, int):
            node = node.value[step]
            continue
        pairs = node.value if node.id == "mapping" else []
        key, node = next((pair for pair in pairs if pair[0].value == step), (None, None))
        if node is None:
            break
    return key, node


def _marks(node: Any) -> Span:  # noqa: ANN401 - ruamel.yaml does not say what its nodes have
    return node.start_mark.index, node.end_mark.index

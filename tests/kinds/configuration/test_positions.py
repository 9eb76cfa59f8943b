"""Where keys and elements stand, in every format and however they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from app.kinds.configuration.causes import Pointer
from app.kinds.configuration.formats import Format, parse_document, position

TOML = '''\
# [no.table]
title = "x" # and = no [key]
[a.b]
c.d = [1, {x = 1, "y z" = [
  2,
  3,  # ]
]}]
text = """
[fake]
c = 2 \\"""
"""
literal = \'\'\'
[fake]\'\'\'
day = 1979-05-27 07:32:00
["a" . "q.\\u0072" . 'l[]']
deep = { er = { est = 1.5 } }
[[list]]
name = "1"
[[list]]
name = "2"
[list.sub]
key = 3
[[list.subs]]
key = 1.5
[[ list . subs ]]
key = 2
[nothing.else]
'''
JSON = r"""
{"a": [1, {"b": 2,
           "c": [[], [3, 4]]}],
 "d\u0065": {"\"": null, "": "{\"no\": [1]}"},
 "e": []}
"""
YAML_TEXT = """\
# no: key
base: &base {x: 1, 'y z': "2"}
list:
  - <<: *base
    x: 3
  -
    - a
    - {b: [1,
           2]}
text: |
  no: key
again: *base
"""
INI = """\
; no = key
[first]
key = 1
  no = key
KEY: 2
[ second one ]
  key = 3
"""
CASES: list[tuple[Format, str, Pointer, tuple[int, int]]] = [
    (Format.TOML, TOML, ("title",), (2, 1)),
    (Format.TOML, TOML, ("a", "b"), (3, 1)),
    (Format.TOML, TOML, ("a", "b", "c", "d"), (4, 3)),
    (Format.TOML, TOML, ("a", "b", "c", "d", 1), (4, 11)),
    (Format.TOML, TOML, ("a", "b", "c", "d", 1, "y z"), (4, 19)),
    (Format.TOML, TOML, ("a", "b", "c", "d", 1, "y z", 1), (6, 3)),
    (Format.TOML, TOML, ("a", "b", "literal"), (12, 1)),
    (Format.TOML, TOML, ("a", "b", "day"), (14, 1)),
    (Format.TOML, TOML, ("a", "q.r", "l[]"), (15, 1)),
    (Format.TOML, TOML, ("a", "q.r", "l[]", "deep", "er", "est"), (16, 17)),
    (Format.TOML, TOML, ("list", 0), (17, 1)),
    (Format.TOML, TOML, ("list", 1, "name"), (20, 1)),
    (Format.TOML, TOML, ("list", 1, "sub", "key"), (22, 1)),
    (Format.TOML, TOML, ("list", 1, "subs", 1, "key"), (26, 1)),
    (Format.TOML, TOML, ("nothing", "else"), (27, 1)),
    (Format.JSON, JSON, ("a", 0), (2, 8)),
    (Format.JSON, JSON, ("a", 1, "c"), (3, 12)),
    (Format.JSON, JSON, ("a", 1, "c", 1, 1), (3, 26)),
    (Format.JSON, JSON, ("de", '"'), (4, 14)),
    (Format.JSON, JSON, ("de", ""), (4, 26)),
    (Format.JSON, JSON, ("e",), (5, 2)),
    (Format.YAML, YAML_TEXT, ("base", "y z"), (2, 20)),
    (Format.YAML, YAML_TEXT, ("list", 0, "x"), (5, 5)),
    (Format.YAML, YAML_TEXT, ("list", 0, "y z"), (2, 20)),
    (Format.YAML, YAML_TEXT, ("list", 1, 1, "b", 1), (9, 12)),
    (Format.YAML, YAML_TEXT, ("again", "x"), (2, 14)),
    (Format.INI, INI, ("first",), (2, 1)),
    (Format.INI, INI, ("first", "KEY"), (5, 1)),
    (Format.INI, INI, (" second one ", "key"), (7, 3)),
    (Format.ENV, "# A=1\n\nexport A=1\nB=2", ("B",), (4, 1)),
    # What is not there is where what would be around it is.
    (Format.TOML, TOML, ("list", 1, "none", 3), (19, 1)),
    (Format.JSON, JSON, ("a", 1, "c", 7), (3, 12)),
    (Format.YAML, YAML_TEXT, ("list", 1, 9), (7, 5)),
    (Format.TOML, TOML, ("none",), (0, 0)),
    (Format.JSON, JSON, (), (0, 0)),
    (Format.ENV, "A=1", ("B",), (0, 0)),
]


@pytest.mark.parametrize(("written_in", "text", "pointer", "expected"), CASES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_positions(
    written_in: Format, text: str, pointer: Pointer, expected: tuple[int, int], line_end: str
) -> None:
    """Each key and element has its line and column, whatever comments and texts look like."""
    content = text.replace("\n", line_end).encode()
    assert position(content, written_in, pointer) == expected


def pointers(value: Any, around: Pointer = ()) -> Iterator[Pointer]:  # noqa: ANN401 - of a file
    """Every key and element of a value."""
    members = value.items() if isinstance(value, dict) else ()
    for step, member in enumerate(value) if isinstance(value, list) else members:
        yield (*around, step)
        yield from pointers(member, (*around, step))


#: What ends a line is written differently in each format, and is in the texts above.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cf", "Cn")))
LEAVES = st.one_of(TEXTS, st.integers(-(2**60), 2**60), st.booleans(), st.floats(0, 9))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def quoted(key: str) -> str:
    """A text in quotes, in JSON and in TOML."""
    return json.dumps(key, ensure_ascii=False)


def in_json(value: Any) -> str:  # noqa: ANN401 - of a file
    """A value as JSON and YAML have it, in lines."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def inline(value: Any) -> str:  # noqa: ANN401 - of a file
    """A value as TOML has it inline."""
    if isinstance(value, dict):
        members = (f"{quoted(key)} = {inline(member)}" for key, member in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"{inline(member)}, # [\n" for member in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def in_toml(value: dict[str, Any]) -> str:
    """A document in TOML: its tables with headers, behind all that is none."""
    tables = {key: one for key, one in value.items() if isinstance(one, dict)}
    lines = [f"{quoted(k)} = {inline(v)}" for k, v in value.items() if k not in tables]
    for key, table in tables.items():
        lines.append(f"[{quoted(key)}] # [x]")
        lines += (f"{quoted(k)} = {inline(v)}" for k, v in table.items())
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("written_in", "write"),
    [(Format.TOML, in_toml), (Format.JSON, in_json), (Format.YAML, in_json)],
)
def test_any_document(written_in: Format, write: Any) -> None:  # noqa: ANN401 - one of several
    """Every key and element of any document is found where it is written."""

    @hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @hypothesis.given(DOCUMENTS)
    def found(value: dict[str, Any]) -> None:
        text = write(value)
        document = parse_document(text.encode(), written_in)
        assert document.value == value
        expected = [*pointers(value)]
        located = document.locate(expected)
        lines = text.split("\n")
        for pointer, (line, column) in located.items():
            rest = lines[line - 1][column - 1 :]
            # A key is quoted or as it is; an element begins anyhow.
            step = pointer[-1]
            assert isinstance(step, int) or rest.startswith((step, '"', "'", "?", "[")), pointer

    found()

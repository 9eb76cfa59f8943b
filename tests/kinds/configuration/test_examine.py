"""A content is examined whole: what it holds, what is wrong with it and where."""

from __future__ import annotations

import json

import pytest

from app.kinds.configuration.causes import Cause
from app.kinds.configuration.examine import entries_of, examine, with_entries
from app.kinds.configuration.formats import Format
from app.kinds.configuration.schemas import JsonSchema, Schema

FUNCTION = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "url": {"type": "string", "pattern": "^https://"},
        "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 120},
    },
    "required": ["url"],
    "additionalProperties": False,
}
TOML = b"""\
limit = 3

[functions.orders]
url = "https://orders.example.com"

[functions.stock]
url = "https://stock.example.com"
timeuot = 5
timeout = 500

[functions.prices]
timeout = 1
"""


@pytest.fixture(scope="module")
def functions() -> Schema:
    """A schema of a limit and of functions by their names."""
    return JsonSchema(
        {
            "type": "object",
            "properties": {
                "limit": {"type": "integer"},
                "functions": {"type": "object", "additionalProperties": FUNCTION},
            },
        }
    )


def test_good_content(functions: Schema) -> None:
    """What has no problem is what was parsed."""
    content = b"limit = 3\n[functions.a]\nurl = 'https://a.example.com'\n"
    examined = examine(content, Format.TOML, functions, "/functions")
    assert examined.problems == ()
    assert examined.broken == {}
    assert examined.value["limit"] == 3


def test_broken_entries(functions: Schema) -> None:
    """Each broken entry has its first problem with its line, and the file as a whole has none."""
    examined = examine(TOML, Format.TOML, functions, "/functions")
    assert examined.problems == ()
    assert {name: str(problem) for name, problem in examined.broken.items()} == {
        "stock": "line 8, column 1: functions.stock.timeuot is no known key",
        "prices": "line 11, column 1: functions.prices has no url",
    }
    good = with_entries(examined.value, "/functions", dict.fromkeys(examined.broken))
    assert good == {"limit": 3, "functions": {"orders": {"url": "https://orders.example.com"}}}


def test_without_entries(functions: Schema) -> None:
    """Where nothing stands alone every problem is the file's, in the order of the lines."""
    examined = examine(TOML, Format.TOML, functions)
    assert examined.broken == {}
    assert [(one.cause, one.line) for one in examined.problems] == [
        (Cause.UNKNOWN_KEY, 8),
        (Cause.OUT_OF_RANGE, 9),
        (Cause.MISSING_KEY, 11),
    ]


def test_a_problem_beside_the_entries(functions: Schema) -> None:
    """What is wrong outside of the collection costs the file as a whole."""
    content = TOML.replace(b"limit = 3", b'limit = "3"')
    examined = examine(content, Format.TOML, functions, "/functions")
    assert [(one.cause, one.line, one.types) for one in examined.problems] == [
        (Cause.WRONG_TYPE, 1, ("integer",))
    ]
    assert set(examined.broken) == {"stock", "prices"}


def test_entries_of_a_list() -> None:
    """Members of a list are called by their names, and by their index where that says nothing."""
    members = [{"name": "a", "x": 1}, {"x": 2}, {"name": "a", "x": 3}, 4]
    value = {"deep": [{"list": members}], "rest": True}
    assert entries_of(value, "/deep/0/list") == dict(
        zip(["a", "1", "2", "3"], members, strict=True)
    )
    changed = with_entries(value, "/deep/0/list", {"a": {"name": "a"}, "2": None, "new": 1})
    assert changed == {"deep": [{"list": [{"name": "a"}, {"x": 2}, 4]}], "rest": True}
    assert value["deep"] == [{"list": members}]
    examined = examine(
        json.dumps(value).encode(), Format.JSON, JsonSchema(_numbers()), "/deep/0/list"
    )
    assert set(examined.broken) == {"3"}


@pytest.mark.parametrize("entries", ["/none", "/limit", "/functions/x/y", "/list/9", "/list/x"])
def test_no_collection(entries: str) -> None:
    """A pointer that leads to no table and no list has no entries, and changes nothing."""
    value = {"limit": 3, "functions": {}, "list": []}
    assert entries_of(value, entries) == {}
    assert with_entries(value, entries, {"limit": None}) == value


def test_the_whole_document_as_collection() -> None:
    """The empty pointer is the document itself."""
    content = b"[a]\nx = 1\n[b]\nx = 2\n"
    schema = JsonSchema({"additionalProperties": {"properties": {"x": {"const": "2"}}}})
    assert set(examine(content, Format.INI, schema, "").broken) == {"a"}


def _numbers() -> object:
    """A schema of which the member that is a number is none of the objects."""
    lists = {"properties": {"list": {"items": {"type": "object"}}}}
    return {"properties": {"deep": {"items": lists}}}

"""Schemas: what is refused, with its cause and its pointer, by JSON Schema and by types."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from app.kinds.configuration.causes import Broken, Cause
from app.kinds.configuration.examine import examine
from app.kinds.configuration.schemas import JsonSchema, Schema, load_schema
from tests.kinds.configuration.corpus import CANARY, GOOD, LINES, SCHEMA, Case, wrong_contents

TYPES = f"""\
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta, Struct


@dataclass
class Function:
    url: str
    timeout: float
    live: bool = False
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.timeout == 666:
            raise ValueError(f"{CANARY} {{self.url}}")
        if self.timeout == 667:
            raise RuntimeError(f"{CANARY} {{self.url}}")


class Shop(TypedDict):
    currency: str
    functions: dict[str, Function]
    limits: NotRequired[list[int]]


class Unit(Enum):
    GRAM = "g"
    LITRE = "l"


class Open(Struct, rename="camel"):
    unit_price: Annotated[float, Meta(gt=0)]
    unit: Unit = Unit.GRAM
    code: Annotated[str, Meta(pattern="^[A-Z]+$", max_length=3)] = "A"
    since: date | None = None
    kind: Literal["a", "b"] = "a"
    inner: "Closed | None" = None


class Closed(Struct, forbid_unknown_fields=True):
    pair: tuple[int, str] = (1, "")
    counts: dict[int, int] = {{}}


class Cat(Struct, tag_field="kind", tag="cat", forbid_unknown_fields=True):
    lives: int


class Dog(Struct, tag_field="kind", tag="dog", forbid_unknown_fields=True):
    legs: int


Pets = dict[str, Cat | Dog]
Anything = dict[str, list | dict | None]


@dataclass
class Section:
    timeout: float
    live: bool


class Strange:
    pass
"""
CASES = {case.name: case for case in wrong_contents()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - an iterator of a Path
    """A directory with the modules of an application."""
    root = tmp_path_factory.mktemp("types")
    (root / "shop_types.py").write_text(TYPES)
    (root / "shop_broken.py").write_text(f"raise RuntimeError('{CANARY}')\n")
    (root / "shop_ends.py").write_text("raise SystemExit(3)\n")
    (root / "shop_needs.py").write_text("import nowhere_to_be_found.part\n")
    (root / "shop.schema.json").write_text(json.dumps(SCHEMA))
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


def of_types(name: str, *, texts: bool = False) -> Schema:
    """The schema of a type of the shop."""
    return load_schema(f"shop_types:{name}", Path(), texts=texts)


def found(schema: Schema, value: object) -> list[tuple[Cause, object]]:
    """The causes and pointers of the problems."""
    problems = schema.problems(value)
    assert CANARY not in " ".join(map(str, problems))
    return [(one.cause, one.pointer) for one in problems]


@pytest.mark.parametrize("written_in", LINES)
@pytest.mark.parametrize("reference", ["shop.schema.json", "shop_types:Shop"])
def test_good_contents(shop: Path, reference: str, written_in: Any) -> None:  # noqa: ANN401
    """The good texts of every format are what the schemas allow."""
    examined = examine(GOOD[written_in].encode(), written_in, load_schema(reference, shop))
    assert (examined.problems, examined.broken) == ((), {})


@pytest.mark.parametrize("reference", ["shop.schema.json", "shop_types:Shop"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_wrong_contents(shop: Path, reference: str, case: Case) -> None:
    """A wrong type at any leaf, a misspelt and a missing key have their cause and their line."""
    schema = load_schema(reference, shop)
    examined = examine(case.content, case.written_in, schema)
    assert [(one.cause, one.line) for one in examined.problems] == [(case.cause, case.line)]
    (problem,) = examined.problems
    assert CANARY not in str(problem)
    if case.cause is Cause.UNKNOWN_KEY:
        assert len(problem.nearest) == 1
        assert problem.nearest[0] in str(problem)


class TestJsonSchema:
    """What jsonschema finds, in words of ours."""

    @pytest.mark.parametrize(
        ("schema", "value", "cause", "words"),
        [
            ({"type": ["string", "null"]}, 3, Cause.WRONG_TYPE, "of the type string or null"),
            ({"type": "integer"}, True, Cause.WRONG_TYPE, "of the type integer"),
            (
                {"anyOf": [{"type": "string"}, {"type": ["array", "null"]}]},
                3,
                Cause.WRONG_TYPE,
                "of the type string or array or null",
            ),
            ({"minimum": 3}, 2, Cause.OUT_OF_RANGE, "at least 3"),
            ({"maximum": 3}, 4, Cause.OUT_OF_RANGE, "at most 3"),
            ({"exclusiveMinimum": 3}, 3, Cause.OUT_OF_RANGE, "more than 3"),
            ({"exclusiveMaximum": 3}, 3, Cause.OUT_OF_RANGE, "less than 3"),
            ({"multipleOf": 3}, 4, Cause.OUT_OF_RANGE, "a multiple of 3"),
            ({"enum": ["a", 1]}, CANARY, Cause.OUT_OF_RANGE, 'one of "a", 1'),
            ({"const": 1}, CANARY, Cause.OUT_OF_RANGE, "has to be 1"),
            ({"pattern": "^a"}, CANARY, Cause.OUT_OF_RANGE, 'match "^a"'),
            ({"format": "date"}, CANARY, Cause.OUT_OF_RANGE, 'the format "date"'),
            ({"minLength": 9}, CANARY, Cause.OUT_OF_RANGE, "at least 9 characters"),
            ({"maxLength": 2}, CANARY, Cause.OUT_OF_RANGE, "at most 2 characters"),
            ({"minItems": 2}, [CANARY], Cause.OUT_OF_RANGE, "at least 2 elements"),
            ({"maxItems": 0}, [CANARY], Cause.OUT_OF_RANGE, "at most 0 elements"),
            ({"uniqueItems": True}, [CANARY, CANARY], Cause.OUT_OF_RANGE, "no element twice"),
            ({"minProperties": 2}, {"a": CANARY}, Cause.OUT_OF_RANGE, "at least 2 keys"),
            ({"maxProperties": 0}, {"a": CANARY}, Cause.OUT_OF_RANGE, "at most 0 keys"),
            ({"not": {}}, CANARY, Cause.ENTRY_INVALID, "not what the schema allows (not)"),
            ({"contains": {"const": 1}}, [CANARY], Cause.ENTRY_INVALID, "(contains)"),
            (
                {"oneOf": [{"minimum": 3}, {"maxLength": 3}]},
                True,
                Cause.ENTRY_INVALID,
                "(oneOf)",
            ),
        ],
    )
    def test_keywords(self, schema: object, value: object, cause: Cause, words: str) -> None:
        """Each keyword has its cause, and says what is allowed but not what was there."""
        (problem,) = JsonSchema({"properties": {"x": schema}}).problems({"x": value})
        assert (problem.cause, problem.pointer) == (cause, ("x",))
        assert words in str(problem)
        assert CANARY not in str(problem)

    def test_keys(self) -> None:
        """Every missing and every unknown key is a problem of its own."""
        schema = JsonSchema(
            {
                "properties": {"price": {}, "amount": {}, "x-1": False},
                "patternProperties": {"^y-": {}},
                "required": ["price", "amount"],
                "additionalProperties": False,
                "propertyNames": {"maxLength": 6},
                "dependentRequired": {"amount": ["price"]},
            }
        )
        value = {"pirce": 1, "y-1": 1, "x-1": 1, "seven77": 1}
        assert sorted(found(schema, value)) == [
            (Cause.ENTRY_INVALID, ()),
            (Cause.MISSING_KEY, ()),
            (Cause.MISSING_KEY, ()),
            (Cause.UNKNOWN_KEY, ("pirce",)),
            (Cause.UNKNOWN_KEY, ("seven77",)),
        ]
        nearest = {one.key: one.nearest for one in schema.problems(value)}
        assert nearest == {
            "pirce": ("price",),
            "seven77": (),
            "price": (),
            "amount": (),
            "": (),
        }

    def test_one_of_several(self) -> None:
        """Of several schemas that one is meant whose kind fits; of two nobody knows which."""
        kinds = [
            {
                "properties": {"kind": {"const": kind}, key: {"type": "integer"}},
                "required": ["kind", key],
                "additionalProperties": False,
            }
            for kind, key in [("cat", "lives"), ("dog", "legs")]
        ]
        schema = JsonSchema({"additionalProperties": {"oneOf": kinds}})
        value = {
            "a": {"kind": "cat", "lives": CANARY},
            "b": {"kind": "dog", "leg": 4},
            "c": {"kind": CANARY},
            "d": {"kind": "dog", "legs": 4},
        }
        assert sorted(found(schema, value)) == [
            (Cause.ENTRY_INVALID, ("c",)),
            (Cause.MISSING_KEY, ("b",)),
            (Cause.UNKNOWN_KEY, ("b", "leg")),
            (Cause.WRONG_TYPE, ("a", "lives")),
        ]

    def test_equally_near(self) -> None:
        """Of two known keys that are equally near both are named."""
        schema = JsonSchema({"properties": {"rate": {}, "late": {}}, "additionalProperties": False})
        (problem,) = schema.problems({"kate": 1})
        assert problem.nearest == ("late", "rate")
        assert "late or rate is known" in str(problem)

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "texts"},
            {"minimum": CANARY},
            [CANARY],
            {"properties": {"a": 3}},
            {"pattern": "("},
        ],
    )
    def test_no_schema(self, schema: object) -> None:
        """What is no JSON Schema is refused before anything is checked with it."""
        with pytest.raises(Broken) as caught:
            JsonSchema(schema)
        assert caught.value.problem.cause is Cause.SCHEMA_INVALID
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize(
        "reference",
        ["#/$defs/none", "other.json", "https://example.com/schema.json", "http://127.0.0.1:9/x"],
    )
    def test_references(self, reference: str) -> None:
        """A reference out of the schema is never followed; one to what it does not have is told."""
        (problem,) = JsonSchema({"properties": {"a": {"$ref": reference}}}).problems({"a": 1})
        assert problem.cause is Cause.SCHEMA_INVALID

    @pytest.mark.parametrize("value", [10**400, math.nan])
    def test_numbers_that_cannot_be_checked(self, value: float) -> None:
        """A number with which nobody can calculate is a problem and no crash."""
        (problem,) = JsonSchema({"properties": {"x": {"multipleOf": 0.5}}}).problems({"x": value})
        assert problem.cause is Cause.OUT_OF_RANGE

    def test_schema_of_itself(self) -> None:
        """A schema that is itself ends all the same; one that recurs with the value works."""
        (problem,) = JsonSchema({"$ref": "#"}).problems({})
        assert problem.cause is Cause.SCHEMA_INVALID
        tree = JsonSchema({"additionalProperties": {"$ref": "#"}, "type": "object"})
        assert found(tree, {"a": {"b": {"c": 1}}}) == [(Cause.WRONG_TYPE, ("a", "b", "c"))]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "the schema: does not exist"),
            (b"{", "the schema: line 1, column 2"),
            (b'{"type": 3}', "the schema is no JSON Schema: type"),
        ],
    )
    def test_files(self, tmp_path: Path, content: bytes | None, words: str) -> None:
        """A schema's file that cannot be used is told as the schema's own problem."""
        if content is not None:
            (tmp_path / "x.schema.json").write_bytes(content)
        with pytest.raises(Broken, match=words) as caught:
            load_schema("x.schema.json", tmp_path)
        assert caught.value.problem.cause is Cause.SCHEMA_INVALID


@pytest.mark.usefixtures("shop")
class TestTypes:
    """Types of the application's code."""

    def test_values(self) -> None:
        """Callers get values of the type."""
        function = {"url": "https://example.com", "timeout": 5}
        value = of_types("Shop").value({"currency": "EUR", "functions": {"orders": function}})
        assert value["functions"]["orders"].timeout == 5.0
        assert value["functions"]["orders"].tags == []
        opened = of_types("Open").value({"unitPrice": 1, "unit": "l", "since": "2026-11-28"})
        assert (opened.unit.name, opened.since.year) == ("LITRE", 2026)
        assert of_types("Closed").value({"counts": {"1": 2}}).counts == {1: 2}

    def test_all_problems(self) -> None:
        """All that is wrong is found, wherever it is, and what the code itself refuses too."""
        function = {"url": CANARY, "timeout": 5}
        functions = {
            "a": {"url": 1, "timeout": CANARY, "tags": ["", 2, None]},
            "b": {"url": CANARY, "timeuot": 5},
            "c": {**function, "timeout": 666},
            "d": {**function, "timeout": 667},
            "e": function,
            "f": CANARY,
        }
        assert found(of_types("Shop"), {"functions": functions, "limit": 3}) == [
            (Cause.MISSING_KEY, ()),
            (Cause.UNKNOWN_KEY, ("limit",)),
            (Cause.WRONG_TYPE, ("functions", "a", "url")),
            (Cause.WRONG_TYPE, ("functions", "a", "timeout")),
            (Cause.WRONG_TYPE, ("functions", "a", "tags", 1)),
            (Cause.WRONG_TYPE, ("functions", "a", "tags", 2)),
            (Cause.MISSING_KEY, ("functions", "b")),
            (Cause.UNKNOWN_KEY, ("functions", "b", "timeuot")),
            (Cause.ENTRY_INVALID, ("functions", "c")),
            (Cause.ENTRY_INVALID, ("functions", "d")),
            (Cause.WRONG_TYPE, ("functions", "f")),
        ]
        with pytest.raises(Broken, match="has no currency"):
            of_types("Shop").value({})

    def test_limits(self) -> None:
        """What a type allows is said; numbers, texts, choices and dates."""
        value = {
            "unitPrice": 0,
            "unit": CANARY,
            "code": CANARY,
            "since": CANARY,
            "kind": CANARY,
            "inner": {"pair": [1, 2], "counts": {"a": 1}, "other": 1},
            "other": 1,
        }
        said = [str(problem) for problem in of_types("Open").problems(value)]
        assert said == [
            "unitPrice has to be > 0.0",
            "unit has to be one of g, l",
            "code has to be of length <= 3",
            "since is not allowed",
            "kind has to be one of a, b",
            "inner.other is no known key",
            "inner.pair[1] has to be of the type string",
            "inner.counts is refused by dict",
        ]

    def test_unknown_keys(self) -> None:
        """A Struct says itself whether it knows others; a dataclass and a TypedDict never do."""
        assert found(of_types("Open"), {"unitPrice": 1, "other": 1}) == []
        assert found(of_types("Closed"), {"other": 1}) == [(Cause.UNKNOWN_KEY, ("other",))]
        good = {"url": "", "timeout": 1}
        value = {"currency": "", "functions": {"a": {**good, "other": 1}}}
        assert found(of_types("Shop"), value) == [(Cause.UNKNOWN_KEY, ("functions", "a", "other"))]

    def test_one_of_several(self) -> None:
        """Of several types the one is meant that the tag names."""
        value = {
            "a": {"kind": "cat", "lives": "9"},
            "b": {"kind": "dog", "lives": 9},
            "c": {"kind": CANARY, "lives": 9},
            "d": {"lives": 9},
            "e": {"kind": "dog", "legs": 4},
        }
        assert found(of_types("Pets"), value) == [
            (Cause.WRONG_TYPE, ("a", "lives")),
            (Cause.MISSING_KEY, ("b",)),
            (Cause.UNKNOWN_KEY, ("b", "lives")),
            (Cause.OUT_OF_RANGE, ("c",)),
            (Cause.MISSING_KEY, ("d",)),
        ]

    def test_types_without_members(self) -> None:
        """A type that says nothing of members takes any."""
        assert found(of_types("Anything"), {"a": [1, {"b": 2}], "c": {"d": []}, "e": None}) == []
        assert found(of_types("Anything"), {"a": 3}) == [(Cause.WRONG_TYPE, ("a",))]

    def test_texts(self) -> None:
        """Where all values are texts, numbers and flags are read from them."""
        value = {"timeout": "1.5", "live": "true"}
        section = of_types("Section", texts=True).value(value)
        assert (section.timeout, section.live) == (1.5, True)
        assert len(of_types("Section").problems(value)) == 2
        wrong = {"timeout": CANARY, "live": "true"}
        assert found(of_types("Section", texts=True), wrong) == [(Cause.WRONG_TYPE, ("timeout",))]

    @pytest.mark.parametrize(
        ("reference", "cause", "key"),
        [
            ("shop_types:Strange", Cause.SCHEMA_INVALID, ""),
            ("shop_types:Missing", Cause.SCHEMA_INVALID, ""),
            ("shop_types:dataclass", Cause.SCHEMA_INVALID, ""),
            ("shop_broken:Shop", Cause.SCHEMA_INVALID, ""),
            ("shop_ends:Shop", Cause.SCHEMA_INVALID, ""),
            ("shop_nowhere:Shop", Cause.SCHEMA_INVALID, ""),
            ("shop_needs:Shop", Cause.NO_PARSER, "nowhere_to_be_found"),
        ],
    )
    def test_unusable_types(self, reference: str, cause: Cause, key: str) -> None:
        """Code that cannot be used costs its file alone; a package that it needs is named."""
        with pytest.raises(Broken) as caught:
            load_schema(reference, Path())
        problem = caught.value.problem
        assert (problem.cause, problem.key) == (cause, key)
        assert CANARY not in str(problem)

    def test_the_log_has_the_reason_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """What cannot be used is tried again and again, and logged with its trace once."""
        for _ in range(3):
            with pytest.raises(Broken):
                load_schema("shop_types:NotThere", Path())
        (record,) = [one for one in caplog.records if one.name.endswith("typed")]
        assert "AttributeError" in record.__dict__["fields"]["error"]

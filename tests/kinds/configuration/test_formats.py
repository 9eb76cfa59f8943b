"""Formats: what good texts hold, and the cause and the line of every way to break one."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from app.kinds.configuration.causes import MEANINGS, Broken, Cause, parse_pointer
from app.kinds.configuration.examine import examine
from app.kinds.configuration.formats import SUFFIXES, Format, format_of, parse
from tests.kinds.configuration.corpus import CANARY, GOOD, Case, mutated, texts, truncated

CASES = {case.name: case for case in texts()}
FUNCTIONS = {
    "orders": {"url": f"{CANARY}://orders", "timeout": 5, "live": True},
    "stock": {
        "url": f"{CANARY}://stock",
        "timeout": 1.5,
        "tags": [f"{CANARY} a", f"{CANARY} b"],
    },
}
HELD = {"currency": f"{CANARY} eur", "limits": [3, 7], "functions": FUNCTIONS}
VALUES = {
    Format.TOML: HELD,
    Format.JSON: HELD,
    Format.YAML: HELD,
    Format.INI: {
        "shop": {"currency": f"{CANARY} eur"},
        "orders": {"url": f"{CANARY}://orders", "timeout": "5"},
        "stock": {"url": f"{CANARY}://stock", "timeout": "1.5"},
    },
    Format.ENV: {
        "CURRENCY": f"{CANARY} eur",
        "ORDERS_URL": f"{CANARY}://orders",
        "ORDERS_TIMEOUT": "5",
    },
}


@pytest.mark.parametrize("written_in", Format)
def test_good_texts(written_in: Format) -> None:
    """A good text is read, also with the marks and line ends of another system."""
    content = GOOD[written_in].encode()
    assert parse(content, written_in) == VALUES[written_in]
    assert parse(b"\xef\xbb\xbf" + content, written_in) == VALUES[written_in]
    assert parse(content.replace(b"\n", b"\r\n"), written_in) == VALUES[written_in]
    assert parse(content.rstrip(b"\n"), written_in) == VALUES[written_in]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_broken_texts(case: Case) -> None:
    """Every broken text has its cause and its line, and nothing of a value is told."""
    with pytest.raises(Broken) as caught:
        parse(case.content, case.written_in)
    problem = caught.value.problem
    assert (problem.cause, problem.line) == (case.cause, case.line), str(problem)
    assert problem.column > 0
    assert CANARY not in str(problem)
    assert len(str(problem)) < 200
    assert str(problem).isprintable()


def test_there_are_enough_ways() -> None:
    """Each format but the simplest has sixty ways in all, and each cause of a text is met."""
    assert len(CASES) > 150
    causes = {case.cause for case in CASES.values()}
    assert causes == {
        Cause.ENCODING,
        Cause.SYNTAX,
        Cause.DUPLICATE_KEY,
        Cause.WRONG_TYPE,
        Cause.OUT_OF_RANGE,
        Cause.ALIAS_BOMB,
    }


@pytest.mark.parametrize(
    "contents",
    [list(truncated()), list(mutated(seed=15, count=600))],
    ids=["truncated", "mutated"],
)
def test_accidents(contents: list[tuple[Format, bytes]]) -> None:
    """A text that ends at any byte, or has any accident, is read or has a problem in a line."""
    for written_in, content in contents:
        for problem in examine(content, written_in).problems:
            assert 1 <= problem.line <= content.count(b"\n") + 1
            assert CANARY not in str(problem)
            assert str(problem).isprintable()


@pytest.mark.parametrize("written_in", [Format.TOML, Format.YAML, Format.INI, Format.ENV])
@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing\n"])
def test_empty_texts(written_in: Format, content: bytes) -> None:
    """A text without a key is a table without keys."""
    assert parse(content, written_in) == {}


def test_values_of_yaml() -> None:
    """YAML has the types of JSON: what looks like another one is text, and keys are as written."""
    content = b"""\
defaults: &defaults {404: no, on: yes, since: 2026-11-28, version: "1.10"}
number: 0x1F
nothing: ~
limit: .inf
text: 12:30:45
both:
  - <<: *defaults
    on: true
  - <<: [{a: 1, b: 1}, {b: 2, c: 2}]
"""
    defaults = {"404": "no", "on": "yes", "since": "2026-11-28", "version": "1.10"}
    assert parse(content, Format.YAML) == {
        "defaults": defaults,
        "number": 31,
        "nothing": None,
        "limit": math.inf,
        "text": "12:30:45",
        "both": [{**defaults, "on": True}, {"a": 1, "b": 1, "c": 2}],
    }


def test_aliases_that_are_no_bomb() -> None:
    """Defaults that a thousand entries have in common are what aliases are for."""
    defaults = ", ".join(f"key{number}: {number}" for number in range(40))
    entries = "".join(f"  e{number}: {{<<: *d, own: {number}}}\n" for number in range(1000))
    value = parse(f"d: &d {{{defaults}}}\nentries:\n{entries}".encode(), Format.YAML)
    assert len(value["entries"]["e999"]) == 41


def test_values_of_the_others() -> None:
    """TOML has dates; INI puts nothing in the place of anything and shares its defaults."""
    assert parse(b"day = 2026-11-28", Format.TOML) == {"day": dt.date(2026, 11, 28)}
    content = b"[DEFAULT]\nlang = de\n[Shop]\nRate = 5%(x)s\n  more\nempty =\n"
    shop = {"lang": "de", "Rate": "5%(x)s\nmore", "empty": ""}
    assert parse(content, Format.INI) == {"Shop": shop}


@pytest.mark.parametrize(
    ("name", "written_in"),
    [
        ("prices.toml", Format.TOML),
        ("a/prices.schema.JSON", Format.JSON),
        ("prices.yml", Format.YAML),
        ("prices.yaml", Format.YAML),
        ("setup.cfg", Format.INI),
        ("prices.ini", Format.INI),
        (".env", Format.ENV),
        ("shop.env", Format.ENV),
        ("prices.txt", None),
        ("toml", None),
    ],
)
def test_formats_by_name(name: str, written_in: Format | None) -> None:
    """The end of a file's name tells its format; every format has such an end."""
    assert format_of(Path(name)) is written_in
    assert set(SUFFIXES.values()) == set(Format)


def test_pointers() -> None:
    """JSON pointers are read as their standard has it."""
    assert parse_pointer("") == ()
    assert parse_pointer("/functions/a~1b/m~0n/") == ("functions", "a/b", "m~n", "")
    for wrong in ("functions", "/a~2", "#/a", "~"):
        with pytest.raises(ValueError, match="expected a JSON pointer"):
            parse_pointer(wrong)


def test_every_cause_has_its_meaning() -> None:
    """What visitors are told is complete."""
    assert set(MEANINGS) == set(Cause)


WITHOUT = """
import sys
sys.modules["ruamel"] = sys.modules["jsonschema"] = sys.modules["msgspec"] = None
from app.kinds.configuration.causes import Broken
from app.kinds.configuration.examine import examine
from app.kinds.configuration.examine import examine
from app.kinds.configuration.formats import Format
from app.kinds.configuration.schemas import JsonSchema, load_schema
import json, pathlib
said = [str(problem.key) for problem in examine(b"a: 1", Format.YAML).problems]
for load in (lambda: JsonSchema({}), lambda: load_schema("app.manifest:Manifest", pathlib.Path())):
    try:
        load()
    except Broken as broken:
        said.append(broken.problem.key)
        assert broken.problem.cause == "configuration_no_parser"
assert examine(b"a = 1", Format.TOML).value == {"a": 1}
print(json.dumps(said))
"""


def test_without_the_libraries() -> None:
    """A library that is missing is told with its import name, and costs its own files alone."""
    ran = subprocess.run([sys.executable, "-c", WITHOUT], check=True, stdout=subprocess.PIPE)
    assert json.loads(ran.stdout) == ["ruamel", "jsonschema", "msgspec"]

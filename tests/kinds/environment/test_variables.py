"""``[variable.NAME]``: what a manifest may declare, and which values are accepted."""

from __future__ import annotations

import json

import pytest

from app.kinds.environment.variables import OWN, READER, TABLE
from app.manifest import Manifest, parse
from app.settings.variable import Variable

LINES = {
    "one_of": 'choices = ["eu", "us"]',
    "pattern": 'pattern = "shp_[a-f0-9]{4}"',
    "integer": "minimum = 1\nmaximum = 9",
}


def declared(lines: str, name: str = "SHOP") -> Manifest:
    """A manifest with one variable."""
    return parse(f"[variable.{name}]\n{lines}\n", {TABLE: READER})


def variable(written_as: str) -> Variable[str | None]:
    """A variable of a type, with the keys that the type wants."""
    found = declared(f'type = "{written_as}"\n{LINES.get(written_as, "")}')
    assert found.faults == ()
    result: Variable[str | None] = found.tables[TABLE]["SHOP"]
    return result


@pytest.mark.parametrize(
    ("written_as", "accepted", "refused"),
    [
        ("text", ["a", "two words", "ä"], []),
        ("integer", ["1", "9"], ["0", "10", "1.5", "x", "1_0", "\uff11", "9" * 5000]),
        ("number", ["1", "-2.5", "1e3"], ["nan", "inf", "1_0", "x", ""]),
        ("flag", ["true", "OFF", "1"], ["maybe", "2"]),
        ("url", ["https://example.com/a"], ["example.com", "ftp://example.com"]),
        ("one_of", ["eu", "us"], ["EU", "asia", ""]),
        ("pattern", ["shp_00ff"], ["shp_00ff0", "SHP_00ff", "xshp_00ff"]),
        ("json", ['{"a": [1]}', "3", "null"], ["{", "'a'", "[" * 100_000]),
    ],
)
def test_types(written_as: str, accepted: list[str], refused: list[str]) -> None:
    """Every type takes what it says and nothing else; what it expects is in words."""
    syntax = variable(written_as).syntax
    assert syntax.expected
    for text in accepted:
        syntax.parse(text)
    for text in refused:
        with pytest.raises(ValueError):  # noqa: PT011 - that is all a syntax promises
            syntax.parse(text)


def test_every_type_is_tested() -> None:
    """A type that is added is tested too."""
    types = next(m.args[1] for m in test_types.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    assert {one[0] for one in types} == set(OWN)


def test_what_it_expects_has_the_bounds() -> None:
    """Who has to set it reads which numbers are meant."""
    assert variable("integer").syntax.expected == "a whole number of at least 1 and at most 9"


@pytest.mark.parametrize(
    ("default", "stored"), [('"a"', "a"), ("3", "3"), ("true", "true"), ("1.5", "1.5")]
)
def test_default(default: str, stored: str) -> None:
    """It is stored as an operator would write it, whatever TOML calls its type."""
    found = declared(f"default = {default}")
    assert (found.faults, found.tables[TABLE]["SHOP"].default) == ((), stored)


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ('type = "secret"', 2, "variable.SHOP.type has to be one of text, integer, number, flag"),
        ("type = 3", 2, "variable.SHOP.type has to be one of"),
        ("type = []", 2, "variable.SHOP.type has to be one of"),
        ('secret = "yes"', 2, "variable.SHOP.secret has to be true or false"),
        ("help = 3", 2, "variable.SHOP.help has to be one line of text"),
        ('help = "a"\nhlep = "b"', 3, "variable.SHOP.hlep is no key of such a variable"),
        ('choices = ["a"]', 2, "variable.SHOP.choices is no key of such a variable"),
        ('type = "one_of"', 1, "variable.SHOP.choices has to be a list of words"),
        ('type = "one_of"\nchoices = [1]', 3, "variable.SHOP.choices has to be a list of words"),
        ('type = "one_of"\nchoices = []', 3, "variable.SHOP.choices has to be a list of words"),
        ('type = "pattern"\npattern = "["', 3, "variable.SHOP.pattern has to be a regular"),
        ('type = "pattern"\npattern = 3', 3, "variable.SHOP.pattern has to be a regular"),
        ('type = "integer"\nminimum = true', 3, "variable.SHOP.minimum has to be a number"),
        ('type = "integer"\ndefault = "x"', 3, "variable.SHOP.default has to be a whole number"),
    ],
)
def test_faults(lines: str, line: int, message: str) -> None:
    """A wrong declaration is a fault with its line, and declares nothing."""
    found = declared(lines)
    (fault,) = found.faults
    assert fault.line == line
    assert fault.message.startswith(message)
    assert found.tables[TABLE] == {}


@pytest.mark.parametrize("name", ["AUTO_FIX_HOME", "PORT", "AUTO_FIX_TOKEN_FILE", "SECRETS_DIR"])
def test_the_services_own(name: str) -> None:
    """A setting of the service is declared by the service."""
    (fault,) = declared('type = "text"', name).faults
    assert fault.message == f"variable.{name} is a setting of the service itself, which declares it"


@pytest.mark.parametrize("name", ['"A B"', '"É"', '"1A"', '""', f'"{"A" * 129}"'])
def test_names(name: str) -> None:
    """What no shell can set is no variable."""
    (fault,) = declared('type = "text"', name).faults
    assert "is no name of a variable" in fault.message


@pytest.mark.parametrize("value", ["3", '"a"', "[1]", json.dumps([])])
def test_is_no_table(value: str) -> None:
    """A variable is declared by a table."""
    (fault,) = parse(f"[variable]\nSHOP = {value}\n", {TABLE: READER}).faults
    assert (fault.line, fault.message) == (2, "variable.SHOP has to be a table")

"""The ``.env`` parser: what it accepts, and that nothing in a file can upset it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings.sources import Dotenv, parse

NAMES = st.from_regex(re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,20}", re.ASCII), fullmatch=True)
#: Whatever an environment can hold; a carriage return is a line end of other systems.
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))
SECRET = "hunter2-canary"  # noqa: S105 - a made-up one


def _values(text: str) -> dict[str, str]:
    read = parse(text.encode(), ".env")
    assert read.faults == ()
    return {entry.name: entry.value for entry in read.entries}


def _double(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=value", "value"),
        ("  NAME = value  ", "value"),
        ("export NAME=value", "value"),
        ("export\tNAME=value", "value"),
        ("NAME=", ""),
        ("NAME=''", ""),
        ("NAME=#all a comment", ""),
        ("NAME=two words # and a comment", "two words"),
        ("NAME=a#b", "a#b"),
        ("NAME='a # b' # c", "a # b"),
        ("NAME='$HOME \\n \"'", '$HOME \\n "'),
        ('NAME="a \\"b\\" \\\\ $HOME \\t#"', 'a "b" \\ $HOME \\t#'),
        ('NAME="two\\nlines"', "two\nlines"),
        ('NAME="\\\\n"', "\\n"),
        ("NAME=it's", "it's"),
        ("NAME=a=b", "a=b"),
        ("NAME=value\r", "value"),
        ("NAME=${OTHER}", "${OTHER}"),
        ("NAME=a\x0cb", "a\x0cb"),
    ],
)
def test_reads(line: str, value: str) -> None:
    """One assignment a line, quotes and comments as documented."""
    assert _values(f"# before\n\n{line}\n") == {"NAME": value}


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        f"{SECRET}=x",
        f"NAME {SECRET}",
        f"={SECRET}",
        f"NÄME={SECRET}",
        f"NAME='{SECRET}",
        f'NAME="{SECRET}',
        f'NAME="{SECRET}\\"',
        f"NAME='{SECRET}'x",
        f"NAME='{SECRET}'#x",
        f"NAME={SECRET}\0",
        f"NAME={SECRET}\rNEXT=1",
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_not_shown(line: str) -> None:
    """The fault has the line's number and what was expected; the others count all the same."""
    read = parse(f"BEFORE=1\n{line}\nAFTER=2\n".encode(), ".env")
    assert [(entry.name, entry.line) for entry in read.entries] == [("BEFORE", 1), ("AFTER", 3)]
    (fault,) = read.faults
    assert str(fault).startswith(".env line 2 cannot be used, and is not shown; expected ")
    assert SECRET not in f"{fault}{read!r}"


def test_the_last_one_counts() -> None:
    """As in a shell, and a byte order mark is none of the first name's."""
    assert _values("\ufeffNAME=1\nNAME=2") == {"NAME": "2"}


def test_text_that_is_not_utf_8_is_a_fault() -> None:
    """Of its line alone."""
    read = parse(b"A=1\nB=\xff\nC=3", ".env")
    assert [entry.name for entry in read.entries] == ["A", "C"]
    assert "expected UTF-8" in str(read.faults[0])


def test_a_long_line_takes_no_longer_than_it_is() -> None:
    """Spaces and backslashes without an end are read once (the test's deadline is the proof)."""
    hostile = f"A=b{' ' * 60_000}c\nB=\"{chr(92) * 60_000}\nC='{' ' * 60_000}' x"
    assert len(parse(hostile.encode(), ".env").faults) == 2


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever a file holds is entries and faults, each of them on a line of the file."""
    read = parse(data, ".env")
    assert isinstance(read, Dotenv)
    lines = data.count(b"\n") + 1
    assert all(1 <= entry.line <= lines for entry in read.entries)
    assert len(read.entries) + len(read.faults) <= lines


@given(st.lists(st.sampled_from(["A", "=", "'", '"', "\\", " ", "#", "\n", "export ", "é", "\0"])))
def test_no_mixture_of_what_means_something_raises(parts: list[str]) -> None:
    """Nor does text that is nearly right; what comes out can be an environment."""
    for entry in parse("".join(parts).encode(), ".env").entries:
        assert "\0" not in f"{entry.name}{entry.value}"
        assert entry.name


@given(st.dictionaries(NAMES, VALUES))
def test_double_quotes_carry_every_value(values: dict[str, str]) -> None:
    """A value with the three escapes comes back as it was."""
    text = "".join(f"export {name}={_double(value)} # {name}\n" for name, value in values.items())
    assert _values(text) == values


@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n'"))))
def test_single_quotes_carry_values_as_they_are(values: dict[str, str]) -> None:
    """Without any escape."""
    assert _values("\n".join(f"{name}='{value}'" for name, value in values.items())) == values

r"""Reads a ``.env`` file.

One ``NAME=value`` a line, ``export`` in front of it allowed, empty lines and ``#`` comments too::

    PORT=8080                 # a comment begins with a # behind a space
    export LOG_LEVEL=debug
    AUTO_FIX_HOME='/var/lib/auto fix'
    GREETING="two lines:\nsaid \"here\", with one \\"

In single quotes everything stands for itself. In double quotes ``\"``, ``\\`` and ``\n`` are a
quote, a backslash and a line break. Nothing is put in the place of ``$NAME``. Of a name that is set
twice the last value counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.settings.errors import SettingFault

ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.ASCII)
#: What may stand behind a quoted value.
REST = r"[ \t]*(?:[ \t]#.*)?"
SINGLE = re.compile(rf"'([^']*)'{REST}")
DOUBLE = re.compile(rf'"((?:[^"\\]|\\.)*)"{REST}')
COMMENT = re.compile(r"(?:^|(?<![ \t])[ \t]+)#.*")
ESCAPE = re.compile(r'\\(["\\n])')


@dataclass(frozen=True, slots=True)
class Entry:
    """One assignment; ``line`` counts from 1. The value may be a secret."""

    name: str
    value: str = field(repr=False)
    line: int


@dataclass(frozen=True, slots=True)
class Dotenv:
    """What a file sets, in its order, and a fault for each line that cannot be read."""

    entries: tuple[Entry, ...]
    faults: tuple[SettingFault, ...]


class _BadLine(ValueError):
    """A line that cannot be read; says what was expected of it."""


def parse(data: bytes, name: str) -> Dotenv:
    """Read the bytes of the file that is called ``name``; whatever is in it, nothing is raised.

    A fault says the line and what was expected there, never what the line holds.
    """
    entries: list[Entry] = []
    faults: list[SettingFault] = []
    # Only a line feed ends a line: splitlines() would count a form feed in a value as one.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            entries += _read(line.removesuffix(b"\r"), number)
        except _BadLine as bad:
            place = f"{name} line {number}"
            faults.append(SettingFault(place, None, str(bad), place))
    return Dotenv(tuple(entries), tuple(faults))


def _read(line: bytes, number: int) -> Iterator[Entry]:
    text = _decoded(line).strip(" \t")
    if not text or text.startswith("#"):
        return
    if (match := ASSIGNMENT.fullmatch(text)) is None:
        raise _BadLine("NAME=value, a comment or nothing")
    yield Entry(match[1], _value(match[2]), number)


def _decoded(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        raise _BadLine("UTF-8") from None
    # As os.environ reads it, so that a child gets the same bytes whatever the locale.
    text = os.fsdecode(line)
    # No environment can hold a NUL, and a lone carriage return is another file's line end.
    if "\0" in text or "\r" in text:
        raise _BadLine("text without NUL and carriage return")
    return text


def _value(text: str) -> str:
    if text.startswith("'"):
        return _quoted(SINGLE, text)
    if text.startswith('"'):
        return ESCAPE.sub(_unescaped, _quoted(DOUBLE, text))
    return COMMENT.sub("", text)


def _quoted(pattern: re.Pattern[str], text: str) -> str:
    if (match := pattern.fullmatch(text)) is None:
        raise _BadLine("a closing quote, and nothing but a comment behind it")
    return match[1]


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]

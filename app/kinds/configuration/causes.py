"""What can be wrong with a file of configuration, and how that is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import Any

from app.settings.errors import OrchestratorError

#: Where in a document: the keys of tables and the indexes of lists that lead there.
Pointer = tuple[str | int, ...]
#: Whatever a file holds: tables, lists, texts, numbers, flags, and dates of TOML.
Value = Any
#: How alike, by difflib's measure, two keys have to be for one to be a slip of the other.
ALIKE = 0.75
#: What of a file may be shown. Any other key may be a value that has lost its quotes.
SHOWN_KEY = re.compile(r"[\w.-]{1,64}")


class Cause(StrEnum):
    """What can be wrong with a file, or with one entry of it."""

    MISSING = "configuration_missing"
    UNREADABLE = "configuration_unreadable"
    ENCODING = "configuration_encoding"
    TOO_LARGE = "configuration_too_large"
    SYNTAX = "configuration_syntax"
    DUPLICATE_KEY = "configuration_duplicate_key"
    UNKNOWN_KEY = "configuration_unknown_key"
    WRONG_TYPE = "configuration_wrong_type"
    OUT_OF_RANGE = "configuration_out_of_range"
    MISSING_KEY = "configuration_missing_key"
    ENTRY_INVALID = "configuration_entry_invalid"
    ALIAS_BOMB = "configuration_alias_bomb"
    NO_PARSER = "configuration_no_parser"
    SCHEMA_INVALID = "configuration_schema_invalid"


#: What each cause means for somebody who only asked for a page.
MEANINGS: Mapping[str, str] = {
    Cause.MISSING: "A file that this part needs does not exist.",
    Cause.UNREADABLE: "A file that this part needs cannot be read.",
    Cause.ENCODING: "A file that this part needs is no UTF-8 text.",
    Cause.TOO_LARGE: "A file that this part needs is too large.",
    Cause.SYNTAX: "A file that this part needs cannot be parsed.",
    Cause.DUPLICATE_KEY: "A file that this part needs has a key twice.",
    Cause.UNKNOWN_KEY: "A file that this part needs has a key that nothing knows.",
    Cause.WRONG_TYPE: "A file that this part needs has a value of a wrong type.",
    Cause.OUT_OF_RANGE: "A file that this part needs has a value that is not allowed.",
    Cause.MISSING_KEY: "A file that this part needs lacks a key.",
    Cause.ENTRY_INVALID: "A file that this part needs has content that is not allowed.",
    Cause.ALIAS_BOMB: "A file that this part needs grows without bounds when it is read.",
    Cause.NO_PARSER: "What reads a file that this part needs is not installed.",
    Cause.SCHEMA_INVALID: "What checks a file that this part needs cannot be used.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    ``message`` is safe to show: it has names of keys and what was expected, never a value.

    Attributes:
        line: counted from 1, as is ``column``, in characters; 0 where none is to blame.
        pointer: the value, or the key that is unknown; of a missing key the table that lacks it.
        key: the name of the unknown or missing key.
        nearest: for an unknown key the known keys that are most like it, more than one where they
            are equally near; empty where none is near.
        types: for a value of a wrong type those that are allowed, as JSON Schema calls them.
    """

    cause: Cause
    message: str
    line: int = 0
    column: int = 0
    pointer: Pointer = ()
    key: str = ""
    nearest: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = f", column {self.column}" if self.column else ""
        return f"line {self.line}{at}: {self.message}" if self.line else self.message


class Broken(OrchestratorError):
    """A file, or a schema, cannot be used at all; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def library(module: str) -> ModuleType:
    """A module that is approved and not in the image: it is healed when somebody needs it.

    Raises:
        Broken: it cannot be imported; ``key`` names it.
    """
    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        message = f"{name}, which reads or checks it, is not installed"
        raise Broken(Problem(Cause.NO_PARSER, message, key=name)) from None


def shown_key(key: object) -> str:
    """A key as a message may have it, on one line of ASCII."""
    text = str(key)
    return ascii(text)[1:-1] if SHOWN_KEY.fullmatch(text) else "..."


def shown_pointer(pointer: Pointer) -> str:
    """Where in a document, for people: ``functions.orders.tags[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shown_key(step)}" for step in pointer)
    return "".join(steps).removeprefix(".") or "the document"


def unknown_key(table: Pointer, key: str, known: Iterable[str]) -> Problem:
    """A key that nothing knows, with the known ones that it may be a slip of."""
    ratios = {one: SequenceMatcher(None, key.lower(), one.lower()).ratio() for one in sorted(known)}
    best = max(ratios.values(), default=0.0)
    nearest = tuple(one for one, ratio in ratios.items() if ratio == best >= ALIKE)
    hint = f"; {' or '.join(map(shown_key, nearest))} is known" if nearest else ""
    message = f"{shown_pointer((*table, key))} is no known key{hint}"
    return Problem(Cause.UNKNOWN_KEY, message, pointer=(*table, key), key=key, nearest=nearest)


def missing_key(table: Pointer, key: str) -> Problem:
    """A key that a table lacks."""
    message = f"{shown_pointer(table)} has no {shown_key(key)}"
    return Problem(Cause.MISSING_KEY, message, pointer=table, key=key)


def wrong_type(pointer: Pointer, types: Iterable[str]) -> Problem:
    """A value of none of the types, which are called as in JSON Schema."""
    types = tuple(types)
    message = f"{shown_pointer(pointer)} has to be of the type {' or '.join(types)}"
    return Problem(Cause.WRONG_TYPE, message, pointer=pointer, types=types)


def parse_pointer(text: str) -> tuple[str, ...]:
    """The steps of a JSON pointer (RFC 6901), which are all text; empty for the document itself.

    Raises:
        ValueError: it is none.
    """
    if (text and not text.startswith("/")) or re.search("~(?![01])", text):
        raise ValueError("expected a JSON pointer such as /functions")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])

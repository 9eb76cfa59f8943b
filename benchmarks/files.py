"""Files of configuration: what it costs to serve all but the one entry that is broken."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from app.kinds.configuration.examine import examine, with_entries
from app.kinds.configuration.formats import Format
from app.kinds.configuration.schemas import JsonSchema, Schema, load_schema
from benchmarks.harness import Measurement

ENTRIES, ROUNDS = 10_000, 3
SCHEMA = {
    "properties": {
        "functions": {
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "url": {"type": "string", "pattern": "^https://"},
                    "timeout": {"type": "number", "maximum": 120},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["url"],
                "additionalProperties": False,
            }
        }
    }
}


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """The same as a type."""

    url: str
    timeout: float = 5.0
    tags: list[str] = []


class Functions(msgspec.Struct):
    """A file of them."""

    functions: dict[str, Function]


def measure() -> Iterator[Measurement]:
    """The target of broken entries."""
    validator = Draft202012Validator(SCHEMA)
    by_schema: Callable[[Any], object] = lambda value: list(validator.iter_errors(value))  # noqa: E731
    by_type: Callable[[Any], object] = lambda value: msgspec.convert(value, Functions)  # noqa: E731
    typed = load_schema(f"{__name__}:Functions", Path())
    parts = {
        "in TOML": _ratio(Format.TOML, tomllib.loads, by_schema, JsonSchema(SCHEMA)),
        "in JSON": _ratio(Format.JSON, json.loads, by_schema, JsonSchema(SCHEMA)),
    }
    # Of JSON with a type the plain way takes 15 ms, all of it in C, and no key twice is found.
    details: dict[str, object] = {
        "TOML with a type": _ratio(Format.TOML, tomllib.loads, by_type, typed),
        "JSON with a type": _ratio(Format.JSON, json.loads, by_type, typed),
    }
    yield Measurement(
        what=f"{ENTRIES} entries, one of them broken, against a plain parse and JSON Schema",
        rule="at most",
        target=1.5,
        measured=max(parts.values()),
        unit="",
        parts=parts,
        details=details,
    )


def _ratio(
    written_in: Format,
    parse: Callable[[str], Any],
    validate: Callable[[Any], object],
    schema: Schema,
) -> float:
    """The times of this thread: all but the broken entry, against all of a good file."""
    good, broken = (_content(written_in, timeout).encode() for timeout in ("5.0", '"soon"'))

    def serve() -> None:
        examined = examine(broken, written_in, schema, "/functions")
        assert len(examined.broken) == 1
        value = with_entries(examined.value, "/functions", dict.fromkeys(examined.broken))
        schema.value(value)

    return _least(serve) / _least(lambda: validate(parse(good.decode())))


def _content(written_in: Format, timeout: str) -> str:
    """A file whose entry in the middle has another timeout."""
    functions = {
        f"function-{number}": {
            "url": f"https://example.com/{number}",
            "timeout": timeout if number == ENTRIES // 2 else "2.5",
            "tags": ["a", "b"],
        }
        for number in range(ENTRIES)
    }
    if written_in is Format.JSON:
        text = json.dumps({"functions": functions}, indent=1)
        return text.replace('"2.5"', "2.5").replace('"5.0"', "5.0").replace(r'"\"soon\""', '"soon"')
    return "\n".join(
        f'[functions.{name}]\nurl = "{one["url"]}"\ntimeout = {one["timeout"]}\ntags = ["a", "b"]\n'
        for name, one in functions.items()
    )


def _least(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        seconds.append(time.thread_time() - began)
    return min(seconds)

"""Words for JSON Schema (2020-12), so that a shape reads like what it describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

#: What may be anything at all.
ANYTHING: Schema = {}
NOTHING: Schema = {"type": "null"}


def shape(
    description: str, always: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None
) -> Schema:
    """An object with these members and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": {**always, **(sometimes or {})},
        "required": list(always),
        "additionalProperties": False,
    }


def table(values: Schema, description: str, **keywords: object) -> Schema:
    """An object whose keys are data."""
    return {
        "type": "object",
        "description": description,
        "additionalProperties": values,
        **keywords,
    }


def listed(items: Schema, description: str = "", **keywords: object) -> Schema:
    """An array."""
    return {"type": "array", **_said(description), "items": items, **keywords}


def text(description: str = "", **keywords: object) -> Schema:
    """A string."""
    return {"type": "string", **_said(description), **keywords}


def whole(description: str = "", *, minimum: int = 0, **keywords: object) -> Schema:
    """An integer, not below ``minimum``."""
    return {"type": "integer", **_said(description), "minimum": minimum, **keywords}


def number(description: str = "", *, minimum: float = 0, **keywords: object) -> Schema:
    """A number, not below ``minimum``."""
    return {"type": "number", **_said(description), "minimum": minimum, **keywords}


def share(description: str) -> Schema:
    """A share of a whole, from 0 to 1."""
    return number(description, maximum=1)


def flag(description: str = "") -> Schema:
    """True or false."""
    return {"type": "boolean", **_said(description)}


def moment(description: str) -> Schema:
    """A date and time with its zone (RFC 3339)."""
    return text(description, format="date-time")


def one_of(values: Iterable[str], description: str = "") -> Schema:
    """One word of a closed set."""
    return text(description, enum=[str(value) for value in values])


def exactly(value: str | int, description: str = "") -> Schema:
    """This value and no other."""
    return {**_said(description), "const": value}


def maybe(schema: Schema) -> Schema:
    """What the schema allows, or null."""
    if "$ref" in schema:
        return {"anyOf": [schema, NOTHING]}
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **values}


def ref(name: str) -> Schema:
    """The component schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _said(description: str) -> Schema:
    return {"description": description} if description else {}

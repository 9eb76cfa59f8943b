"""How a person reads a schema: words, limits, members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.description.schemas import NOTHING, Schema

#: What a keyword that limits a value is called.
_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "format": "{}",
    "pattern": "matches {}",
}
#: A count that cannot be negative needs no saying.
_SPECIAL = {("minimum", 0): "", ("minLength", 1): "not empty"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value that is allowed, as JSON, and what it means."""

    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A schema in words.

    ``link`` is the component schema that says more; ``alternatives`` are there when the value is
    one of several. A member that is not in ``always`` may be missing; the name of a member that
    stands for all others is empty.
    """

    kind: str
    description: str = ""
    link: str | None = None
    limits: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    members: tuple[tuple[str, Outline], ...] = ()
    always: frozenset[str] = frozenset()
    alternatives: tuple[Outline, ...] = ()

    @property
    def deep(self) -> bool:
        """Whether there is more to it than one line."""
        return bool(self.choices or self.members or self.alternatives)


def outline(schema: Schema) -> Outline:
    """The schema in words; references are named and not followed."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Outline(name, link=name)
    if "anyOf" in schema:
        return _alternatives(schema)
    whole = _flat(schema)
    return Outline(
        kind=_kind(whole),
        description=whole.get("description", ""),
        link=_link(schema) or _link(whole.get("items", {})),
        limits=tuple(filter(None, _limits(whole))),
        choices=tuple(_choices(whole)),
        members=tuple(_members(whole)),
        always=frozenset(whole.get("required", ())),
    )


def _alternatives(schema: Schema) -> Outline:
    found = [each for each in schema["anyOf"] if each != NOTHING]
    if len(found) > 1:
        return Outline("one of", alternatives=tuple(outline(each) for each in found))
    only = outline(found[0])
    return Outline(f"{only.kind} or null", link=only.link, members=only.members)


def _flat(schema: Schema) -> Schema:
    """With what is said beside a reference; what is referred to is linked."""
    own = (part for part in schema.get("allOf", ()) if "$ref" not in part)
    return {**schema, **next(own, {})}


def _link(schema: Schema) -> str | None:
    parts = [schema, *schema.get("allOf", ())]
    found = (part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part)
    return next(found, None)


def _kind(schema: Schema) -> str:
    if "const" in schema:
        return _shown(schema["const"])
    types = schema.get("type", "anything")
    words = [_word(schema, each) for each in ([types] if isinstance(types, str) else types)]
    return " or ".join(words)


def _word(schema: Schema, kind: str) -> str:
    if kind == "array":
        return f"list of {outline(schema['items']).kind}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"{outline(schema['additionalProperties']).kind} by key"
    return kind


def _limits(schema: Schema) -> Iterator[str]:
    for keyword, words in _LIMITS.items():
        if keyword not in schema:
            continue
        special = _SPECIAL.get((keyword, schema[keyword]))
        yield words.format(schema[keyword]) if special is None else special


def _choices(schema: Schema) -> Iterator[Choice]:
    for value in schema.get("enum", ()):
        yield Choice(_shown(value), "")
    for choice in schema.get("oneOf", ()):
        yield Choice(_shown(choice["const"]), choice.get("description", ""))


def _members(schema: Schema) -> Iterator[tuple[str, Outline]]:
    if isinstance(schema.get("items"), dict):
        yield from outline(schema["items"]).members
    for name, value in schema.get("properties", {}).items():
        yield name, outline(value)
    others = schema.get("additionalProperties")
    if isinstance(others, dict) and (found := outline(others)).deep:
        yield "", found


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value.strip() == value else json.dumps(value)

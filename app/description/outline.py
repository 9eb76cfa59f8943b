"""How a person reads a schema: words, limits, members."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from app.description.schemas import Schema

_NULL: Schema = {"type": "null"}
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
    if "anyOf" in schema:
        found = [outline(each) for each in schema["anyOf"] if each != _NULL]
        if len(found) > 1:
            return Outline("one of", alternatives=tuple(found))
        (only,) = found
        said, limits = schema.get("description", ""), (*only.limits, *_limits(schema))
        kind = f"{only.kind} or null"
        return replace(only, kind=kind, description=said, limits=limits, choices=_choices(schema))
    # With what is said beside a reference; what is referred to is linked.
    parts = [schema, *schema.get("allOf", ())]
    whole = {name: value for part in parts for name, value in part.items()}
    items = whole.get("items", {})
    reference = whole.get("$ref") or items.get("$ref")
    link = reference.rpartition("/")[2] if reference else None
    members = list(outline(items).members) if items else []
    members += [(name, outline(value)) for name, value in whole.get("properties", {}).items()]
    others = whole.get("additionalProperties")
    if isinstance(others, dict) and (any_key := outline(others)).deep:
        members.append(("", any_key))
    return Outline(
        kind=_kind(whole),
        description=whole.get("description", ""),
        link=link,
        limits=_limits(whole),
        choices=_choices(whole),
        members=tuple(members),
        always=frozenset(whole.get("required", ())),
    )


def _kind(schema: Schema) -> str:
    if "$ref" in schema and "type" not in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return _shown(schema["const"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {outline(schema['items']).kind}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"{outline(schema['additionalProperties']).kind} by key"
    return kind


def _limits(schema: Schema) -> tuple[str, ...]:
    said = (
        _SPECIAL.get((keyword, schema[keyword]), words.format(schema[keyword]))
        for keyword, words in _LIMITS.items()
        if keyword in schema
    )
    return tuple(filter(None, said))


def _choices(schema: Schema) -> tuple[Choice, ...]:
    plain = [Choice(_shown(value), "") for value in schema.get("enum", ()) if value is not None]
    explained = [
        Choice(_shown(choice["const"]), choice.get("description", ""))
        for choice in schema.get("oneOf", ())
    ]
    return (*plain, *explained)


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value.strip() == value else json.dumps(value)

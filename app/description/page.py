"""How a person reads the document: its operations under their headings, its schemas in words."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from app.description.operations import JSON, Access
from app.description.schemas import Schema

#: Where the examples are sent; the page has the reader's own address in its place.
SERVER = "https://orchestrator.invalid"
#: By what the token is for, and whether one is configured.
_ACCESS = {
    (Access.OPEN, False): "Open.",
    (Access.DETAILS, False): "Open.",
    (Access.DETAILS, True): "Open; details need the token.",
    (Access.CHANGE, False): "Refused: no token is configured.",
    (Access.CHANGE, True): "Needs the token.",
    (Access.OWN, False): "Its blueprint decides who may call it.",
}
_IMPLIED = ("head", "options")


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation of the page; ``also`` are the methods of its path that say nothing more."""

    method: str
    path: str
    operation: Schema
    also: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """The name that links point to."""
        return str(self.operation["operationId"])

    @property
    def own_responses(self) -> dict[str, Schema]:
        """By status, without those that any request may meet."""
        return {s: r for s, r in self.operation["responses"].items() if "$ref" not in r}

    @property
    def shared_responses(self) -> tuple[str, ...]:
        """The statuses of the others."""
        return tuple(s for s, r in self.operation["responses"].items() if "$ref" in r)

    @property
    def takes_token(self) -> bool:
        """Whether a token makes a difference."""
        return bool(self.operation["security"])

    @property
    def access(self) -> str:
        """Who may call it, in one sentence."""
        return _ACCESS[self.operation["x-access"], self.takes_token]

    @property
    def example(self) -> str:
        """A call of it with curl."""
        method = "" if self.method == "get" else f" -X {self.method.upper()}"
        path, given = self.path, []
        for parameter in self.operation["parameters"]:
            example = str(parameter["schema"].get("examples", [""])[0])
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(example))
            elif parameter["required"]:
                given.append((parameter["name"], example))
        # All of it is quoted or percent-encoded, so none of it ends the quotes.
        target = f"{path}?{urlencode(given)}" if given else path
        lines = [f"curl -i{method} '{SERVER}{target}'"]
        if self.takes_token:
            lines.append('-H "Authorization: Bearer $TOKEN"')
        body = self.operation.get("requestBody", {}).get("content", {}).get(JSON)
        if body is not None:
            members = body["schema"]["anyOf"][0]["properties"].items()
            example = json.dumps({name: member["examples"][0] for name, member in members})
            lines += [f"-H 'Content-Type: {JSON}'", f"-d {shlex.quote(example)}"]
        return " \\\n  ".join(lines)


@dataclass(frozen=True, slots=True)
class Section:
    """The operations under one heading."""

    title: str
    description: str
    entries: tuple[Entry, ...]

    @property
    def anchor(self) -> str:
        """The name that links point to."""
        return f"about-{self.title.lower().replace(' ', '-')}"

    @property
    def unavailable(self) -> str | None:
        """Why this part of the service is in quarantine, None while it serves."""
        return self.entries[0].operation.get("x-unavailable")


def sections(document: Schema) -> tuple[Section, ...]:
    """The document's operations in its order, by tag."""
    entries = [
        Entry(method, path, operation, tuple(m for m in _IMPLIED if m in item))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method not in _IMPLIED
    ]
    return tuple(
        Section(
            tag["name"],
            tag["description"],
            tuple(entry for entry in entries if tag["name"] in entry.operation["tags"]),
        )
        for tag in document["tags"]
    )


def shared_headers(document: Schema) -> tuple[str, ...]:
    """The headers of every response that the page tells of, to be told once."""
    shown = [entry for section in sections(document) for entry in section.entries]
    own = [response for entry in shown for response in entry.own_responses.values()]
    responses = [*own, *document["components"]["responses"].values()]
    return tuple(sorted(set.intersection(*(set(each["headers"]) for each in responses))))


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

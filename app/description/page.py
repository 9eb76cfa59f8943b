"""How the page is laid out: the document's operations under their headings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from app.description.operations import Access
from app.description.schemas import Schema

#: Where the examples are sent.
SERVER = "https://example.com"
#: By what the token is for, and whether one is configured.
_ACCESS = {
    (Access.OPEN, False): "Open.",
    (Access.DETAILS, False): "Open.",
    (Access.DETAILS, True): "Open; details need the token.",
    (Access.CHANGE, False): "Refused: no token is configured.",
    (Access.CHANGE, True): "Needs the token.",
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
        parts = ["curl", "-i"]
        if self.method != "get":
            parts += ["-X", self.method.upper()]
        parts.append(shlex.quote(SERVER + self._target()))
        options = ['-H "Authorization: Bearer $TOKEN"'] if self.takes_token else []
        return " \\\n  ".join([" ".join(parts), *options, *self._body()])

    def _target(self) -> str:
        path, given = self.path, []
        for parameter in self.operation["parameters"]:
            example = str(parameter["schema"].get("examples", [""])[0])
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(example))
            elif parameter["required"]:
                given.append((parameter["name"], example))
        return f"{path}?{urlencode(given)}" if given else path

    def _body(self) -> Iterator[str]:
        schema = self.operation.get("requestBody", {}).get("content", {}).get("application/json")
        if schema is not None:
            members = schema["schema"]["properties"].items()
            body = {name: member["examples"][0] for name, member in members}
            yield "-H 'Content-Type: application/json'"
            yield f"-d {shlex.quote(json.dumps(body))}"


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


def sections(document: Schema) -> tuple[Section, ...]:
    """The document's operations in its order, by tag."""
    entries = [entry for path, item in document["paths"].items() for entry in _entries(path, item)]
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


def _entries(path: str, item: Schema) -> Iterator[Entry]:
    also = tuple(method for method in _IMPLIED if method in item)
    for method, operation in item.items():
        if method not in _IMPLIED:
            yield Entry(method, path, operation, also)

"""How the page is laid out: the document's operations under their headings."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
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

"""The operations of blueprints that nobody has described: from the URL map and from docstrings."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from app.description.operations import (
    ANY_STATUS,
    ANY_TYPE,
    Access,
    Answer,
    Body,
    Group,
    Operation,
    Parameter,
)
from app.web.json_bodies import Keywords

if TYPE_CHECKING:
    from werkzeug.routing import Rule

#: The methods that OpenAPI knows and that are not described for every path anyway.
METHODS = ("get", "post", "put", "patch", "delete", "trace")
#: Those whose requests carry something.
_WITH_BODY = frozenset({"post", "put", "patch", "delete"})
#: Characters of a docstring that are shown at most.
LONGEST_SUMMARY, LONGEST_DESCRIPTION = 200, 4000
#: A variable of a URL rule, as Werkzeug reads it.
_VARIABLE = re.compile(r"<(?:([A-Za-z_]\w*)(?:\((.*?)\))?:)?([A-Za-z_]\w*)>", re.ASCII)
#: What the standard converters take; another one may take any text.
_TYPES: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "uuid": Annotated[str, Keywords(format="uuid")],
}
_ANSWER = Answer("What its view answers, with any status.", {ANY_TYPE: Any}, (), ANY_STATUS)
_BODY = Body("What its view reads.", media_type=ANY_TYPE, required=False)


@dataclass(frozen=True, slots=True)
class Routes:
    """What an application routes: its rules, and the views by their endpoints.

    ``unavailable`` are the addresses that quarantined blueprints answer for, by the blueprints'
    names: of their operations nothing else is known.
    """

    rules: Iterable[Rule] = ()
    views: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    unavailable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def undescribed(
    routes: Routes, described: Collection[tuple[str, str]], titles: Iterable[str]
) -> tuple[Group, ...]:
    """A group for each blueprint with operations that are not described, in the order of the map.

    Args:
        routes: those of the application.
        described: path, as OpenAPI writes it, and method of each operation that is described.
        titles: headings that are taken.
    """
    names: set[str] = set()
    served: dict[tuple[str, str], Operation] = {}
    owners: dict[str, list[Operation]] = {}
    for rule in routes.rules:
        path = _path(rule.rule)
        asked = {method.lower() for method in rule.methods or ()}
        for method in METHODS if not (rule.build_only or rule.websocket) else ():
            key = path, method
            if method in asked and key not in described and key not in served:
                served[key] = _operation(rule, path, method, routes.views.get(rule.endpoint), names)
                owner = _clean(rule.endpoint).rpartition(".")[0].partition(".")[0]
                owners.setdefault(owner or "application", []).append(served[key])
    taken = {title.lower() for title in titles}
    groups = [
        Group(None, _unique(owner, taken), "Described by its own code.", tuple(operations))
        for owner, operations in owners.items()
    ]
    for name, addresses in routes.unavailable.items():
        free = [a for a in addresses if (_path(a), "get") not in {*described, *served}]
        operations = tuple(_unavailable(name, address, names) for address in free)
        said = "In quarantine: what there is below its addresses shows when it serves."
        if operations:
            groups.append(Group(name, _unique(name, taken), said, operations))
    return tuple(groups)


def _unavailable(name: str, address: str, names: set[str]) -> Operation:
    operation_id = _unique(f"{name}_unavailable", names)
    answers, summary = (_ANSWER,), f"{name}, at {address}"
    return Operation(_path(address), operation_id, summary, answers, access=Access.OWN)


def _operation(
    rule: Rule, path: str, method: str, view: Callable[..., object] | None, names: set[str]
) -> Operation:
    endpoint = _clean(rule.endpoint)
    summary, description = _documented(view, method)
    return Operation(
        path,
        _unique(re.sub(r"\W+", "_", f"{endpoint}_{method}", flags=re.ASCII), names),
        summary or endpoint.rpartition(".")[2].replace("_", " ").strip().capitalize() or path,
        (_ANSWER,),
        description,
        method,
        tuple(_parameters(rule.rule)),
        _BODY if method in _WITH_BODY else None,
        access=Access.OWN,
    )


def _path(rule: str) -> str:
    """A URL rule as OpenAPI writes it; braces that stand for themselves are percent-encoded."""
    plain = _clean(rule).replace("{", "%7B").replace("}", "%7D")
    return _VARIABLE.sub(r"{\3}", plain)


def _parameters(rule: str) -> Iterator[Parameter]:
    for converter, arguments, name in _VARIABLE.findall(_clean(rule)):
        kind = _TYPES.get(converter)
        if kind is None:
            text = Keywords(minLength=1, examples=[name])
            kind = Annotated[str, text]
        said = f"Taken by the converter {converter}({arguments})." if arguments else ""
        yield Parameter("path", name, said, kind, required=True)


def _documented(view: Callable[..., object] | None, method: str) -> tuple[str, str]:
    """The first paragraph of a view's docstring as one line, and the rest of it.

    That of the method where the view is a class with methods. What follows a line of dashes alone
    is for other tools.
    """
    try:
        described = (getattr(getattr(view, "view_class", None), method, None), view)
        # None itself has a docstring since Python 3.13.
        text = next((one.__doc__ for one in described if one is not None and one.__doc__), "")
    except Exception:  # noqa: BLE001 - an owner's object may do anything, and its route is there
        text = ""
    lines = [line.strip() for line in _clean(text).strip().splitlines()] if text else []
    if "---" in lines:
        lines = lines[: lines.index("---")]
    first, _, rest = "\n".join(lines).partition("\n\n")
    summary = " ".join(first.split())[:LONGEST_SUMMARY]
    return summary, " ".join(rest.split())[:LONGEST_DESCRIPTION]


def _clean(text: object) -> str:
    """A text that can be sent; whatever else a ``__doc__`` may be is none."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken in whatever case; it is taken afterwards."""
    number, found = 1, name
    while found.lower() in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found.lower())
    return found

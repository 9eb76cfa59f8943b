"""JSON Schema (2020-12) of Python types, made by msgspec.

A type's meaning and limits stand in ``Annotated`` as sentences and keywords, which
:mod:`app.web.json_bodies` explains; here they become msgspec's own, because nothing that answers
requests may depend on it.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from app.web.json_bodies import Keywords

Schema = dict[str, Any]


class Schemas:
    """The component schemas of one document, collected while it is written."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def schema(self, kind: Any) -> Schema:  # noqa: ANN401 - any type at all
        """The schema of a type, or of one of several; classes in it become components."""
        if isinstance(kind, tuple):
            return {"anyOf": [self.schema(each) for each in kind]}
        template = "#/components/schemas/{name}"
        (found,), components = msgspec.json.schema_components(
            [annotated(kind)], ref_template=template
        )
        for component in components.values():
            # An enumeration is one of words, and a body has no members but those.
            closed = {"additionalProperties": False} if "properties" in component else {}
            component.update({"type": "string"} if "enum" in component else closed)
        self.components |= components
        return found

    def open_object(self, kind: Any) -> Schema:  # noqa: ANN401 - a dataclass, perhaps annotated
        """The schema of a dataclass that may have other members; it becomes no component."""
        before = set(self.components)
        found = self.schema(kind)
        name = found.pop("$ref").rpartition("/")[2]
        own = {k: v for k, v in self.components[name].items() if k != "additionalProperties"}
        if name not in before:
            del self.components[name]
        return {**own, **found}


def annotated(kind: Any) -> Any:  # noqa: ANN401 - any type at all
    """The same type with msgspec's annotations in the place of sentences and keywords."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _annotated_body(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        said = [part for part in arguments[1:] if isinstance(part, str)]
        keywords = [part.schema for part in arguments[1:] if isinstance(part, Keywords)]
        meta = msgspec.Meta(
            description=" ".join(said) or None,
            extra_json_schema=functools.reduce(operator.or_, keywords, {}) or None,
        )
        return Annotated[annotated(arguments[0]), meta]
    if origin in {Union, UnionType}:
        return functools.reduce(operator.or_, map(annotated, arguments))
    if origin in {None, Literal}:
        return kind
    return origin[tuple(map(annotated, arguments))]


@functools.cache
def _annotated_body(kind: type) -> type:
    """A body's twin; what may be missing is never null."""
    hints = get_type_hints(kind, include_extras=True)
    members: list[Any] = [
        (one.name, annotated(hints[one.name]))
        if one.default is MISSING
        else (one.name, annotated(_without_none(hints[one.name])), field(default=msgspec.UNSET))
        for one in fields(kind)
    ]
    twin = make_dataclass(kind.__name__, members, kw_only=True)
    twin.__doc__ = kind.__doc__
    return twin


def _without_none(kind: Any) -> Any:  # noqa: ANN401 - any type at all
    if get_origin(kind) is Annotated:
        inner, *rest = get_args(kind)
        return Annotated[(_without_none(inner), *rest)]
    return functools.reduce(operator.or_, (part for part in get_args(kind) if part is not NoneType))

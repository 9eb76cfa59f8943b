"""A type of the application's code as what a file has to hold, by msgspec.

It is a dataclass, a TypedDict, a msgspec Struct, or what is made of them, such as a ``dict`` of
them. The first two know no keys but their own; a Struct knows others unless it is declared with
``forbid_unknown_fields``. Keys of tables in TOML are texts, so a ``dict`` may have numbers as keys.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import re
import types
import typing
from collections.abc import (
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
    Set,
)
from dataclasses import MISSING as MISSING_DEFAULT
from dataclasses import dataclass
from enum import Enum
from typing import Any

from app.kinds.configuration.causes import (
    Broken,
    Cause,
    Pointer,
    Problem,
    Value,
    library,
    missing_key,
    shown_key,
    shown_pointer,
    unknown_key,
    wrong_type,
)

logger = logging.getLogger(__name__)

#: A type, with whatever Python has for writing one.
Wanted = Any
#: What msgspec calls the types that JSON Schema has names for.
NAMES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `\w+`")
LIMIT = re.compile(r"Expected `[^`]+` (?P<limit>.+)", re.DOTALL)
MISSING = re.compile(r"Object missing required field `(?P<key>.+)`", re.DOTALL)
TABLES = (dict, Mapping, MutableMapping)
#: What a TypedDict says of its keys, which is no part of their types.
MARKS = (typing.Required, typing.NotRequired)
LISTS = (list, tuple, set, frozenset, Sequence, MutableSequence, Set)


@dataclass(frozen=True, slots=True)
class Shape:
    """The members that a table or list may have, with their types.

    A ``closed`` one has no others, but for the key that says which of several types it is.
    """

    members: Mapping[str | int, Wanted]
    required: frozenset[str] = frozenset()
    closed: bool = False
    tag: tuple[str | None, str | int | None] = (None, None)


class TypedSchema:
    """The type that ``package.module:Type`` names.

    Args:
        module: imported here, which runs code of the application.
        name: of the type in it.
        texts: whether all values are texts, as in INI: numbers and flags are read from them.

    Raises:
        Broken: there is no such type, or it cannot be used; ``key`` names a package that is missing
            for it.
    """

    def __init__(self, module: str, name: str, *, texts: bool = False) -> None:
        msgspec = library("msgspec")
        try:
            self._type = getattr(importlib.import_module(module), name)
            info = msgspec.inspect.type_info(self._type)
            self._convert = functools.partial(msgspec.convert, strict=not texts, str_keys=True)
        except (Exception, SystemExit) as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name
            if missing and not f"{module}.".startswith(f"{missing}."):
                message = f"{missing}, which the type of the file needs, is not installed"
                package = missing.partition(".")[0]
                raise Broken(Problem(Cause.NO_PARSER, message, key=package)) from None
            # A module of the application may raise whatever it likes.
            fields = {"module": module, "type": name}
            event = "the type of a file cannot be used"
            logger.warning(event, exc_info=error, extra={"fields": fields})
            message = f"the type {shown_key(name)} of {shown_key(module)} cannot be used"
            raise Broken(Problem(Cause.SCHEMA_INVALID, message)) from None
        if isinstance(info, msgspec.inspect.CustomType):
            message = f"{shown_key(name)} is no dataclass, TypedDict or Struct"
            raise Broken(Problem(Cause.SCHEMA_INVALID, message))

    def problems(self, value: Value) -> tuple[Problem, ...]:
        """All that can be found, each with its pointer."""
        return tuple(self._walk(self._type, value, ()))

    def value(self, value: Value) -> Any:  # noqa: ANN401 - of a type that the application has
        """The content as the type.

        Raises:
            Broken: it has problems.
        """
        if problem := next(self._walk(self._type, value, ()), None):
            raise Broken(problem)
        return self._convert(value, self._type)

    def _walk(
        self, wanted: Wanted, value: Value, pointer: Pointer, *, good: bool = False
    ) -> Iterator[Problem]:
        """The problems of a value's members, or its own where these have none.

        msgspec stops at the first one and does not say the keys that lead to it, so what it refuses
        is offered again member by member. Of what it takes, ``good``, only the keys are looked at.
        """
        error: Exception | None = None
        if not good:
            try:
                self._convert(value, wanted)
            except Exception as caught:  # noqa: BLE001 - code of the application may run here
                error = caught
        shape = shape_of(wanted, value) if isinstance(value, dict | list) else None
        found = False
        for problem in self._of_members(shape, value, pointer, good=error is None) if shape else ():
            found = True
            yield problem
        if error is not None and not found:
            yield _problem(error, wanted, pointer)

    def _of_members(
        self, shape: Shape, value: Value, pointer: Pointer, *, good: bool
    ) -> Iterator[Problem]:
        absent = [] if good else [key for key in shape.required if key not in value]
        yield from (missing_key(pointer, key) for key in sorted(absent))
        for step, member in value.items() if isinstance(value, dict) else enumerate(value):
            if step in shape.members:
                if not good or isinstance(member, dict | list):
                    yield from self._walk(shape.members[step], member, (*pointer, step), good=good)
            elif shape.closed and step != shape.tag[0]:
                yield unknown_key(pointer, str(step), shape.members.keys() - value.keys())


def shape_of(wanted: Wanted, value: Value) -> Shape | None:
    """The members of a table or a list, by its type; None where the type says nothing of them."""
    origin: Any = typing.get_origin(wanted)
    arguments = typing.get_args(wanted)
    if origin in {typing.Union, types.UnionType}:
        shapes = (shape_of(one, value) for one in arguments)
        return next((s for s in shapes if s and (not s.tag[0] or _is_tagged(value, s))), None)
    if origin is typing.Annotated:
        return shape_of(arguments[0], value)
    if isinstance(value, dict):
        if origin in TABLES:
            return Shape(dict.fromkeys(value, arguments[1]))
        return _shape_of_class(wanted) if isinstance(wanted, type) else None
    if origin is tuple and arguments[-1] is not ...:
        return Shape(dict(enumerate(arguments)))
    return Shape(dict.fromkeys(range(len(value)), arguments[0])) if origin in LISTS else None


def _is_tagged(value: Value, shape: Shape) -> bool:
    key, tag = shape.tag
    return bool(value.get(key) == tag)


@functools.cache
def _shape_of_class(wanted: type) -> Shape | None:
    msgspec = library("msgspec")
    if issubclass(wanted, msgspec.Struct):
        config = wanted.__struct_config__  # type: ignore[attr-defined]
        fields = msgspec.structs.fields(wanted)
        return Shape(
            {field.encode_name: field.type for field in fields},
            frozenset(field.encode_name for field in fields if field.required),
            config.forbid_unknown_fields,
            (config.tag_field, config.tag),
        )
    if dataclasses.is_dataclass(wanted):
        hints = typing.get_type_hints(wanted, include_extras=True)
        given = [field for field in dataclasses.fields(wanted) if field.init]
        return Shape(
            {field.name: hints[field.name] for field in given},
            frozenset(f.name for f in given if f.default is f.default_factory is MISSING_DEFAULT),
            closed=True,
        )
    if typing.is_typeddict(wanted):
        keys: dict[str | int, Wanted] = {
            key: typing.get_args(one)[0] if typing.get_origin(one) in MARKS else one
            for key, one in typing.get_type_hints(wanted, include_extras=True).items()
        }
        required: frozenset[str] = wanted.__required_keys__  # type: ignore[attr-defined]
        return Shape(keys, required, closed=True)
    return None


def _problem(error: Exception, wanted: Wanted, pointer: Pointer) -> Problem:
    """What msgspec says of one value, but for the value."""
    where, said = shown_pointer(pointer), str(error).partition(" - at `$")[0]
    if error.__cause__ is None:
        if found := WRONG_TYPE.fullmatch(said):
            return wrong_type(pointer, (NAMES.get(one, one) for one in found[1].split(" | ")))
        if found := LIMIT.fullmatch(said):
            limit = found["limit"].partition(", got ")[0]
            return Problem(Cause.OUT_OF_RANGE, f"{where} has to be {limit}", pointer=pointer)
        if found := MISSING.fullmatch(said):
            return missing_key(pointer, found["key"])
        if said.startswith("Invalid enum value"):
            allowed = ", ".join(map(str, _choices(wanted)))
            message = f"{where} has to be one of {allowed}"
            return Problem(Cause.OUT_OF_RANGE, message, pointer=pointer)
        if said.startswith("Invalid"):
            return Problem(Cause.OUT_OF_RANGE, f"{where} is not allowed", pointer=pointer)
    name = getattr(wanted, "__name__", "the type")
    return Problem(Cause.ENTRY_INVALID, f"{where} is refused by {name}", pointer=pointer)


def _choices(wanted: Wanted) -> list[Any]:
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return [member.value for member in wanted]
    origin: Any = typing.get_origin(wanted)
    arguments = typing.get_args(wanted)
    if origin is typing.Literal:
        return [*arguments]
    return [choice for one in arguments for choice in _choices(one)]

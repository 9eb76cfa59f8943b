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
import traceback
import types
import typing
from collections.abc import (
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
    Set,
)
from contextlib import suppress
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
CONTAINERS = frozenset({dict, list})
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

    def unknown(self, value: Value, pointer: Pointer) -> list[Problem]:
        """The keys of a table that are none of its members."""
        if not self.closed or value.keys() <= self.members.keys():
            return []
        known = [str(key) for key in self.members if key not in value]
        strange = (key for key in value if key not in self.members and key != self.tag[0])
        return [unknown_key(pointer, key, known) for key in strange]


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
        except (Exception, SystemExit) as error:  # noqa: BLE001 - code of the application runs here
            missing = isinstance(error, ModuleNotFoundError) and error.name
            if missing and not f"{module}.".startswith(f"{missing}."):
                message = f"{missing}, which the type of the file needs, is not installed"
                package = missing.partition(".")[0]
                raise Broken(Problem(Cause.NO_PARSER, message, key=package)) from None
            _log_once(module, name, "".join(traceback.format_exception(error)))
            message = f"the type {shown_key(name)} of {shown_key(module)} cannot be used"
            raise Broken(Problem(Cause.SCHEMA_INVALID, message)) from None
        if isinstance(info, msgspec.inspect.CustomType):
            message = f"{shown_key(name)} is no dataclass, TypedDict or Struct"
            raise Broken(Problem(Cause.SCHEMA_INVALID, message))

    def problems(self, value: Value) -> tuple[Problem, ...]:
        """All that can be found, each with its pointer."""
        return tuple(self._problems(self._type, value, ()))

    def value(self, value: Value) -> Any:  # noqa: ANN401 - of a type that the application has
        """The content as the type.

        Raises:
            Broken: it has problems.
        """
        with suppress(Exception):
            converted = self._convert(value, self._type)
            if not unknown_keys(self._type, value, ()):
                return converted
        raise Broken(self.problems(value)[0])

    def _problems(self, wanted: Wanted, value: Value, pointer: Pointer) -> list[Problem]:
        """The problems of a value's members, or its own where these have none.

        msgspec stops at the first one and does not say the keys that lead to it, so what it refuses
        is offered again member by member.
        """
        try:
            self._convert(value, wanted)
        except Exception as error:  # noqa: BLE001 - code of the application may run here
            found: list[Problem] = []
            if shape := shape_of(wanted, value):
                found += (missing_key(pointer, k) for k in sorted(shape.required) if k not in value)
                found += shape.unknown(value, pointer)
                for step, member in members_of(value):
                    if step in shape.members:
                        found += self._problems(shape.members[step], member, (*pointer, step))
            return found or [_problem(error, wanted, pointer)]
        return unknown_keys(wanted, value, pointer)


@functools.lru_cache(maxsize=64)
def _log_once(module: str, name: str, error: str) -> None:
    """Log why a type cannot be used, which is tried again and again, once for each reason."""
    fields = {"module": module, "type": name, "error": error}
    logger.warning("the type of a file cannot be used", extra={"fields": fields})


def unknown_keys(wanted: Wanted, value: Value, pointer: Pointer) -> list[Problem]:
    """The keys that nothing knows in a value that msgspec takes, which lets some types have any."""
    shape = shape_of(wanted, value)
    if shape is None:
        return []
    found = shape.unknown(value, pointer)
    for step, member in members_of(value):
        if type(member) in CONTAINERS and step in shape.members:
            found += unknown_keys(shape.members[step], member, (*pointer, step))
    return found


def members_of(value: Value) -> Iterable[tuple[str | int, Value]]:
    """The keys or indexes of a table or a list, with what they stand for."""
    return value.items() if isinstance(value, dict) else enumerate(value)


def shape_of(wanted: Wanted, value: Value) -> Shape | None:
    """The members of a table or a list, by its type; None where the type says nothing of them."""
    if type(value) not in CONTAINERS:
        return None
    if type(value) is dict and isinstance(wanted, type) and (shape := _shape_of_class(wanted)):
        return shape
    origin: Any = typing.get_origin(wanted)
    arguments = typing.get_args(wanted)
    if origin in {typing.Union, types.UnionType, typing.Annotated}:
        # What an annotation says beside the type is no type of tables.
        shapes = (shape_of(one, value) for one in arguments)
        return next((s for s in shapes if s and (not s.tag[0] or _is_tagged(value, s))), None)
    members: dict[str | int, Wanted] = {}
    if origin in TABLES and type(value) is dict:
        members = dict.fromkeys(value, arguments[-1])
    elif origin is tuple and arguments[-1] is not ...:
        members = dict(enumerate(arguments))
    elif origin in LISTS and type(value) is list:
        members = dict.fromkeys(range(len(value)), arguments[0])
    return Shape(members) if members else None


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

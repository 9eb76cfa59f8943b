"""What a file has to hold: a JSON Schema, or a type of the application's code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.kinds.configuration import formats, reading
from app.kinds.configuration.causes import (
    Broken,
    Cause,
    Pointer,
    Problem,
    Value,
    library,
    missing_key,
    shown_pointer,
    unknown_key,
    wrong_type,
)
from app.kinds.configuration.typed import TypedSchema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

#: Characters that a message shows of what a schema allows.
MAX_SHOWN = 200
TYPE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
#: What keywords of JSON Schema that limit a value ask for.
LIMITS: Mapping[str, str] = {
    "const": "has to be {}",
    "enum": "has to be one of {}",
    "format": "has to be of the format {}",
    "pattern": "has to match {}",
    "minimum": "has to be at least {}",
    "maximum": "has to be at most {}",
    "exclusiveMinimum": "has to be more than {}",
    "exclusiveMaximum": "has to be less than {}",
    "multipleOf": "has to be a multiple of {}",
    "minLength": "has to have at least {} characters",
    "maxLength": "has to have at most {} characters",
    "minItems": "has to have at least {} elements",
    "maxItems": "has to have at most {} elements",
    "minProperties": "has to have at least {} keys",
    "maxProperties": "has to have at most {} keys",
    "uniqueItems": "has to have no element twice",
}


class Schema(Protocol):
    """What the content of a file is checked with."""

    def problems(self, value: Value) -> tuple[Problem, ...]:
        """All that can be found, each with its pointer; lines are not known here."""

    def value(self, value: Value) -> Any:  # noqa: ANN401 - of any type
        """What Python callers get for a content without problems.

        Raises:
            Broken: it has some.
        """


def load_schema(reference: str, root: Path, *, texts: bool = False) -> Schema:
    """The schema of a file: ``x.schema.json`` below ``root``, or ``package.module:Type``.

    Args:
        reference: as the manifest has it.
        root: where a path that is not absolute begins.
        texts: whether the file's values are all texts, as in INI and ``.env``; a type then reads
            numbers and flags from them.

    Raises:
        Broken: it cannot be used, or what it needs is not installed, which ``key`` then names.
    """
    if named := TYPE.fullmatch(reference):
        return TypedSchema(named["module"], named["name"], texts=texts)
    try:
        schema = formats.parse(reading.read(root / reference), formats.Format.JSON)
    except Broken as broken:
        raise Broken(Problem(Cause.SCHEMA_INVALID, f"the schema: {broken}")) from None
    return JsonSchema(schema)


class JsonSchema:
    """A JSON Schema of any draft that jsonschema knows; it refers to nothing outside of itself.

    Raises:
        Broken: it is none, or jsonschema is not installed.
    """

    def __init__(self, schema: Value) -> None:
        validators = library("jsonschema.validators")
        validator = validators.validator_for(schema, validators.Draft202012Validator)
        try:
            validator.check_schema(schema)
        except validators.exceptions.SchemaError as error:
            where = shown_pointer(tuple(error.absolute_path))
            message = f"the schema is no JSON Schema: {where} cannot be used"
            raise Broken(Problem(Cause.SCHEMA_INVALID, message)) from None
        self._unresolvable = library("referencing.exceptions").Unresolvable
        # Nothing is fetched: what is not in this registry is unknown.
        registry = library("jsonschema_specifications").REGISTRY
        checker = validator.FORMAT_CHECKER
        self._validator = validator(schema, registry=registry, format_checker=checker)

    def problems(self, value: Value) -> tuple[Problem, ...]:
        """All that can be found, each with its pointer."""
        try:
            errors = list(self._validator.iter_errors(value))
        except (self._unresolvable, RecursionError, re.error):
            message = "the schema refers to what it does not have, or to itself"
            return (Problem(Cause.SCHEMA_INVALID, message),)
        except (ArithmeticError, ValueError, TypeError):
            message = "a value cannot be checked, such as a number that is too large or none"
            return (Problem(Cause.OUT_OF_RANGE, message),)
        # What several branches of a schema say alike is one problem.
        return tuple(dict.fromkeys(problem for error in errors for problem in _of_error(error)))

    def value(self, value: Value) -> Any:  # noqa: ANN401 - of any type
        """The content as it was parsed."""
        return value


def _of_error(error: ValidationError) -> Iterator[Problem]:
    """What jsonschema's error says, but for the value."""
    pointer, keyword, wanted = tuple(error.absolute_path), error.validator, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        yield unknown_key(pointer, str(error.instance), ())
    elif keyword == "required":
        absent = (key for key in wanted if error.message.startswith(repr(key)))
        yield from (missing_key(pointer, key) for key in absent)
    elif keyword == "additionalProperties":
        yield from _unknown_keys(error, pointer)
    elif keyword == "type":
        yield wrong_type(pointer, [wanted] if isinstance(wanted, str) else wanted)
    elif error.context and all(one.validator == "type" and not one.path for one in error.context):
        kinds = (one.validator_value for one in error.context)
        yield wrong_type(pointer, (k for w in kinds for k in ([w] if isinstance(w, str) else w)))
    elif meant := _meant(error):
        for one in meant:
            yield from _of_error(one)
    elif keyword in LIMITS:
        allowed = ", ".join(map(_shown, wanted)) if keyword == "enum" else _shown(wanted)
        message = f"{shown_pointer(pointer)} {LIMITS[keyword].format(allowed[:MAX_SHOWN])}"
        yield Problem(Cause.OUT_OF_RANGE, message, pointer=pointer)
    else:
        message = f"{shown_pointer(pointer)} is not what the schema allows ({keyword or 'false'})"
        yield Problem(Cause.ENTRY_INVALID, message, pointer=pointer)


def _unknown_keys(error: ValidationError, pointer: Pointer) -> Iterator[Problem]:
    schema: Any = error.schema
    known = schema.get("properties", {})
    allowed = "|".join(schema.get("patternProperties", {}))
    for key in error.instance:
        if key not in known and not (allowed and re.search(allowed, key)):
            yield unknown_key(pointer, key, known.keys() - error.instance.keys())


def _meant(error: ValidationError) -> list[ValidationError]:
    """The errors of that one of several schemas of which only parts do not fit; none of two such.

    One that has another type, or another value for a key that can have some alone, is not meant.
    """
    branches: dict[object, list[ValidationError]] = {}
    for one in error.context or ():
        branches.setdefault(one.schema_path[0], []).append(one)
    fitting = [
        errors
        for errors in branches.values()
        if not any(
            one.validator in {"const", "enum"} or (one.validator == "type" and not one.path)
            for one in errors
        )
    ]
    return fitting[0] if len(fitting) == 1 else []


def _shown(wanted: Value) -> str:
    return dumps(wanted, default=str)

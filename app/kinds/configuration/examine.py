"""Examines the content of a file: what it holds, and what of it cannot be used, with its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.kinds.configuration import formats
from app.kinds.configuration.causes import Broken, Cause, Pointer, Problem, Value, parse_pointer
from app.kinds.configuration.formats import Format
from app.kinds.configuration.schemas import Schema

#: The key by which the members of a list are called; those without it by their index.
NAME = "name"


@dataclass(frozen=True, slots=True)
class Examined:
    """What a content holds.

    Attributes:
        value: all that was parsed, what is broken included; None where it cannot be parsed.
        problems: what makes the file as a whole unusable, with their lines, in their order.
        broken: the first problem of each entry that cannot be used, by the entry's name.
    """

    value: Value = None
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, Problem] = field(default_factory=dict)


def examine(
    content: bytes, written_in: Format, schema: Schema | None = None, entries: str | None = None
) -> Examined:
    """Parse and check a content; whatever is in it, nothing is raised.

    Args:
        content: the bytes of the file.
        written_in: its format.
        schema: what it has to hold; None where anything will do.
        entries: the JSON pointer of the collection whose members stand alone; None for none.
    """
    try:
        document = formats.parse_document(content, written_in)
    except Broken as broken:
        return Examined(problems=(broken.problem,))
    found = schema.problems(document.value) if schema else ()
    if not found:
        return Examined(document.value)
    # A key that is missing because it is misspelt is one problem.
    slips = {(one.pointer[:-1], key) for one in found for key in one.nearest}
    lines = document.locate({problem.pointer for problem in found})
    located = [
        replace(problem, line=line, column=column)
        for problem in found
        for line, column in [lines[problem.pointer]]
        if problem.cause is not Cause.MISSING_KEY or (problem.pointer, problem.key) not in slips
    ]
    located.sort(key=lambda problem: (problem.line, problem.column))
    base, collection = _collection(document.value, entries)
    names = {step: name for name, step in _steps(collection).items()}
    of_file: list[Problem] = []
    of_entries: dict[str, Problem] = {}
    for problem in located:
        entry = problem.pointer[len(base or ()) :]
        if base is not None and entry and problem.pointer[: len(base)] == base:
            of_entries.setdefault(names[entry[0]], problem)
        else:
            of_file.append(problem)
    return Examined(document.value, tuple(of_file), of_entries)


def entries_of(value: Value, entries: str) -> dict[str, Value]:
    """The members of a collection by their names; none where there is no such collection."""
    _, collection = _collection(value, entries)
    return {name: collection[step] for name, step in _steps(collection).items()}


def entry_pointer(value: Value, entries: str, name: str) -> Pointer | None:
    """Where the member of that name is; None where there is none."""
    base, collection = _collection(value, entries)
    step = _steps(collection).get(name)
    return None if base is None or step is None else (*base, step)


def with_entries(value: Value, entries: str, changes: Mapping[str, Value]) -> Value:
    """A copy with other members in the place of those that are named, or without them (None).

    All others, their order, and what is around them stay; nothing is added.
    """
    base, collection = _collection(value, entries)
    if base is None:
        return value
    changed = {
        step: changes.get(name, collection[step]) for name, step in _steps(collection).items()
    }
    stay = {step: member for step, member in changed.items() if member is not None}
    result: Value = stay if isinstance(collection, dict) else list(stay.values())
    for length in range(len(base) - 1, -1, -1):
        around = _at(value, base[:length]).copy()
        around[base[length]] = result
        result = around
    return result


def _collection(value: Value, entries: str | None) -> tuple[Pointer | None, Value]:
    """Where the collection is, and the collection itself; None where there is none."""
    base: Pointer = ()
    for step in parse_pointer(entries) if entries is not None else ():
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            base = (*base, int(step))
        elif isinstance(value, dict) and step in value:
            base = (*base, step)
        else:
            return None, {}
        value = value[base[-1]]
    return (base, value) if entries is not None and isinstance(value, dict | list) else (None, {})


def _steps(collection: Value) -> dict[str, str | int]:
    """The keys or indexes of a collection's members, by the names of these."""
    if isinstance(collection, dict):
        return {key: key for key in collection}
    steps: dict[str, str | int] = {}
    for index, member in enumerate(collection):
        name = member.get(NAME) if isinstance(member, dict) else None
        # Of two with one name the second is called by its index.
        steps[name if isinstance(name, str) and name not in steps else str(index)] = index
    return steps


def _at(value: Value, pointer: Pointer) -> Value:
    for step in pointer:
        value = value[step]
    return value

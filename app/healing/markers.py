"""Environment markers of PEP 508, as far as a lock uses them.

The grammar is the one of the dependency specifiers page of the packaging specifications: ``and``,
``or``, parentheses, comparisons of a variable with a quoted string. ``extra`` never holds here: a
lock has resolved its extras.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache

TOKEN = re.compile(
    r"\s*(?:(?P<word>[a-z_]+)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>===|~=|[<>=!]=|[<>()]))"
)
VERSIONS = frozenset({"python_version", "python_full_version", "implementation_version"})


class MarkerError(ValueError):
    """The text is not a marker of PEP 508."""


@cache
def environment() -> Mapping[str, str]:
    """The marker variables of this interpreter on this machine."""
    return {
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "python_full_version": platform.python_version(),
        "implementation_name": sys.implementation.name,
        "implementation_version": platform.python_version(),
        "extra": "",
    }


def holds(marker: str, variables: Mapping[str, str] | None = None) -> bool:
    """Whether ``marker`` is true for ``variables``, by default those of this interpreter.

    Raises:
        MarkerError: when the text is no marker.
    """
    return _Parser(marker, environment() if variables is None else variables).parse()


def version_key(version: str) -> tuple[int, ...]:
    """The release numbers of a version, without trailing zeros; enough to order Pythons."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class _Parser:
    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._tokens = list(_tokens(text))
        self._variables = variables

    def parse(self) -> bool:
        value = self._either()
        if self._tokens:
            raise MarkerError(f"unexpected {self._tokens[0]}")
        return value

    def _either(self) -> bool:
        value = self._both()
        while self._accept("or"):
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._one()
        while self._accept("and"):
            value = self._one() and value
        return value

    def _one(self) -> bool:
        if self._accept("("):
            value = self._either()
            if not self._accept(")"):
                raise MarkerError("missing )")
            return value
        return self._comparison()

    def _comparison(self) -> bool:
        left, sign = self._next(), self._next()
        if sign == "not":
            sign = f"not {self._next()}"
        right = self._next()
        versioned = bool(VERSIONS & {left, right})
        return _compare(self._value(left), sign, self._value(right), versioned=versioned)

    def _value(self, token: str) -> str:
        if token[0] in "'\"":
            return token[1:-1]
        if token not in self._variables:
            raise MarkerError(f"unknown variable {token}")
        return self._variables[token]

    def _next(self) -> str:
        if not self._tokens:
            raise MarkerError("ends too early")
        return self._tokens.pop(0)

    def _accept(self, token: str) -> bool:
        found = bool(self._tokens) and self._tokens[0] == token
        if found:
            self._tokens.pop(0)
        return found


def _tokens(text: str) -> Iterator[str]:
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = TOKEN.match(stripped, position)
        if match is None:
            raise MarkerError(f"cannot read {stripped[position : position + 20]!r}")
        yield match[0].strip()
        position = match.end()


ORDER: Mapping[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b,
    "===": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}


def _compare(left: str, sign: str, right: str, *, versioned: bool) -> bool:
    if sign in {"in", "not in"}:
        return (left in right) is (sign == "in")
    if versioned and right.endswith(".*") and sign in {"==", "!="}:
        return _is_prefix(right[:-2], left) is (sign == "==")
    if sign == "~=":
        prefix = right.rpartition(".")[0]
        return version_key(left) >= version_key(right) and _is_prefix(prefix, left)
    if sign not in ORDER:
        raise MarkerError(f"unknown comparison {sign}")
    pair = (version_key(left), version_key(right)) if versioned else (left, right)
    return ORDER[sign](*pair)


def _is_prefix(prefix: str, version: str) -> bool:
    wanted = prefix.split(".")
    return version.split(".")[: len(wanted)] == wanted

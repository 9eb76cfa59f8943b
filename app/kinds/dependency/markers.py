"""Environment markers of PEP 508, as far as a lock uses them.

The grammar is the one of the dependency specifiers page of the packaging specifications: ``and``,
``or``, parentheses, comparisons of a variable with a quoted string. ``extra`` never holds here: a
lock has resolved its extras.
"""

from __future__ import annotations

import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from app.settings.errors import shown

TOKEN = re.compile(
    r"\s*(?:(?P<word>[a-z_]+)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>===|~=|[<>=!]=|[<>()]))"
)
RELEASE = re.compile(r"\d{1,9}(?:\.\d{1,9})*", re.ASCII)
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
    try:
        return _Parser(marker, environment() if variables is None else variables).parse()
    except RecursionError:
        raise MarkerError("parentheses too deep") from None


def version_key(version: str) -> tuple[int, ...]:
    """The release numbers of a version, without trailing zeros; enough to order Pythons."""
    match = RELEASE.match(version)
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
            raise MarkerError(f"unexpected {shown(self._tokens[0])}")
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
            raise MarkerError(f"unknown variable {shown(token)}")
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
            raise MarkerError(f"cannot read {shown(stripped[position : position + 20])}")
        yield match[0].strip()
        position = match.end()


Order = Callable[[tuple[int, ...], tuple[int, ...]], bool]
VERSION_ORDER: Mapping[str, Order] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: Strings have no order: as in ``packaging``, none is before another.
STRING_ORDER: Mapping[str, Callable[[str, str], bool]] = {
    **dict.fromkeys(("==", "<=", ">="), operator.eq),
    "!=": operator.ne,
    **dict.fromkeys(("<", ">"), lambda _left, _right: False),
    "in": lambda left, right: left in right,
    "not in": lambda left, right: left not in right,
}


def _compare(left: str, sign: str, right: str, *, versioned: bool) -> bool:
    answer = _compare_versions(left, sign, right) if versioned else None
    if answer is not None:
        return answer
    if sign not in STRING_ORDER:
        raise MarkerError(f"cannot compare with {shown(f'{sign} {right}')}")
    return STRING_ORDER[sign](left, right)


def _compare_versions(left: str, sign: str, right: str) -> bool | None:
    """The answer, None where the comparison does not take the right side for a version."""
    if sign == "===":
        return left == right
    series = right.removesuffix(".*")
    if not RELEASE.fullmatch(series):
        return None
    if series != right:
        return _is_prefix(series, left) is (sign == "==") if sign in {"==", "!="} else None
    if sign == "~=":
        series, dot, _ = right.rpartition(".")
        later = version_key(left) >= version_key(right)
        return later and _is_prefix(series, left) if dot else None
    ordered = VERSION_ORDER.get(sign)
    return ordered(version_key(left), version_key(right)) if ordered else None


def _is_prefix(prefix: str, version: str) -> bool:
    """Whether the release numbers of a version begin so; a shorter one is filled up with zeros."""
    wanted = list(map(int, prefix.split(".")))
    numbers = [*version_key(version), *([0] * len(wanted))]
    return numbers[: len(wanted)] == wanted

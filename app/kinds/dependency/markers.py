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
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache

from app.settings.errors import shown

TOKEN = re.compile(
    r"\s*(?:(?P<word>[a-z_]+)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>===|~=|[<>=!]=|[<>()])"
    r"|(?P<unknown>\S.{0,19}))",
    re.DOTALL,
)
RELEASE = re.compile(r"\d{1,9}(?:\.\d{1,9})*", re.ASCII)
VERSIONS = frozenset({"python_version", "python_full_version", "implementation_version"})
VERSION_ORDER: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
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
    tokens: deque[str] = deque()
    for match in TOKEN.finditer(marker.rstrip()):
        if match["unknown"]:
            raise MarkerError(f"cannot read {shown(match['unknown'])}")
        tokens.append(match[0].strip())
    try:
        value = _alternatives(tokens, environment() if variables is None else variables)
    except RecursionError:
        raise MarkerError("parentheses too deep") from None
    except IndexError:
        raise MarkerError("ends too early") from None
    if tokens:
        raise MarkerError(f"unexpected {shown(tokens[0])}")
    return value


def version_key(version: str) -> tuple[int, ...]:
    """The release numbers of a version, without trailing zeros; enough to order Pythons."""
    match = RELEASE.match(version)
    numbers = [int(part) for part in match[0].split(".")] if match else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _alternatives(tokens: deque[str], variables: Mapping[str, str]) -> bool:
    """Take terms joined by ``and`` and ``or`` off the tokens; ``and`` binds stronger."""
    values = [_term(tokens, variables)]
    while tokens and tokens[0] in {"and", "or"}:
        if tokens.popleft() == "or":
            values.append(_term(tokens, variables))
        else:
            values[-1] = _term(tokens, variables) and values[-1]
    return any(values)


def _term(tokens: deque[str], variables: Mapping[str, str]) -> bool:
    """Take a comparison, or a marker in parentheses, off the tokens."""
    if tokens[0] == "(":
        tokens.popleft()
        value = _alternatives(tokens, variables)
        if tokens.popleft() != ")":
            raise MarkerError("missing )")
        return value
    left, sign = tokens.popleft(), tokens.popleft()
    if sign == "not":
        sign = f"not {tokens.popleft()}"
    right = tokens.popleft()
    values = []
    for token in (left, right):
        quoted = token[0] in "'\""
        if not quoted and token not in variables:
            raise MarkerError(f"unknown variable {shown(token)}")
        values.append(token[1:-1] if quoted else variables[token])
    answer = _compare_versions(values[0], sign, values[1]) if VERSIONS & {left, right} else None
    if answer is not None:
        return answer
    if sign not in STRING_ORDER:
        raise MarkerError(f"cannot compare with {shown(f'{sign} {values[1]}')}")
    return STRING_ORDER[sign](*values)


def _compare_versions(left: str, sign: str, right: str) -> bool | None:
    """The answer, None where the comparison does not take the right side for a version."""
    if sign == "===":
        return left == right
    series = right.removesuffix(".*")
    if not RELEASE.fullmatch(series):
        return None
    # ``3.12.*`` and ``~=3.12.1`` ask for a beginning; a shorter version is filled up with zeros.
    beginning = [int(part) for part in series.split(".")][: -1 if sign == "~=" else None]
    numbers = [*version_key(left), *([0] * len(beginning))]
    begins_so = numbers[: len(beginning)] == beginning
    if series != right:
        return begins_so is (sign == "==") if sign in {"==", "!="} else None
    if sign == "~=":
        return begins_so and version_key(left) >= version_key(right) if beginning else None
    ordered = VERSION_ORDER.get(sign)
    return ordered(version_key(left), version_key(right)) if ordered else None

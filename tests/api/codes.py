"""Problem codes: those that the source can produce, and those that a document describes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import app
from app import BLUEPRINT_MISSING, REGISTRATION_FAILED
from app.edge import ErrorKind
from app.healing.outcomes import Outcome
from app.kinds.dependency.diagnosis import Cause

#: The functions that make a problem, and which of their arguments is the code.
MAKERS = {"problem": 1, "problem_document": 1, "Refusal": 1, "_retry_later": 0}
#: What code is that no literal gives, by how the source writes it.
COMPUTED: Mapping[str, frozenset[str]] = {
    "str(outcome)": frozenset(Outcome) - {Outcome.HEALED},
    "str(diagnosis.cause)": frozenset(Cause),
    "state.reason or 'unavailable'": frozenset(
        {*Cause, REGISTRATION_FAILED, BLUEPRINT_MISSING, "unavailable"}
    ),
    "f'edge_{kind}'": frozenset(f"edge_{kind}" for kind in ErrorKind),
    "f'not_{word}'": frozenset({"not_alive", "not_ready"}),
    # The framework's own errors, those that this application can meet.
    "_code(status)": frozenset(
        {"bad_request", "not_found", "method_not_allowed", "requested_range_not_satisfiable"}
    ),
}


class UnknownCode(Exception):
    """The source computes a code in a way that COMPUTED does not know."""


def described(schema: Any) -> set[str]:  # noqa: ANN401 - a part of a JSON document
    """Every value that a ``code`` in it may have."""
    if isinstance(schema, list):
        return {code for each in schema for code in described(each)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties", {}).get("code", {}).get("oneOf", ())
    return {choice["const"] for choice in own} | described(list(schema.values()))


def produced() -> set[str]:
    """The codes that the application's source can produce."""
    sources = Path(app.__file__).parent.rglob("*.py")
    return {code for path in sources for code in codes_in(path.read_text())}


def codes_in(source: str) -> Iterator[str]:
    """The codes of one module."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for scope in (*functions, tree):
        for call in _calls(scope):
            yield from _values(call.args[MAKERS[_name(call)]], scope)


def _calls(scope: ast.AST) -> Iterator[ast.Call]:
    """The calls of makers in a function itself, or of a module outside of any."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.Call) and _name(node) in MAKERS:
            yield node
        yield from _calls(node)


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _values(node: ast.expr, scope: ast.AST) -> Iterator[str]:
    written = ast.unparse(node)
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif written in COMPUTED:
        yield from COMPUTED[written]
    elif isinstance(node, ast.Name):
        yield from _assigned(node.id, scope)
    else:
        raise UnknownCode(written)


def _assigned(name: str, scope: ast.AST) -> Iterator[str]:
    """What a function assigns to a name; nothing for a maker's own parameter, whose callers say."""
    if isinstance(scope, ast.FunctionDef) and scope.name in {*MAKERS, "answer"}:
        return
    pairs = [pair for n in ast.walk(scope) if isinstance(n, ast.Assign) for pair in _pairs(n)]
    values = [value for target, value in pairs if target == name]
    if not values:
        raise UnknownCode(name)
    for value in values:
        yield from _values(value, scope)


def _pairs(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=True)
        else:
            yield ast.unparse(target), node.value

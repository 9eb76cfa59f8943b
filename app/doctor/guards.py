"""When an import runs, and whether its failure is provided for: read from the code around it."""

from __future__ import annotations

import ast
import operator
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

#: What an ``except`` clause may name to catch a failing import.
CATCHES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
#: Functions of the engine that import without failing, and the decorator that does.
FORGIVING = frozenset({"safe_import", "resilient_import", "resilient_blueprint_import"})
FORGIVING_DECORATORS = frozenset({"graceful_import_wrapper", "create_graceful_import_wrapper"})
EXITS = frozenset({"sys.exit", "exit", "os._exit"})
ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
#: The facts of the interpreter that conditions ask for.
FACTS: dict[str, str | int | tuple[object, ...]] = {
    "sys.version_info": tuple(sys.version_info[:3]),
    "sys.version_info.major": sys.version_info.major,
    "sys.version_info.minor": sys.version_info.minor,
    "sys.platform": sys.platform,
    "os.name": os.name,
    "sys.implementation.name": sys.implementation.name,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda here, there: here in there,
    ast.NotIn: lambda here, there: here not in there,
}


class Guard(StrEnum):
    """What stands between a failing import and the service."""

    NONE = "none"
    OPTIONAL = "optional"
    TYPING = "typing"
    DEAD = "dead"


def dotted(node: ast.AST | None) -> str:
    """``a.b.c`` for a name or an attribute of one, else ``""``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def catches_import_error(handlers: Iterable[ast.ExceptHandler]) -> bool:
    """Whether one of the handlers takes an import error and goes on.

    One that raises or ends the process provides for nothing.
    """
    for handler in handlers:
        named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if handler.type is None or _catch(named):
            last = handler.body[-1]
            call = last.value if isinstance(last, ast.Expr) else None
            exits = isinstance(call, ast.Call) and dotted(call.func) in EXITS
            return not isinstance(last, ast.Raise) and not exits
    return False


def suppresses_import_error(items: Iterable[ast.withitem]) -> bool:
    """Whether a ``with`` statement is ``contextlib.suppress(ImportError)`` or wider."""
    for item in items:
        call = item.context_expr
        if isinstance(call, ast.Call) and dotted(call.func).rpartition(".")[2] == "suppress":
            return _catch(call.args)
    return False


def _catch(nodes: Iterable[ast.expr | None]) -> bool:
    """Whether one of these classes is an import error, or what an import error is one of."""
    return any(dotted(node).rpartition(".")[2] in CATCHES for node in nodes)


def is_forgiving(decorators: Iterable[ast.expr]) -> bool:
    """Whether a function is wrapped so that a failing import in it is no failure."""
    return any(dotted(node).rpartition(".")[2] in FORGIVING_DECORATORS for node in decorators)


def ends(body: Sequence[ast.stmt]) -> bool:
    """Whether what follows a block in the same list runs only when the block did not."""
    return bool(body) and isinstance(body[-1], ENDS)


def holds(test: ast.expr) -> bool | None:
    """What a condition is on this interpreter; None when that shows only when it runs."""
    result: bool | None = None
    if isinstance(test, ast.Constant):
        result = bool(test.value)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = holds(test.operand)
        result = None if value is None else not value
    elif isinstance(test, ast.BoolOp):
        values = [holds(part) for part in test.values]
        decisive = isinstance(test.op, ast.Or)
        undecided = None if None in values else not decisive
        result = decisive if decisive in values else undecided
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        here, there = _value(test.left), _value(test.comparators[0])
        compare = COMPARISONS.get(type(test.ops[0]))
        if here is not None and there is not None and compare is not None:
            with suppress(TypeError):
                result = bool(compare(here, there))
    elif isinstance(test, ast.Call) and dotted(test.func) == "sys.platform.startswith":
        prefix = _value(test.args[0]) if test.args else None
        result = sys.platform.startswith(prefix) if isinstance(prefix, str) else None
    return result


def _value(node: ast.expr) -> str | int | tuple[object, ...] | None:
    """What an expression is here: a literal, or a fact of the interpreter."""
    if isinstance(node, ast.Subscript) and dotted(node.value) == "sys.version_info":
        try:
            index = node.slice
            if isinstance(index, ast.Slice) and index.upper is not None:
                return tuple(sys.version_info[: int(ast.literal_eval(index.upper))])
            return int(sys.version_info[ast.literal_eval(index)])
        except (ValueError, TypeError, IndexError):
            return None
    if known := FACTS.get(dotted(node)):
        return known
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, (str, int, tuple)) else None


def flags_of(tree: ast.AST) -> frozenset[str]:
    """The names that tell whether a guarded import worked: what a guarded ``try`` assigns."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        if isinstance(node, ast.Try) and catches_import_error(node.handlers):
            for part in (node.body, node.orelse, *(handler.body for handler in node.handlers)):
                found.update(_bound(part))
        elif isinstance(node, ast.Assign) and _looks_up(node.value):
            found.update(_bound([node]))
        # Statements at any depth; expressions, which are most of a tree, are left out.
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            inside = getattr(node, name, ())
            waiting += inside if isinstance(inside, list) else ()
    return frozenset(found)


def _bound(body: Iterable[ast.AST]) -> set[str]:
    """The names that statements bind."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Assign):
            found.update(map(dotted, node.targets))
        elif isinstance(node, ast.AnnAssign):
            found.add(dotted(node.target))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(a.asname or a.name.partition(".")[0] for a in node.names)
    return found - {""}


def _looks_up(node: ast.expr | None) -> bool:
    """Whether an expression asks if a module is there."""
    if isinstance(node, ast.Compare):
        node = node.left
    if isinstance(node, ast.NamedExpr):
        node = node.value
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "find_spec"


def asks_for(test: ast.expr, flags: frozenset[str]) -> bool | None:
    """True when a condition holds only if an optional module is there, False for the opposite.

    None when it asks for something else.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = asks_for(test.operand, flags)
        return None if value is None else not value
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        other = test.comparators[0]
        if isinstance(other, ast.Constant) and other.value is None:
            value = asks_for(test.left, flags)
            is_not = isinstance(test.ops[0], (ast.IsNot, ast.NotEq))
            return value if is_not or value is None else False
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(asks_for(part, flags) for part in test.values) else None
    return True if dotted(test) in flags or _looks_up(test) else None

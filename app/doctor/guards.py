"""When an import runs, and whether its failure is provided for: read from the code around it."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

#: What an ``except`` clause may name to catch a failing import.
CATCHES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
#: Functions of the engine that import without failing, and the decorator that does.
FORGIVING = frozenset({"safe_import", "resilient_import", "resilient_blueprint_import"})
FORGIVING_DECORATORS = frozenset({"graceful_import_wrapper", "create_graceful_import_wrapper"})
ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
Value = str | int | tuple[object, ...]


class Guard(StrEnum):
    """What stands between a failing import and the service."""

    NONE = "none"
    OPTIONAL = "optional"
    TYPING = "typing"
    DEAD = "dead"


def catches_import_error(handlers: Iterable[ast.ExceptHandler]) -> bool:
    """Whether one of the handlers takes an import error and goes on."""
    caught = [handler for handler in handlers if _names(handler.type) & CATCHES or not handler.type]
    return bool(caught) and not _gives_up(caught[0].body)


def suppresses_import_error(items: Iterable[ast.withitem]) -> bool:
    """Whether a ``with`` statement is ``contextlib.suppress(ImportError)`` or wider."""
    for item in items:
        call = item.context_expr
        if isinstance(call, ast.Call) and dotted(call.func).rpartition(".")[2] == "suppress":
            return any(_names(argument) & CATCHES for argument in call.args)
    return False


def is_forgiving(decorators: Iterable[ast.expr]) -> bool:
    """Whether a function is wrapped so that a failing import in it is no failure."""
    return any(dotted(node).rpartition(".")[2] in FORGIVING_DECORATORS for node in decorators)


def dotted(node: ast.AST | None) -> str:
    """``a.b.c`` for a name or an attribute of one, else ``""``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def is_typing(test: ast.expr) -> bool:
    """Whether a condition is ``TYPE_CHECKING``."""
    return dotted(test).rpartition(".")[2] == "TYPE_CHECKING"


def holds(test: ast.expr) -> bool | None:
    """What a condition is on this interpreter; None when that shows only when it runs."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = holds(test.operand)
        return None if value is None else not value
    if isinstance(test, ast.BoolOp):
        return _combined(test)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compared(test.left, test.ops[0], test.comparators[0])
    if isinstance(test, ast.Call) and dotted(test.func) == "sys.platform.startswith":
        prefix = _value(test.args[0]) if test.args else None
        return sys.platform.startswith(prefix) if isinstance(prefix, str) else None
    return None


def flags_of(tree: ast.AST) -> frozenset[str]:
    """The names that tell whether a guarded import worked: what a guarded ``try`` assigns."""
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Try) and catches_import_error(node.handlers):
            for part in (node.body, node.orelse, *(handler.body for handler in node.handlers)):
                found.update(_bound(part))
        elif isinstance(node, ast.Assign) and _looks_up(node.value):
            found.update(_bound([node]))
    return frozenset(found)


def asks_for(test: ast.expr, flags: frozenset[str]) -> bool | None:
    """True when a condition holds only if an optional module is there, False for the opposite.

    None when it asks for something else.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = asks_for(test.operand, flags)
        return None if value is None else not value
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and _is_none(test.comparators[0]):
        value = asks_for(test.left, flags)
        return value if isinstance(test.ops[0], (ast.IsNot, ast.NotEq)) or value is None else False
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(asks_for(part, flags) for part in test.values) else None
    return True if dotted(test) in flags or _looks_up(test) else None


def ends(body: Sequence[ast.stmt]) -> bool:
    """Whether what follows a block in the same list runs only when the block did not."""
    return bool(body) and isinstance(body[-1], ENDS)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement at any depth; expressions, which are most of a tree, are left out."""
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            inside = getattr(node, name, ())
            waiting += inside if isinstance(inside, list) else ()


def _gives_up(body: Sequence[ast.stmt]) -> bool:
    """A handler that raises or ends the process provides for nothing."""
    last = body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    exits = isinstance(call, ast.Call) and dotted(call.func) in {"sys.exit", "exit", "os._exit"}
    return isinstance(last, ast.Raise) or exits


def _names(node: ast.expr | None) -> set[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return {dotted(part).rpartition(".")[2] for part in parts}


def _combined(test: ast.BoolOp) -> bool | None:
    values = [holds(part) for part in test.values]
    decisive = isinstance(test.op, ast.Or)
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def _compared(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> bool | None:
    here, there = _value(left), _value(right)
    if here is None or there is None:
        return None
    if isinstance(here, tuple) and isinstance(there, tuple) and isinstance(operator, ast.Eq):
        return here == there
    code = compile(
        ast.fix_missing_locations(
            ast.Expression(ast.Compare(_literal(here), [operator], [_literal(there)]))
        ),
        "<condition>",
        "eval",
    )
    try:
        # Two literals and a comparison, nothing that the examined code could choose.
        return bool(eval(code, {"__builtins__": {}}))  # noqa: S307
    except TypeError:
        return None


def _literal(value: Value) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _value(node: ast.expr) -> Value | None:
    """What an expression is here: literals and the facts of the interpreter."""
    facts: dict[str, Value] = {
        "sys.version_info": tuple(sys.version_info[:3]),
        "sys.version_info.major": sys.version_info.major,
        "sys.version_info.minor": sys.version_info.minor,
        "sys.platform": sys.platform,
        "os.name": os.name,
        "sys.implementation.name": sys.implementation.name,
    }
    if isinstance(node, ast.Subscript) and dotted(node.value) == "sys.version_info":
        return _part_of_version(node.slice)
    if known := facts.get(dotted(node)):
        return known
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, (str, int, tuple)) else None


def _part_of_version(index: ast.expr) -> Value | None:
    if isinstance(index, ast.Constant) and isinstance(index.value, int):
        return int(sys.version_info[index.value]) if 0 <= index.value <= 2 else None  # noqa: PLR2004
    if isinstance(index, ast.Slice) and isinstance(index.upper, ast.Constant):
        return tuple(sys.version_info[: int(str(index.upper.value))])
    return None


def _bound(body: Iterable[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Assign):
            found.update(filter(None, map(dotted, node.targets)))
        elif isinstance(node, ast.AnnAssign):
            found.update(filter(None, [dotted(node.target)]))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(a.asname or a.name.partition(".")[0] for a in node.names)
    return found


def _looks_up(node: ast.expr | None) -> bool:
    """Whether an expression asks if a module is there."""
    if isinstance(node, ast.Compare):
        node = node.left
    if isinstance(node, ast.NamedExpr):
        node = node.value
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "find_spec"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None

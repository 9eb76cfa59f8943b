"""Which variable code has read: found in its source, and in an exception that it raised."""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

#: What reads ``os.environ[...]`` at run time.
_GET_ITEM = type(os.environ).__getitem__.__code__
#: What code raises that meets None where it expected a value.
_OF_NONE = (TypeError, AttributeError, ValueError)
#: Links of a chain of exceptions that are looked at.
MAX_LINKS = 16


@dataclass(frozen=True, slots=True)
class Read:
    """One place that reads a variable; ``required`` where it fails, or has None, without one.

    ``raises`` says that it is the first of both.
    """

    name: str
    line: int
    required: bool
    raises: bool


def reads_in(nodes: Sequence[ast.AST]) -> Iterator[Read]:
    """The variables that the nodes of a module read, in their order.

    ``os.environ[NAME]``, ``os.environ.get``, ``os.getenv``, ``NAME in os.environ`` and the same of
    names imported from ``os``; names are texts, or constants of the module that are.
    """
    constants = {
        target.id: node.value.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    for node in nodes:
        if not isinstance(node, (ast.Subscript, ast.Call, ast.Compare)):
            continue
        if (found := _read(node)) is not None:
            name, required = found
            value = name.value if isinstance(name, ast.Constant) else None
            if isinstance(name, ast.Name):
                value = constants.get(name.id)
            if isinstance(value, str):
                yield Read(value, node.lineno, required, isinstance(node, ast.Subscript))


def _read(node: ast.expr) -> tuple[ast.expr, bool] | None:
    """What stands for the name where an expression reads a variable, and whether it has to be."""
    match node:
        case ast.Subscript(value=environ, slice=name, ctx=ast.Load()) if _is(environ, "environ"):
            return name, True
        case ast.Call(func=ast.Attribute(value=environ, attr="get"), args=[name, *default]) if _is(
            environ, "environ"
        ):
            return name, not (default or node.keywords)
        case ast.Call(func=getenv, args=[name, *default]) if _is(getenv, "getenv"):
            return name, not (default or node.keywords)
        case ast.Compare(left=name, comparators=[environ]) if _is(environ, "environ"):
            return name, False
    return None


def variable_that_failed(error: BaseException) -> str | None:
    """The variable that code missed when it raised this, or what this comes from; else None."""
    link: BaseException | None = error
    for _ in range(MAX_LINKS):
        if link is None:
            break
        if (name := _missed(link)) is not None:
            return name
        link = link.__cause__ or link.__context__
    return None


def _missed(error: BaseException) -> str | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return None
    if isinstance(error, KeyError):
        raised_by = trace.tb_frame
        if raised_by.f_code is not _GET_ITEM or raised_by.f_locals.get("self") is not os.environ:
            return None
        key = raised_by.f_locals.get("key")
        return key if isinstance(key, str) else None
    if not isinstance(error, _OF_NONE):
        return None
    unset = {
        read.name for read in _reads_at(trace) if read.required and read.name not in os.environ
    }
    # Of two nobody knows which one it was.
    return unset.pop() if len(unset) == 1 else None


def _reads_at(trace: TracebackType) -> Iterator[Read]:
    """The variables that the statement reads at which an exception was raised."""
    lines = linecache.getlines(trace.tb_frame.f_code.co_filename, trace.tb_frame.f_globals)
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return
    simple = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return)
    lines_of: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, simple) and node.lineno <= trace.tb_lineno <= (node.end_lineno or 0):
            lines_of.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    # Of the whole module, whose constants the name may be one of.
    yield from (read for read in reads_in([*ast.walk(tree)]) if read.line in lines_of)


def _is(node: ast.expr, name: str) -> bool:
    """Whether an expression is ``os.NAME``, or the name alone."""
    if isinstance(node, ast.Attribute):
        return node.attr == name and isinstance(node.value, ast.Name) and node.value.id == "os"
    return isinstance(node, ast.Name) and node.id == name

"""The addresses of a blueprint as its source names them, read without running any of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from app.kinds.dependency.on_disk import find_on_disk
from app.settings.files import read_bounded

#: Bytes of a source file that are read at most.
LARGEST = 4 << 20
#: Modules that a blueprint may be handed through by ``from … import``.
MOST_MODULES = 4
#: The methods of a blueprint that take a rule first.
TAKE_A_RULE = frozenset({"route", "get", "post", "put", "patch", "delete", "add_url_rule"})
#: What says the prefix in a file that cannot be parsed, behind the name of the blueprint.
_PREFIX = r"""^{}\s*(?::[^=\n]*)?=\s*[\w.]*Blueprint\([^)]*\burl_prefix\s*=\s*(["'])([^"'\n]*)\1"""


def addresses_in_source(path: str, attribute: str) -> tuple[str, ...]:
    """The addresses of the blueprint ``attribute`` of the module ``path``, each with all below it.

    Its prefix where it has one, else the constant part of each of its rules. What is computed when
    the module runs is unknown; a file that cannot be parsed shows its prefix alone.
    """
    for _ in range(MOST_MODULES):
        spec = find_on_disk(path)
        try:
            source = read_bounded(Path((spec and spec.origin) or ""), LARGEST)
        except (OSError, ValueError):
            return ()
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            text = source.decode(errors="replace")
            found = re.search(_PREFIX.format(re.escape(attribute)), text, re.MULTILINE)
            return fixed_parts([found[2]] if found else [])
        call = blueprint_calls(tree).get(attribute)
        if call is not None:
            prefix = constant_argument(call, "url_prefix")
            rules = (
                constant_argument(c, "rule", 0)
                for n, c in rule_calls(ast.walk(tree))
                if n == attribute
            )
            return fixed_parts([prefix] if prefix else filter(None, rules))
        package = path if spec and spec.submodule_search_locations else path.rpartition(".")[0]
        origin = imported_from(tree, attribute, package)
        if origin is None:
            return ()
        path, attribute = origin
    return ()


def blueprint_calls(tree: ast.Module) -> dict[str, ast.Call]:
    """The calls that make the module's blueprints, by the names that they are assigned to.

    A function of the module that returns a new one makes one, too.
    """
    makers = dict.fromkeys(_classes(tree))
    makers |= {name: call for name, (_, call) in blueprint_factories(tree).items()}
    found: dict[str, ast.Call] = {}
    for node in _outside_functions(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            made = _made(node.value, makers)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if made is not None and isinstance(target, ast.Name):
                    found.setdefault(target.id, made)
    return found


def blueprint_factories(tree: ast.Module) -> dict[str, tuple[ast.FunctionDef, ast.Call]]:
    """The module's functions that return a new blueprint, and the call in each that makes it."""
    makers = dict.fromkeys(_classes(tree))
    found: dict[str, tuple[ast.FunctionDef, ast.Call]] = {}
    for function in _outside_functions(tree.body):
        if not isinstance(function, ast.FunctionDef):
            continue
        made: dict[str, ast.Call] = {}
        for node in _outside_functions(function.body):
            value = getattr(node, "value", None)
            call = _made(value, makers) if isinstance(value, ast.Call) else None
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and call:
                made[node.targets[0].id] = call
            elif isinstance(node, ast.Return):
                call = made.get(value.id) if isinstance(value, ast.Name) else call
                if call is not None:
                    found[function.name] = function, call
    return found


def rule_calls(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.Call]]:
    """The calls that give a blueprint a rule, decorators among them, each with its name."""
    for node in nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in TAKE_A_RULE
            and isinstance(node.func.value, ast.Name)
        ):
            yield node.func.value.id, node


def constant_argument(call: ast.Call, keyword: str, position: int | None = None) -> str | None:
    """An argument of a call when it is a text in the source."""
    given = [one.value for one in call.keywords if one.arg == keyword]
    if position is not None:
        given += call.args[position : position + 1]
    value = given[0] if given else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _classes(tree: ast.Module) -> Iterator[str]:
    """The module's own names of classes of blueprints that are not called so."""
    for node in _outside_functions(tree.body):
        if isinstance(node, ast.ImportFrom):
            yield from (a.asname for a in node.names if a.asname and a.name.endswith("Blueprint"))
        elif isinstance(node, ast.ClassDef):
            bases = (getattr(base, "attr", getattr(base, "id", "")) for base in node.bases)
            if any(base.endswith("Blueprint") for base in bases):
                yield node.name


def _made(call: ast.Call, makers: Mapping[str, ast.Call | None]) -> ast.Call | None:
    """The call of ``Blueprint`` behind a call, None when it makes something else."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in makers and isinstance(call.func, ast.Name):
        return makers[name] or call
    return call if name.endswith("Blueprint") else None


def _outside_functions(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a block and of the blocks in it, but not inside functions and classes."""
    waiting = [*reversed(body)]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parts = (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ()))
            inside = [
                getattr(p, name, ()) for p in parts for name in ("body", "orelse", "finalbody")
            ]
            waiting += reversed([statement for block in inside for statement in block])


def imported_from(tree: ast.Module, attribute: str, package: str) -> tuple[str, str] | None:
    """The module that the attribute is imported from, and its name there."""
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if (alias.asname or alias.name) == attribute and isinstance(node, ast.ImportFrom):
                parents = package.split(".")
                base = parents[: len(parents) - node.level + 1] if node.level else []
                return ".".join([*base, *filter(None, [node.module])]), alias.name
    return None


def fixed_parts(rules: Iterable[str]) -> tuple[str, ...]:
    """What stands before the first variable of each rule; ``/`` stands for itself alone."""
    fixed = (rule.partition("<")[0] for rule in rules if rule.startswith("/"))
    return tuple(dict.fromkeys(one.rstrip("/") or "/" for one in fixed))

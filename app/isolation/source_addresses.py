"""The addresses of a blueprint as its source names them, read without running any of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.kinds.dependency.on_disk import find_on_disk
from app.settings.files import read_bounded

#: Bytes of a source file that are read at most.
LARGEST = 4 << 20
#: Modules that a blueprint may be handed through by ``from … import``.
MOST_MODULES = 4
#: The methods of a blueprint that take a rule first.
_TAKE_A_RULE = frozenset({"route", "get", "post", "put", "patch", "delete", "add_url_rule"})
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
        call = _blueprint(tree, attribute)
        if call is not None:
            prefix = _constant(call, "url_prefix")
            return fixed_parts([prefix] if prefix else _rules(tree, attribute))
        package = path if spec and spec.submodule_search_locations else path.rpartition(".")[0]
        origin = _imported_from(tree, attribute, package)
        if origin is None:
            return ()
        path, attribute = origin
    return ()


def _blueprint(tree: ast.Module, attribute: str) -> ast.Call | None:
    """The call of ``Blueprint`` whose result is assigned to the attribute."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        name = getattr(node.value.func, "attr", getattr(node.value.func, "id", ""))
        if name.endswith("Blueprint") and any(
            isinstance(target, ast.Name) and target.id == attribute for target in targets
        ):
            return node.value
    return None


def _rules(tree: ast.Module, attribute: str) -> Iterator[str]:
    """The constant rules of the blueprint, of its decorators and of ``add_url_rule``."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _TAKE_A_RULE
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == attribute
            and (rule := _constant(node, "rule", first=True)) is not None
        ):
            yield rule


def _constant(call: ast.Call, keyword: str, *, first: bool = False) -> str | None:
    """An argument of a call when it is a text in the source."""
    given = [one.value for one in call.keywords if one.arg == keyword]
    given += call.args[:1] if first else []
    value = given[0] if given else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _imported_from(tree: ast.Module, attribute: str, package: str) -> tuple[str, str] | None:
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

"""Constant text in a file: what a dynamic import names when it is written down somewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Constants:
    """The names of a module that are bound once, to text or to a row of texts."""

    known: dict[str, ast.expr] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> Constants:
        """Read the module-level assignments; what is assigned again is no constant."""
        bound: dict[str, ast.expr] = {}
        again: set[str] = set()
        for node in tree.body:
            for name, value in _assignments(node):
                (again.add if name in bound else lambda _: None)(name)
                bound[name] = value
        return cls({name: value for name, value in bound.items() if name not in again})

    def texts(self, node: ast.expr | None, depth: int = 3) -> tuple[str, ...]:
        """Every text that an expression can be, as far as that is written down."""
        if isinstance(node, ast.Constant):
            return (node.value,) if isinstance(node.value, str) else ()
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return tuple(text for part in node.elts for text in self.texts(part, depth))
        if isinstance(node, ast.Name) and depth:
            return self.texts(self.known.get(node.id), depth - 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.texts(node.left, depth), self.texts(node.right, depth)
            return tuple(a + b for a in left for b in right)
        if isinstance(node, ast.IfExp):
            return (*self.texts(node.body, depth), *self.texts(node.orelse, depth))
        return self._joined(node, depth) if isinstance(node, ast.JoinedStr) else ()

    def prefix(self, node: ast.expr | None) -> str:
        """The known beginning of a formatted name whose rest is not known."""
        if not isinstance(node, ast.JoinedStr) or self._joined(node, 1) or not node.values:
            return ""
        first = node.values[0]
        return str(first.value) if isinstance(first, ast.Constant) else ""

    @contextmanager
    def bound(self, target: ast.expr, values: ast.expr) -> Iterator[None]:
        """Within: the variable of a loop stands for each of the values."""
        before = dict(self.known)
        if isinstance(target, ast.Name):
            self.known[target.id] = values
        yield
        self.known = before

    def _joined(self, node: ast.JoinedStr, depth: int) -> tuple[str, ...]:
        made: tuple[str, ...] = ("",)
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            made = tuple(a + b for a in made for b in self.texts(inner, depth))
        return made


def _assignments(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((t.id, node.value) for t in node.targets if isinstance(t, ast.Name))
    elif isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
        yield node.target.id, node.value

"""Which code of a module runs at its import, and which only when one of its functions is called."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

#: The part of a module that runs at its import. Every function is a part of its own, by its
#: name behind that of the class or function in which it is defined.
IMPORT = ""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: What no question is about, half of all nodes: marks of names and operators, and constants.
SKIPPED = (
    *(ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    *(ast.Constant, ast.alias, ast.Pass),
)
#: The part of a lambda: who calls it is not looked for.
LAMBDA = "<lambda>"


class Outline:
    """A module's syntax tree by its parts, and what the names in it stand for."""

    def __init__(self, tree: ast.Module, package: str) -> None:
        self.tree = tree
        #: The names of a module that stand for something of another, to its full name.
        self.names: dict[str, str] = {}
        #: The functions of the module, by their parts.
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        #: Every node but those that are skipped, in the order of the text.
        self.everywhere: list[ast.AST] = []
        self._package = package
        self._parts: dict[str, list[ast.AST]] = {IMPORT: []}
        #: The parts of each class.
        self._methods: dict[str, list[str]] = {}
        waiting: list[tuple[str, str, ast.AST]] = [(IMPORT, "", tree)]
        while waiting:
            part, owner, node = waiting.pop()
            self._parts.setdefault(part, []).append(node)
            self.everywhere.append(node)
            if isinstance(node, ast.Name):
                continue
            now, later, name = _children(node)
            if isinstance(node, ast.ClassDef):
                owner = owner or node.name
            elif later:
                name = ".".join(filter(None, [part or owner, name]))
                if isinstance(node, FUNCTIONS):
                    self.functions[name] = node
                if owner:
                    self._methods.setdefault(owner, []).append(name)
            waiting += [(part, owner, child) for child in reversed(now)]
            waiting += [(name, owner, child) for child in reversed(later)]
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)):
                self._learn(node)

    def nodes(self, parts: Iterable[str]) -> Iterator[ast.AST]:
        """Every node of some parts, in the order of the text where it is one part."""
        for part in parts:
            yield from self._parts.get(part, ())

    def at_import(self) -> frozenset[str]:
        """The parts that run when the module is imported: functions that are called then, too."""
        return self._reached([IMPORT], called=True)

    def used_by(self, names: Iterable[str]) -> frozenset[str]:
        """The parts that functions and classes can come to, whether they call or hand on."""
        parts = [part for name in names for part in self._behind(name, IMPORT, called=False)]
        return self._reached(parts, called=False)

    def full_name(self, node: ast.expr) -> str:
        """What an expression names, as ``package.module.name``; "" where it names nothing known.

        What a call returns has the name of what is called: ``requests.Session().get`` and
        ``session.get`` are both ``requests.Session.get``.
        """
        rest: list[str] = []
        while isinstance(node, ast.Attribute | ast.Call):
            if isinstance(node, ast.Attribute):
                rest.append(node.attr)
            node = node.value if isinstance(node, ast.Attribute) else node.func
        first = node.id if isinstance(node, ast.Name) else ""
        return ".".join([self.names.get(first, first), *reversed(rest)]) if first else ""

    def _reached(self, parts: list[str], *, called: bool) -> frozenset[str]:
        for part in parts:
            for node in self._parts[part]:
                name = getattr(node, "func", None) if called else node
                if isinstance(name, ast.Name):
                    parts += [
                        one
                        for one in self._behind(name.id, part, called=called)
                        if one not in parts
                    ]
        return frozenset(parts)

    def _behind(self, name: str, part: str, *, called: bool) -> list[str]:
        """The parts that a name stands for where it is used in another part."""
        # A function that is defined in this one hides another of the same name.
        for found in (f"{part}.{name}", name):
            if found in self._parts:
                return [found]
        if called:
            return [f"{name}.__init__"] if f"{name}.__init__" in self._parts else []
        return self._methods.get(name, [])

    def _learn(self, node: ast.Import | ast.ImportFrom | ast.Assign) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self.names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            parents = self._package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                self.names[alias.asname or alias.name] = f"{module}.{alias.name}"
        elif isinstance(node.value, ast.Call):
            for target in node.targets:
                if isinstance(target, ast.Name) and (name := self.full_name(node.value)):
                    self.names.setdefault(target.id, name)


def _children(node: ast.AST) -> tuple[list[ast.AST], list[ast.AST], str]:
    """What is evaluated with a node, what only when it is called, and the name of the latter."""
    if isinstance(node, FUNCTIONS):
        defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        return [*node.decorator_list, *defaults], [*node.body], node.name
    if isinstance(node, ast.Lambda):
        return [node.args], [node.body], LAMBDA
    if isinstance(node, ast.If) and _never_imported(node.test):
        return [*node.orelse], [], ""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            found += [e for e in value if isinstance(e, ast.AST) and not isinstance(e, SKIPPED)]
        elif isinstance(value, ast.AST) and not isinstance(value, SKIPPED):
            found.append(value)
    return found, [], ""


def _never_imported(test: ast.expr) -> bool:
    """Whether a condition is false wherever the module is imported to be used."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq):
        sides = (test.left, *test.comparators)
        return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return getattr(test, "attr", getattr(test, "id", "")) == "TYPE_CHECKING"

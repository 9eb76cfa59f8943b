"""Every import of a file: static and dynamic, with its line and what guards it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.doctor import guards
from app.doctor.constants import Constants
from app.doctor.guards import Guard
from app.doctor.project import SourceFile

#: Calls that import what their first argument names; ``pkg.mod:attr`` counts as ``pkg.mod``.
IMPORTERS = frozenset(
    {
        "import_module",
        "__import__",
        "resolve_name",
        "import_string",
        "run_module",
        *guards.FORGIVING,
    }
)

#: What a file says somewhere when it has flags, and when it imports by a call. Most say neither,
#: and then only their statements are looked at.
GUARDED = re.compile(rb"ImportError|ModuleNotFoundError|find_spec|\bexcept\b.*(Exception|:\s*$)")
DYNAMIC = re.compile(rb"\b(%s|exec|eval)\b" % "|".join(sorted(IMPORTERS)).encode())
#: What can hold an import where nothing is imported by a call.
TELLING = (
    *(ast.Module, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar),
    *(ast.Match, ast.match_case),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import. ``module`` is absolute; ``names`` are what ``from … import`` takes.

    ``dynamic`` is one by a call. ``prefix`` says that only the beginning of the name is known.
    ``unless`` are the modules whose absence this import is the fallback for.
    """

    module: str
    line: int
    names: tuple[str, ...] = ()
    guard: Guard = Guard.NONE
    dynamic: bool = False
    prefix: bool = False
    unless: tuple[str, ...] = ()


def parse(file: SourceFile) -> ast.Module:
    """The syntax tree of a file.

    Raises:
        SyntaxError: when it is no Python that this interpreter can compile.
    """
    try:
        return ast.parse(file.content, file.file)
    except ValueError as error:
        raise SyntaxError(str(error), (file.file, 1, 0, "")) from error


def scan(file: SourceFile, tree: ast.Module) -> tuple[Import, ...]:
    """The imports of a file, in its order."""
    flags = guards.flags_of(tree) if GUARDED.search(file.content) else frozenset()
    scanner = _Scanner(file, Constants.of(tree), flags)
    scanner.visit(tree)
    return tuple(scanner.found)


class _Scanner(ast.NodeVisitor):
    def __init__(self, file: SourceFile, constants: Constants, flags: frozenset[str]) -> None:
        self._file = file
        self._constants = constants
        self._flags = flags
        self._guard = Guard.NONE
        self._unless: tuple[str, ...] = ()
        self._calls = DYNAMIC.search(file.content) is not None
        self.found: list[Import] = []

    def visit(self, node: ast.AST) -> None:
        """Expressions hold imports only where something is called."""
        if self._calls or isinstance(node, TELLING):
            super().visit(node)

    # -- imports -----------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._absolute("." * node.level + (node.module or ""), self._file.package)
        self._add(module, node.lineno, tuple(alias.name for alias in node.names))

    def visit_Call(self, node: ast.Call) -> None:
        function = guards.dotted(node.func).rpartition(".")[2]
        if function in IMPORTERS:
            with self._within(Guard.OPTIONAL if function in guards.FORGIVING else self._guard):
                self._call(node)
        elif function in {"exec", "eval"} and node.args:
            self._code(node)
        self.generic_visit(node)

    def _call(self, node: ast.Call) -> None:
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        asked = node.args[0] if node.args else keywords.get("name")
        anchor = node.args[1] if len(node.args) > 1 else keywords.get("package")
        package = next(iter(self._constants.texts(anchor)), self._file.package)
        for text in self._constants.texts(asked):
            self._add(self._absolute(text.partition(":")[0], package), node.lineno, dynamic=True)
        if prefix := self._constants.prefix(asked):
            self._add(prefix, node.lineno, dynamic=True, prefix=True)

    def _code(self, node: ast.Call) -> None:
        """``exec`` of a constant: its imports count where the call stands."""
        for text in self._constants.texts(node.args[0]):
            try:
                inner = ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            for statement in ast.walk(inner):
                if isinstance(statement, (ast.Import, ast.ImportFrom)):
                    statement.lineno = node.lineno
                    self.visit(statement)

    def _add(
        self,
        module: str,
        line: int,
        names: tuple[str, ...] = (),
        *,
        dynamic: bool = False,
        prefix: bool = False,
    ) -> None:
        found = Import(
            module=module,
            line=line,
            names=names,
            guard=self._guard,
            dynamic=dynamic,
            prefix=prefix,
            unless=self._unless,
        )
        self.found.append(found)

    def _absolute(self, name: str, package: str) -> str:
        """A name that leads out of the project stays relative, which no module is called."""
        try:
            return importlib.util.resolve_name(name, package) if name.startswith(".") else name
        except ImportError:
            return name

    # -- what stands around them -------------------------------------------------------------

    def visit_Try(self, node: ast.Try) -> None:
        guarded = guards.catches_import_error(node.handlers)
        first = len(self.found)
        with self._within(Guard.OPTIONAL if guarded else self._guard):
            self._block(node.body)
        tried = tuple(found.module for found in self.found[first:])
        for handler in node.handlers:
            with self._within(self._guard, tried if guarded else ()):
                self._block(handler.body)
        with self._within(Guard.OPTIONAL if guarded else self._guard):
            self._block(node.orelse)
        self._block(node.finalbody)

    visit_TryStar = visit_Try  # type: ignore[assignment]  # noqa: N815 - the base's names

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item)
        forgiving = guards.suppresses_import_error(node.items)
        with self._within(Guard.OPTIONAL if forgiving else self._guard):
            self._block(node.body)

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        forgiving = guards.is_forgiving(node.decorator_list)
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.visit(node.args)
        with self._within(Guard.OPTIONAL if forgiving else self._guard):
            self._block(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self._block(node.body)

    def visit_Module(self, node: ast.Module) -> None:
        self._block(node.body)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        with self._constants.bound(node.target, node.iter):
            self._block(node.body)
        self._block(node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._block(node.body)
        self._block(node.orelse)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        then, otherwise = self._branches(node.test)
        with self._within(then):
            self._block(node.body)
        with self._within(otherwise):
            self._block(node.orelse)

    def _branches(self, test: ast.expr) -> tuple[Guard, Guard]:
        """The guards of the two branches of a condition."""
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if guards.is_typing(test.operand if isinstance(test, ast.UnaryOp) else test):
            return (self._guard, Guard.TYPING) if negated else (Guard.TYPING, self._guard)
        known = guards.holds(test)
        if known is not None:
            return (self._guard, Guard.DEAD) if known else (Guard.DEAD, self._guard)
        asked = guards.asks_for(test, self._flags)
        if asked is None:
            return self._guard, self._guard
        return (Guard.OPTIONAL, self._guard) if asked else (self._guard, Guard.OPTIONAL)

    def _block(self, body: Sequence[ast.stmt]) -> None:
        """A list of statements; one that leaves it early decides what guards the rest."""
        for position, statement in enumerate(body):
            if self._calls or isinstance(statement, TELLING):
                self.visit(statement)
            if isinstance(statement, ast.If) and guards.ends(statement.body):
                with self._within(self._branches(statement.test)[1]):
                    self._block(body[position + 1 :])
                return

    @contextmanager
    def _within(self, guard: Guard, unless: tuple[str, ...] = ()) -> Iterator[None]:
        """What is dead or for types alone stays so, whatever stands inside."""
        before = self._guard, self._unless
        self._guard = before[0] if before[0] in {Guard.TYPING, Guard.DEAD} else guard
        self._unless = (*self._unless, *unless)
        yield
        self._guard, self._unless = before

"""What a file imports, statically and by calls, with line and guard; and the names it binds."""

from __future__ import annotations

import ast
import gc
import importlib.util
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePath

from app.doctor import guards
from app.doctor.guards import Guard, dotted
from app.kinds.environment.reads import Read, reads_in

#: Calls that import what their first argument names; ``pkg.mod:attr`` counts as ``pkg.mod``.
IMPORTERS = guards.FORGIVING | {
    *("import_module", "__import__", "resolve_name", "import_string", "run_module")
}

#: What a file says somewhere when it has flags, when it reads variables, and when it imports by a
#: call. Most say none of it, and then only their statements are looked at.
GUARDED = re.compile(rb"ImportError|ModuleNotFoundError|find_spec|\bexcept\b.*(Exception|:\s*$)")
READING = re.compile(rb"environ\b|getenv")
DYNAMIC = re.compile(rb"\b(%s|exec|eval)\b" % "|".join(sorted(IMPORTERS)).encode())
#: What can hold an import where nothing is imported by a call.
TELLING = (
    *(ast.Module, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar),
    *(ast.Match, ast.match_case),
)
#: What makes a function a view of Flask's.
VIEW_DECORATORS = frozenset({"route", "get", "post", "put", "patch", "delete"})
#: What every module has without saying so.
BOUND_ALWAYS = frozenset({"__name__", "__file__", "__doc__", "__path__", "__all__", "__version__"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Python file: its dotted module name, its path in the project and its bytes."""

    module: str
    file: str
    content: bytes
    is_package: bool

    @classmethod
    def at(cls, path: PurePath, file: str, content: bytes) -> SourceFile:
        """The module at a path below where its top package stands; ``file`` is how it is called."""
        parts = path.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        return cls(".".join(parts[:-1] if is_package else parts), file, content, is_package)

    @property
    def package(self) -> str:
        """What relative imports in it start from."""
        return self.module if self.is_package else self.module.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import. ``module`` is absolute; ``names`` are what ``from … import`` takes.

    ``prefix`` says that only the beginning of the name is known. ``unless`` are the modules whose
    absence this import is the fallback for. One that is ``deferred`` stands in a function.
    """

    module: str
    line: int
    names: tuple[str, ...] = ()
    guard: Guard = Guard.NONE
    prefix: bool = False
    unless: tuple[str, ...] = ()
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """The imports of a file, in its order, and the names that it binds.

    ``names`` is None when only running the file would show them. ``async_view`` is the line of its
    first ``async def`` view, 0 when it has none. ``reads`` are the variables that it reads.
    """

    imports: tuple[Import, ...]
    names: frozenset[str] | None
    async_view: int = 0
    reads: tuple[Read, ...] = ()


@contextmanager
def without_collector() -> Iterator[None]:
    """Within: nobody looks for garbage in syntax trees, which are many objects: twice as fast."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def scan(file: SourceFile) -> Scan:
    """Read a file; its syntax tree, which is large, is gone afterwards.

    Raises:
        SyntaxError: when it is no Python that this interpreter can compile.
    """
    tree = parse(file)
    async_view = _async_view(tree) if b"async" in file.content else 0
    reads = reads_in([*ast.walk(tree)]) if READING.search(file.content) else ()
    found = Scan(imports_in(file, tree), bound_names(tree), async_view, tuple(reads))
    # What is left of it in cycles goes with it, which the few objects since then make quick.
    del tree
    gc.collect(0)
    return found


def parse(file: SourceFile) -> ast.Module:
    """The syntax tree of a file; what its warnings would say is left to who runs it.

    Raises:
        SyntaxError: when it is no Python that this interpreter can compile.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.content, file.file)
            # A `return` outside a function, and its like, parses all the same.
            compile(tree, file.file, "exec", dont_inherit=True)
            return tree
    except (ValueError, RecursionError, MemoryError) as error:
        message = str(error) or "nested too deeply"
        raise SyntaxError(message, (file.file, 1, 0, "")) from error


def imports_in(file: SourceFile, tree: ast.Module) -> tuple[Import, ...]:
    """The imports of a file that has been parsed, in its order."""
    flags = guards.flags_of(tree) if GUARDED.search(file.content) else frozenset()
    scanner = _Scanner(file, Constants(tree), flags)
    scanner.visit(tree)
    return tuple(scanner.found)


def _async_view(tree: ast.Module) -> int:
    """The line of the first ``async def`` that is registered as a view, 0 when there is none."""
    lines = (
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
        and any(
            isinstance(each, ast.Call) and dotted(each.func).rpartition(".")[2] in VIEW_DECORATORS
            for each in node.decorator_list
        )
    )
    return min(lines, default=0)


def bound_names(tree: ast.Module) -> frozenset[str] | None:
    """What a module binds anywhere outside functions; None with a star or ``__getattr__``."""
    found = {*BOUND_ALWAYS}
    waiting: list[ast.AST] = list(tree.body)
    for node in waiting:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(a.asname or a.name.partition(".")[0] for a in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Call) and dotted(node.func) in {"globals", "vars"}:
            return None
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return None if found & {"*", "__getattr__"} else frozenset(found)


class Constants:
    """The names of a module that are bound once, to text or to a row of texts."""

    def __init__(self, tree: ast.Module) -> None:
        bound: list[tuple[str, ast.expr]] = []
        for node in tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                bound += [(each.id, node.value) for each in targets if isinstance(each, ast.Name)]
        times = Counter(name for name, _ in bound)
        self._known = {name: value for name, value in bound if times[name] == 1}

    def texts(self, node: ast.expr | None, depth: int = 3) -> tuple[str, ...]:
        """Every text that an expression can be, as far as that is written down."""
        if isinstance(node, ast.Constant):
            return (node.value,) if isinstance(node.value, str) else ()
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return tuple(text for part in node.elts for text in self.texts(part, depth))
        if isinstance(node, ast.Name) and depth:
            return self.texts(self._known.get(node.id), depth - 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.texts(node.left, depth), self.texts(node.right, depth)
            return tuple(a + b for a in left for b in right)
        if isinstance(node, ast.IfExp):
            return (*self.texts(node.body, depth), *self.texts(node.orelse, depth))
        made: tuple[str, ...] = ("",) if isinstance(node, ast.JoinedStr) else ()
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            made = tuple(a + b for a in made for b in self.texts(inner, depth))
        return made

    def prefix(self, node: ast.expr | None) -> str:
        """The known beginning of a formatted name whose rest is not known."""
        if not isinstance(node, ast.JoinedStr) or self.texts(node, 1) or not node.values:
            return ""
        first = node.values[0]
        return str(first.value) if isinstance(first, ast.Constant) else ""

    @contextmanager
    def bound(self, target: ast.expr, values: ast.expr) -> Iterator[None]:
        """Within: the variable of a loop stands for each of the values."""
        before = dict(self._known)
        if isinstance(target, ast.Name):
            self._known[target.id] = values
        yield
        self._known = before


class _Scanner(ast.NodeVisitor):
    def __init__(self, file: SourceFile, constants: Constants, flags: frozenset[str]) -> None:
        self._file = file
        self._constants = constants
        self._flags = flags
        self._guard = Guard.NONE
        self._unless: tuple[str, ...] = ()
        self._deferred = False
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
        names = tuple(alias.name for alias in node.names)
        self._add("." * node.level + (node.module or ""), node.lineno, names=names)

    def visit_Call(self, node: ast.Call) -> None:
        function = dotted(node.func).rpartition(".")[2]
        if function in IMPORTERS:
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            asked = node.args[0] if node.args else keywords.get("name")
            anchor = node.args[1] if len(node.args) > 1 else keywords.get("package")
            package = next(iter(self._constants.texts(anchor)), self._file.package)
            with self._within(Guard.OPTIONAL if function in guards.FORGIVING else self._guard):
                for text in self._constants.texts(asked):
                    self._add(text.partition(":")[0], node.lineno, package=package)
                if prefix := self._constants.prefix(asked):
                    self._add(prefix, node.lineno, prefix=True)
        elif function in {"exec", "eval"} and node.args:
            # The imports of a constant count where the call stands.
            for text in self._constants.texts(node.args[0]):
                with suppress(SyntaxError, ValueError):
                    for statement in ast.walk(ast.parse(text)):
                        if isinstance(statement, (ast.Import, ast.ImportFrom)):
                            statement.lineno = node.lineno
                            self.visit(statement)
        self.generic_visit(node)

    def _add(
        self,
        name: str,
        line: int,
        *,
        names: tuple[str, ...] = (),
        package: str | None = None,
        prefix: bool = False,
    ) -> None:
        """Note an import; a name that leads out of the project stays relative, as no module is."""
        if name.startswith(".") and not prefix:
            with suppress(ImportError):
                name = importlib.util.resolve_name(name, package or self._file.package)
        self.found.append(
            Import(
                module=name,
                line=line,
                names=names,
                guard=self._guard,
                prefix=prefix,
                unless=self._unless,
                deferred=self._deferred,
            )
        )

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
        for part in (*node.decorator_list, node.args):
            self.visit(part)
        forgiving = guards.is_forgiving(node.decorator_list)
        before, self._deferred = self._deferred, True
        with self._within(Guard.OPTIONAL if forgiving else self._guard):
            self._block(node.body)
        self._deferred = before

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
        inner = test.operand if isinstance(test, ast.UnaryOp) else test
        if dotted(inner).rpartition(".")[2] == "TYPE_CHECKING":
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

"""One module, read without running it: its blueprints, and what it and each of them need."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from app.adoption.hazards import hazards_of
from app.adoption.outline import Outline
from app.doctor.blueprints import Rule, SourceBlueprint, text_argument
from app.doctor.findings import Code, Finding, error
from app.doctor.guards import Guard
from app.doctor.scan import Constants, Import, SourceFile, imports_in, parse
from app.isolation.source_addresses import blueprint_calls, blueprint_factories, rule_calls
from app.kinds.environment.reads import Read, reads_in

#: What Python 2 alone could read.
PYTHON_2 = ("Missing parentheses in call to", "multiple exception types must be", "leading zeros")
#: The nodes by whose lines imports and reads are told apart.
_TELLING = (ast.Call, ast.Subscript, ast.Compare, ast.Import, ast.ImportFrom)


@dataclass(frozen=True, slots=True)
class Needs:
    """What some code imports and which variables it reads, whatever is on this machine."""

    imports: tuple[Import, ...] = ()
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBlueprint(SourceBlueprint):
    """A blueprint of a module.

    ``attribute`` holds it, or where ``factory`` is set is a function that makes it; one that has to
    be given arguments has ``parameters``. ``needs`` are those of its views, which are not those of
    the module's import.
    """

    factory: bool = False
    parameters: bool = False
    needs: Needs = Needs()


@dataclass(frozen=True, slots=True)
class Registration:
    """A call of ``register_blueprint``: full names of who registers whom, and the prefix given."""

    parent: str
    child: str
    prefix: str | None


@dataclass(frozen=True, slots=True)
class Module:
    """What was read of a file; of one that is no Python, the findings alone."""

    file: str
    name: str
    findings: tuple[Finding, ...]
    blueprints: tuple[FoundBlueprint, ...] = ()
    registrations: tuple[Registration, ...] = ()
    needs: Needs = Needs()
    readable: bool = True


def read_module(source: SourceFile) -> Module:
    """Read one file; whatever it holds, nothing of it runs and nothing is raised."""
    try:
        return _read(source, parse(source))
    except SyntaxError as bad:
        advice = "mend the code; nothing in this file was examined"
        if bad.msg.startswith(PYTHON_2):
            advice = "this is Python 2: convert it first; nothing in this file was examined"
        found = error(Code.SYNTAX_ERROR, bad.msg, advice, source.file, bad.lineno or 1)
    except RecursionError:
        advice = "split what is nested so deeply; nothing in this file was examined"
        found = error(Code.SYNTAX_ERROR, "nested too deeply", advice, source.file, 1)
    return Module(source.file, source.module, (found,), readable=False)


def _read(source: SourceFile, tree: ast.Module) -> Module:
    outline, constants = Outline(tree, source.package), Constants(tree)
    imports = imports_in(source, tree)
    reads = tuple(reads_in(outline.everywhere))

    def needs(parts: frozenset[str]) -> Needs:
        lines = {node.lineno for node in outline.nodes(parts) if isinstance(node, _TELLING)}
        return Needs(
            tuple(one for one in imports if one.guard is Guard.NONE and one.line in lines),
            tuple(one for one in reads if one.line in lines),
        )

    at_import = outline.at_import()
    blueprints = []
    for attribute, variable, call, function in _blueprints(tree):
        rules, views = _views(outline, variable, function, constants)
        blueprints.append(
            FoundBlueprint(
                attribute=attribute,
                line=call.lineno,
                flask_name=text_argument(call, "name", 0, constants) or "",
                prefix=text_argument(call, "url_prefix", None, constants),
                rules=rules,
                factory=function is not None,
                parameters=function is not None and _has_parameters(function),
                needs=needs(outline.used_by(views) - at_import),
            )
        )
    return Module(
        source.file,
        source.module,
        tuple(hazards_of(source.file, outline)),
        tuple(blueprints),
        tuple(_registrations(source, outline, constants)),
        needs(at_import),
    )


def _blueprints(
    tree: ast.Module,
) -> Iterator[tuple[str, str, ast.Call, ast.FunctionDef | None]]:
    """Each blueprint: how the module gives it, what its rules call it, its call, and its maker."""
    factories = blueprint_factories(tree)
    made: set[ast.Call] = set()
    for attribute, call in blueprint_calls(tree).items():
        # Another name of the same one is none; what a factory makes is a new one each time.
        if call not in made or any(inner is call for _, inner in factories.values()):
            yield attribute, attribute, call, None
        made.add(call)
    for name, (function, call) in factories.items():
        if call not in made:
            assigned = (
                getattr(node.targets[0], "id", "")
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and node.value is call
            )
            yield name, next(assigned, ""), call, function


def _has_parameters(function: ast.FunctionDef) -> bool:
    """Whether a function cannot be called without arguments."""
    given = function.args
    positional = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return positional > 0 or None in given.kw_defaults


def _views(
    outline: Outline, variable: str, maker: ast.FunctionDef | None, constants: Constants
) -> tuple[tuple[Rule, ...], list[str]]:
    """The rules of a blueprint, and the functions and classes that serve it."""
    inside = f"{maker.name}." if maker is not None else ""
    rules, views = [], [maker.name] if maker is not None else []
    for name, call in rule_calls(ast.walk(maker) if maker is not None else outline.everywhere):
        if name != variable:
            continue
        handed_on = [*call.args, *(keyword.value for keyword in call.keywords)]
        named = (node for part in handed_on for node in ast.walk(part))
        views += [f"{inside}{node.id}" for node in named if isinstance(node, ast.Name)]
        if (rule := Rule.of(call, constants)) is not None:
            rules.append(rule)
    for part, function in outline.functions.items():
        decorators = (getattr(node, "func", node) for node in function.decorator_list)
        names = (getattr(getattr(node, "value", None), "id", "") for node in decorators)
        if part.startswith(inside) and variable in names:
            views.append(part)
    return tuple(rules), views


def _registrations(
    source: SourceFile, outline: Outline, constants: Constants
) -> Iterator[Registration]:
    def named(node: ast.expr) -> str:
        # What is assigned here has the name of what was called, and is this module's own.
        if isinstance(node, ast.Name) and node.id in blueprint_calls(outline.tree):
            return f"{source.module}.{node.id}"
        return outline.full_name(node)

    for node in outline.everywhere:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "register_blueprint"
            and node.args
        ):
            prefix = text_argument(node, "url_prefix", None, constants)
            yield Registration(named(node.func.value), named(node.args[0]), prefix)

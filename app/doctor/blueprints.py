"""Blueprints as their source names them, and what two of them want: Flask hides or refuses one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.project import Project
from app.doctor.scan import Constants, parse
from app.isolation.source_addresses import (
    MOST_MODULES,
    blueprint_calls,
    imported_from,
    rule_calls,
)
from app.isolation.states import comparable_rule, is_core_address, is_core_rule
from app.manifest import CORE

#: The methods of a view whose rule names none.
DEFAULT_METHODS = ("GET",)


@dataclass(frozen=True, slots=True)
class Rule:
    """A constant rule of a blueprint, without its prefix."""

    text: str
    methods: tuple[str, ...]
    line: int

    @classmethod
    def of(cls, call: ast.Call, constants: Constants) -> Rule | None:
        """What a call of ``route`` and its like says; None where its rule is computed."""
        text = text_argument(call, "rule", 0, constants)
        if text is None:
            return None
        verb = getattr(call.func, "attr", "")
        if verb not in {"route", "add_url_rule"}:
            return cls(text, (verb.upper(),), call.lineno)
        given = next((one.value for one in call.keywords if one.arg == "methods"), None)
        methods = tuple(text.upper() for text in constants.texts(given))
        return cls(text, methods or DEFAULT_METHODS, call.lineno)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceBlueprint:
    """A blueprint of a module; ``flask_name`` is what Flask knows it by."""

    attribute: str
    line: int
    flask_name: str = ""
    prefix: str | None = None
    rules: tuple[Rule, ...] = ()


def text_argument(
    call: ast.Call, keyword: str, position: int | None, constants: Constants
) -> str | None:
    """An argument of a call where it can be nothing but one text."""
    given = [one.value for one in call.keywords if one.arg == keyword]
    if position is not None:
        given += call.args[position : position + 1]
    texts = constants.texts(given[0]) if given else ()
    return texts[0] if len(texts) == 1 else None


def check_addresses(project: Project) -> Iterator[Finding]:
    """What blueprints of the manifest take that an earlier one, or the service itself, has."""
    taken = Taken()
    for one in (*CORE, *project.manifest.blueprints):
        file, found = _defined(project, one.module, one.attribute)
        if found is not None:
            wrong = taken.add(one.name, found, one.prefix or found.prefix, file)
            # Its own addresses are the service's.
            yield from () if one.core else wrong


def _defined(project: Project, module: str, attribute: str) -> tuple[str, SourceBlueprint | None]:
    """The file and the blueprint behind an import path, None where the source does not say."""
    for _ in range(MOST_MODULES):
        path = project.locate(module)
        if path is None or not path.is_file():
            break
        source = project.source(path)
        try:
            tree = parse(source)
        except SyntaxError:
            break
        call = blueprint_calls(tree).get(attribute)
        if call is not None:
            constants = Constants(tree)
            own = (c for name, c in rule_calls(ast.walk(tree)) if name == attribute)
            return source.file, SourceBlueprint(
                attribute=attribute,
                line=call.lineno,
                flask_name=text_argument(call, "name", 0, constants) or "",
                prefix=text_argument(call, "url_prefix", None, constants),
                rules=tuple(filter(None, (Rule.of(each, constants) for each in own))),
            )
        origin = imported_from(tree, attribute, source.package)
        if origin is None:
            break
        module, attribute = origin
    return "", None


class Taken:
    """What blueprints have taken so far; each of them counts for those after it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        self._rules: dict[tuple[str, str], str] = {}

    def add(
        self, owner: str, blueprint: SourceBlueprint, prefix: str | None, file: str
    ) -> list[Finding]:
        """Count a blueprint; what of it an earlier one, or the service itself, has already."""
        found: list[Finding] = []
        name, where = blueprint.flask_name, (file, blueprint.line, owner)
        if name and (other := self._names.setdefault(name, owner)) != owner:
            message = f"its name {name} is that of {other}: Flask registers only one of them"
            advice = "give Blueprint(…) another name"
            found.append(error(Code.NAME_TAKEN, message, advice, *where))
        if prefix and is_core_address(prefix):
            message = f"its prefix {prefix} belongs to the service itself"
            advice = "choose another: it would be isolated"
            found.append(error(Code.ADDRESS_TAKEN, message, advice, *where))
        elif prefix and (other := self._prefixes.setdefault(prefix, owner)) != owner:
            message = f"its prefix {prefix} is that of {other}, too: while one is isolated, answers"
            message = f"{message} below it tell of the other"
            advice = "give each a prefix of its own"
            found.append(note(Code.PREFIX_SHARED, message, advice, *where))
        for rule in blueprint.rules:
            where = (file, rule.line, owner)
            address = f"{(prefix or '').rstrip('/')}/{rule.text.lstrip('/')}"
            if is_core_rule(address):
                message = f"{address} belongs to the service itself"
                advice = "choose another: the blueprint would be isolated"
                found.append(error(Code.ADDRESS_TAKEN, message, advice, *where))
                continue
            owners = (
                self._rules.setdefault((comparable_rule(address), method), owner)
                for method in rule.methods
            )
            if others := sorted({*owners} - {owner}):
                message = f"{address} is answered by {', '.join(others)} already"
                advice = "choose another: the first one of them answers"
                found.append(warning(Code.ADDRESS_TAKEN, message, advice, *where))
        return found

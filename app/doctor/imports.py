"""The code's imports against the requirements, the map, the lock and the project itself."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.graph import Graph
from app.doctor.guards import Guard
from app.doctor.likely import Likely
from app.doctor.requirements import Requirements
from app.doctor.scan import Import
from app.kinds.dependency.diagnosis import REMOVED
from app.kinds.dependency.on_disk import find_on_disk, installed_version
from app.kinds.dependency.requirements import normalize, requirement_name, top_level

FILE = "requirements-flask.txt"
NEWEST_PYTHON = (3, 14)


@dataclass(frozen=True)
class ImportChecker:
    """Judges every import of a graph."""

    graph: Graph
    requirements: Requirements

    def findings(self) -> Iterator[Finding]:
        """What is wrong, file by file."""
        for bad in self.graph.bad:
            advice = "mend the code; nothing in this file was examined"
            yield error(Code.SYNTAX_ERROR, bad.reason, advice, file=bad.file, line=bad.line)
        for module, imports in self.graph.imports.items():
            for use in imports:
                if use.guard not in {Guard.NONE, Guard.OPTIONAL} or self._is_spare(use):
                    continue
                if not self._is_extra(module, use):
                    found = self._judge(use)
                    if found is not None:
                        yield self._placed(found, module, use)

    def _placed(self, found: Finding, module: str, use: Import) -> Finding:
        chain = self.graph.way(module, use.line)
        file = self.graph.files[module].file
        return replace(found, file=file, line=use.line, chain=chain if len(chain) > 1 else ())

    def _is_spare(self, use: Import) -> bool:
        """A fallback for modules that are all provided for never runs."""
        return bool(use.unless) and all(self._provided(name) for name in use.unless)

    def _is_extra(self, module: str, use: Import) -> bool:
        """An approved optional package in a part that is only ever imported with a guard."""
        project = self.graph.project
        approved = top_level(use.module) in project.optional
        return approved and module in self.graph.tolerated

    def _provided(self, module: str) -> bool:
        return self._judge(Import(module=module, line=0)) is None

    def _judge(self, use: Import) -> Finding | None:
        if use.prefix or not use.module:
            return None
        top = top_level(use.module)
        if use.module.startswith(".") or top in self.graph.project.first_party:
            return self._of_project(use)
        if top in sys.stdlib_module_names or top in REMOVED:
            return self._of_library(use, top)
        return self._of_others(use, top)

    def _is_here(self, module: str) -> bool:
        """Whether a module is found; the same few are asked for all over a project."""
        if module not in self._here:
            self._here[module] = find_on_disk(module) is not None
        return self._here[module]

    @cached_property
    def _here(self) -> dict[str, bool]:
        return {}

    # -- the project's own -------------------------------------------------------------------

    def _of_project(self, use: Import) -> Finding | None:
        if use.guard is Guard.OPTIONAL:
            return None
        project = self.graph.project
        if use.module.startswith(".") or project.locate(use.module) is None:
            likely = self.likely.first_party(use.module)
            message = f"{use.module} is not in this project"
            return error(Code.FIRST_PARTY_MISSING, message, likely, subject=use.module)
        for name in use.names:
            if not self._defines(use.module, name):
                message = f"{use.module} has no {name}"
                advice = self.likely.among(name, self._names(use.module) or ())
                return error(Code.MISSING_NAME, message, advice, subject=f"{use.module}.{name}")
        return None

    def _defines(self, module: str, name: str) -> bool:
        if name == "*" or self.graph.project.locate(f"{module}.{name}") is not None:
            return True
        names = self._names(module)
        return names is None or name in names

    def _names(self, module: str) -> frozenset[str] | None:
        """The names that a module binds; None when only running it would tell."""
        if module not in self._bound:
            tree = self.graph.trees.get(module)
            self._bound[module] = _bindings(tree) if tree else None
        return self._bound[module]

    @cached_property
    def _bound(self) -> dict[str, frozenset[str] | None]:
        return {}

    # -- the standard library ----------------------------------------------------------------

    def _of_library(self, use: Import, top: str) -> Finding | None:
        if use.guard is Guard.OPTIONAL:
            return None
        here = top in sys.stdlib_module_names and self._is_here(top)
        if not here:
            left = f"left the standard library in Python {REMOVED[top]}" if top in REMOVED else ""
            message = f"{top} {left or 'is not in the standard library of this Python'}"
            return error(Code.STDLIB_MISSING, message, "change the code", subject=use.module)
        if use.module not in sys.modules and not self._is_here(use.module):
            message = f"the standard library has no {use.module}"
            advice = self.likely.submodule(use.module)
            return error(Code.STDLIB_MISSING, message, advice, subject=use.module)
        if top in REMOVED:
            message = f"{top} left the standard library in Python {REMOVED[top]}"
            return warning(Code.STDLIB_LEAVING, message, "change the code", subject=top)
        return None

    # -- other people's ----------------------------------------------------------------------

    def _of_others(self, use: Import, top: str) -> Finding | None:
        candidates = self.likely.distributions(top)
        listed = self.requirements.names()
        if candidates & listed:
            return self._submodule(use, top, candidates & listed)
        if self._nameless():
            return None
        if use.guard is Guard.OPTIONAL:
            return self._optional(use, top)
        if excluded := [line for name in candidates for line in self.requirements.named(name)]:
            message = f"{top} is required, but not here: {excluded[0].text}"
            advice = "widen the marker, or import it under the same condition"
            return error(Code.MARKER_EXCLUDES, message, advice, subject=top)
        return self._unlisted(use, top, candidates)

    def _submodule(self, use: Import, top: str, provided: frozenset[str]) -> Finding | None:
        if use.guard is Guard.OPTIONAL:
            return None
        if not self._is_here(top) and any(map(installed_version, provided)):
            if top in self.graph.project.dependency_map:
                return None
            message = f"{', '.join(sorted(provided))} brings no module {top}"
            advice = self.likely.brought_by(provided)
            return error(Code.MISSPELT_IMPORT, message, advice, subject=use.module)
        if self.likely.lacks(use.module):
            message = f"{top} has no {use.module}"
            advice = self.likely.submodule(use.module)
            return error(Code.MISSING_SUBMODULE, message, advice, subject=use.module)
        return None

    def _nameless(self) -> bool:
        """Whether a requirement without a name could be what brings any module."""
        kinds = {"editable", "url"}
        return any(not line.name and line.kind in kinds for line in self.requirements.lines)

    def _optional(self, use: Import, top: str) -> Finding:
        if meant := self.likely.misspelt(top, standard=False):
            message = f"{top} does not exist, so its fallback always runs"
            return warning(Code.MISSPELT_IMPORT, message, f"did you mean {meant}?", subject=top)
        message = f"{top} is optional and {FILE} does not list it: its fallback runs"
        return note(Code.OPTIONAL_IMPORT, message, subject=use.module)

    def _unlisted(self, use: Import, top: str, candidates: frozenset[str]) -> Finding:
        approved = self.graph.project.dependency_map.get(top)
        if approved and top in self.graph.project.optional:
            message = f"imports {top}, which {FILE} does not list: it is installed at run time"
            advice = f"add to {FILE}: {approved}"
            return warning(
                Code.HEALED_ONLY, message, advice, subject=use.module, requirement=approved
            )
        if through := self._brought(candidates):
            return self._transitive(use, top, through)
        if not approved and (meant := self.likely.misspelt(top)):
            message = f"there is no {top} in the requirements or the map"
            advice = f"did you mean {meant}?"
            return error(Code.MISSPELT_IMPORT, message, advice, subject=use.module)
        message = f"imports {top}, which {FILE} does not list"
        line = approved or self.likely.requirement(candidates)
        advice = f"add to {FILE}: {line}" if line else f"add what brings {top} to {FILE}"
        return error(
            Code.MISSING_REQUIREMENT, message, advice, subject=use.module, requirement=line
        )

    def _transitive(self, use: Import, top: str, distribution: str) -> Finding:
        entry = self.graph.project.lock.entries[distribution]
        needers = ", ".join(name for name in entry.needed_by if not name.endswith(".txt"))
        line = self.graph.project.dependency_map.get(top) or f"{distribution}>={entry.version}"
        return warning(
            Code.TRANSITIVE_IMPORT,
            f"imports {top}, which is here only because {needers or 'others'} needs it",
            f"add to {FILE}: {line}",
            subject=use.module,
            requirement=line,
        )

    def _brought(self, candidates: frozenset[str]) -> str | None:
        """The candidate that the listed requirements bring with them."""
        return next(iter(sorted(candidates & self._closure)), None)

    @cached_property
    def _closure(self) -> frozenset[str]:
        lock = self.graph.project.lock
        closures = (lock.closure(name) for name in self.requirements.names())
        return frozenset(entry.name for closure in closures for entry in closure)

    @cached_property
    def likely(self) -> Likely:
        """What names may have been meant."""
        project = self.graph.project
        known = {name: requirement_name(text) for name, text in project.dependency_map.items()}
        return Likely(project, known, frozenset(map(normalize, self.requirements.names())))


def _bindings(tree: ast.Module) -> frozenset[str] | None:
    """What a module binds anywhere outside functions; None with a star or ``__getattr__``."""
    found = {"__name__", "__file__", "__doc__", "__path__", "__all__", "__version__"}
    waiting: list[ast.AST] = list(tree.body)
    for node in waiting:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(a.asname or a.name.partition(".")[0] for a in node.names)
        else:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            waiting.extend(ast.iter_child_nodes(node))
    calls = {node.func.id for node in waiting if _is_plain_call(node)}  # type: ignore[attr-defined]
    return None if found & {"*", "__getattr__"} or calls & {"globals", "vars"} else frozenset(found)


def _is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)

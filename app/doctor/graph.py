"""Who imports whom in the project, and the way from a blueprint to a line."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.doctor.guards import Guard
from app.doctor.project import Project, SourceFile
from app.doctor.scan import Import, parse, scan


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that is no Python which this interpreter can compile."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Graph:
    """The imports of every file that the service can load."""

    project: Project
    files: Mapping[str, SourceFile]
    imports: Mapping[str, tuple[Import, ...]]
    trees: Mapping[str, ast.Module]
    bad: tuple[BadFile, ...]

    @classmethod
    def of(cls, project: Project) -> Graph:
        """Scan the service's files, and what they import of the project elsewhere."""
        files = dict(project.files)
        imports: dict[str, tuple[Import, ...]] = {}
        trees: dict[str, ast.Module] = {}
        bad: list[BadFile] = []
        waiting = list(files)
        for module in waiting:
            try:
                trees[module] = parse(files[module])
                imports[module] = scan(files[module], trees[module])
            except SyntaxError as error:
                bad.append(BadFile(files[module].file, error.lineno or 1, error.msg))
                continue
            for source in _elsewhere(project, files, imports[module]):
                files[source.module] = source
                waiting.append(source.module)
        return cls(project, files, imports, trees, tuple(bad))

    def way(self, module: str, line: int) -> tuple[str, ...]:
        """The shortest way from a blueprint to a line, as ``file:line``; empty without one."""
        best: tuple[str, ...] = ()
        for blueprint in self.project.blueprints:
            found = self._path(blueprint, module)
            if found is not None and (not best or len(found) + 1 < len(best)):
                best = (*found, f"{self.files[module].file}:{line}")
        return best

    @cached_property
    def tolerated(self) -> frozenset[str]:
        """The modules that are imported with a guard and never without; no blueprint is one."""
        guarded: set[str] = set()
        needed = set(self.project.blueprints)
        for found in self.imports.values():
            for use in found:
                (guarded if use.guard is Guard.OPTIONAL else needed).update(self._targets(use))
        return frozenset(guarded - needed)

    def _path(self, start: str, end: str) -> tuple[str, ...] | None:
        ways: dict[str, tuple[str, ...]] = {start: ()}
        waiting = [start]
        for module in waiting:
            if module == end:
                return ways[module]
            for target, line in self._edges.get(module, {}).items():
                if target not in ways:
                    ways[target] = (*ways[module], f"{self.files[module].file}:{line}")
                    waiting.append(target)
        return None

    @cached_property
    def _edges(self) -> dict[str, dict[str, int]]:
        """Module to the modules that it imports, each with the first line that does."""
        edges: dict[str, dict[str, int]] = {}
        for module, found in self.imports.items():
            targets = edges.setdefault(module, {})
            for use in found:
                if use.guard in {Guard.TYPING, Guard.DEAD}:
                    continue
                for target in self._targets(use):
                    targets.setdefault(target, use.line)
        return edges

    def _targets(self, use: Import) -> Iterator[str]:
        """What an import runs of the project: the module itself and the packages around it."""
        if use.prefix:
            yield from (name for name in self.files if name.startswith(use.module))
            return
        for name in (*(f"{use.module}.{name}" for name in use.names), use.module):
            yield from (around for around in _upwards(name) if around in self.files)


def _upwards(name: str) -> Iterable[str]:
    """The module and its packages, but not the top one, which everything is in."""
    while "." in name:
        yield name
        name = name.rpartition(".")[0]


def _elsewhere(
    project: Project, known: Mapping[str, SourceFile], imports: Sequence[Import]
) -> Iterator[SourceFile]:
    """The project's files outside the service's own that an import leads to."""
    names = {
        name
        for use in imports
        if not use.prefix and use.module.partition(".")[0] in project.first_party
        for name in (use.module, *(f"{use.module}.{part}" for part in use.names))
    }
    for name in sorted(names - known.keys()):
        path = project.locate(name)
        if path is not None and path.is_file():
            yield project.source(path)

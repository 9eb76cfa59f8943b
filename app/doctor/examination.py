"""The whole examination, in the order in which its parts depend on each other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from app.doctor import locks, surroundings
from app.doctor.blueprints import BlueprintRun
from app.doctor.findings import Code, Finding, ordered
from app.doctor.graph import Graph
from app.doctor.imports import ImportChecker
from app.doctor.project import Project
from app.doctor.requirements import load
from app.kinds.dependency.layers import Layers, interpreter_key

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to examine and how far to go. ``online`` asks the index too."""

    project: Project
    environ: Mapping[str, str]
    online: bool = True
    blueprints: bool = True

    def run(self, report: Report = lambda _: None) -> tuple[Finding, ...]:
        """Everything that was found, worst first; ``report`` is told what goes on.

        Changes nothing and raises nothing for what is found.
        """
        with _no_collection():
            return self._run(report)

    def _run(self, report: Report) -> tuple[Finding, ...]:
        if not self.blueprints:
            return ordered(self._static(report))
        run = BlueprintRun(self.project.root, self.project.blueprints, self.environ)
        with run:
            found = list(self._static(report))
            report("importing each blueprint in a child")
            found += run.findings()
        return ordered(_without_echoes(found))

    def _static(self, report: Report) -> Iterator[Finding]:
        report("reading the requirements")
        requirements = load(self.project.requirements_path)
        yield from requirements.findings
        report("reading the code's imports")
        yield from ImportChecker(Graph.of(self.project), requirements).findings()
        report("comparing the lock")
        yield from locks.check(self.project, requirements, self._layered())
        yield from self._surroundings(report)

    def _surroundings(self, report: Report) -> Iterator[Finding]:
        report("reading the settings")
        settings, faults = surroundings.settings_of(self.environ)
        yield from faults
        yield from surroundings.edge_functions(settings.edge_functions_file)
        yield from surroundings.home(settings.healing)
        yield from surroundings.installer(settings.healing, self.environ)
        yield from surroundings.wheelhouse(settings.healing, self.project)
        if self.online:
            report("asking the index")
            yield from surroundings.index(settings.healing, self.project, self.environ)

    def _layered(self) -> frozenset[str]:
        """The distributions that committed layers hold; reads, changes nothing."""
        settings, _ = surroundings.settings_of(self.environ)
        layers = Layers(settings.healing.home, interpreter_key(self.project.lock.digest))
        pins = [pin for layer in layers.committed() for pin in layer.installed]
        return frozenset(pin.partition("==")[0] for pin in pins)


def _without_echoes(found: list[Finding]) -> Iterator[Finding]:
    """A fault is told once: by the line that causes it, not by each part that it makes fail."""
    lines = {finding.requirement for finding in found if finding.file.endswith(".py")}
    places = {
        finding.place for finding in found if finding.line and finding.code != Code.BLUEPRINT_FAILS
    }
    for finding in found:
        echo = finding.code is Code.MAP_DISAGREES and finding.requirement in lines
        twice = finding.code is Code.BLUEPRINT_FAILS and finding.place in places
        if not echo and not (twice and finding.line):
            yield finding


@contextmanager
def _no_collection() -> Iterator[None]:
    """Syntax trees are many objects that stay: looking for garbage in them halved the speed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""What blueprints need: the packages that they import, and the variables that they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from app.adoption.distributions import Distributions, Package
from app.adoption.modules import FoundBlueprint, Module, Needs
from app.adoption.sources import ROOM, Source
from app.doctor.findings import Code, Finding, error
from app.doctor.project import Project
from app.doctor.scan import Import
from app.kinds.dependency.requirements import top_level
from app.kinds.environment import variables
from app.manifest import NAME, Unusable

Reached = tuple[tuple[Module, Needs], ...]


@dataclass(frozen=True, slots=True)
class VariableRead:
    """A variable that code reads; ``required`` where it fails without one.

    ``declared`` says that no table has to be made for it. ``place`` is ``file:line``, and ``file``
    that of the project.
    """

    name: str
    required: bool
    declared: bool
    place: str
    file: str


class NeedsOf:
    """Reads what blueprints need, and remembers the packages and variables of all of them.

    ``importers`` has the file that imports a package first, by its requirement.
    """

    def __init__(
        self, project: Project, modules: Mapping[str, Module], sources: Mapping[str, Source]
    ) -> None:
        self.packages: dict[str, Package] = {}
        self.importers: dict[str, str] = {}
        self.variables: dict[str, VariableRead] = {}
        self._project = project
        self._modules = modules
        self._sources = sources
        self._distributions = Distributions(project)
        #: What each module was found to import: many blueprints come to the same ones.
        self._imports: dict[int, tuple[str | Finding, ...]] = {}

    def reached(self, module: Module, found: FoundBlueprint) -> Reached:
        """What runs when a blueprint is imported and served, as far as it is one of the modules."""
        reached, seen = [(module, module.needs), (module, found.needs)], {module.name}
        for each, needs in reached:
            names = [each.name, *(use.module for use in needs.imports)]
            names += (f"{use.module}.{name}" for use in needs.imports for name in use.names)
            for name in (part for full in names for part in _with_parents(full)):
                if name in self._modules and name not in seen:
                    seen.add(name)
                    reached.append((self._modules[name], self._modules[name].needs))
        return tuple(reached)

    def of_packages(self, reached: Reached) -> Iterator[str | Finding]:
        """The import names of packages without which code does not run, or why one is unknown."""
        for module, needs in reached:
            if id(needs) not in self._imports:
                self._imports[id(needs)] = tuple(self._imported(module, needs))
            yield from self._imports[id(needs)]

    def _imported(self, module: Module, needs: Needs) -> Iterator[str | Finding]:
        for use in needs.imports:
            found = self._package(module, use)
            if isinstance(found, Package):
                self.packages[found.name] = found
                self.importers.setdefault(found.requirement, self._file(module))
                yield found.name
            elif found is not None:
                yield replace(found, file=module.file, line=use.line)

    def of_variables(self, reached: Reached) -> Iterator[str]:
        """The names of variables without which code does not run."""
        reads = [(module, read) for module, needs in reached for read in needs.reads]
        raises = {read.name for _, read in reads if read.raises}
        # What is asked for elsewhere with a default, or only if it is there, can be done without.
        required = raises - {read.name for _, read in reads if not read.required}
        declared = self._project.manifest.tables.get(variables.TABLE, {})
        for module, read in reads:
            name, known = read.name, self.variables.get(read.name)
            usable = _can_be_declared(name)
            if known is None or (name in required and not known.required):
                place = f"{module.file}:{read.line}"
                is_declared = name in declared or not usable
                self.variables[name] = VariableRead(
                    name, name in required, is_declared, place, self._file(module)
                )
            if name in required and usable:
                yield name

    def _package(self, module: Module, use: Import) -> Package | Finding | None:
        """The package of an import, or what is wrong with it; None where it needs none."""
        top = top_level(use.module)
        if top == ROOM or top in self._project.first_party or use.module.startswith("."):
            names = (use.module, *(f"{use.module}.{each}" for each in use.names))
            if any(name in self._modules or self._project.locate(name) for name in names):
                return None
            message = f"imports {use.module}, which is not there and is not taken along"
            return error(Code.OWN_IMPORT, message, "adopt that, too", subject=use.module)
        found = self._distributions.package(use.module)
        beside = self._sources[module.name].beside
        is_beside = beside is not None and (
            (beside / top).is_dir() or (beside / f"{top}.py").is_file()
        )
        if isinstance(found, Finding) and is_beside:
            message = f"imports {use.module}, which is {ROOM}.{use.module} once it is adopted"
            advice = "adopt that, too, and change the import, or make it a relative one"
            return error(Code.OWN_IMPORT, message, advice, subject=use.module)
        return found

    def _file(self, module: Module) -> str:
        """Where a module will be in the project."""
        return str(self._sources[module.name].name)


@cache
def _can_be_declared(name: str) -> bool:
    """Whether the manifest takes a variable of this name, and a blueprint can name it as a need."""
    try:
        variables.read_variable(name, {})
    except Unusable:
        return False
    return NAME.fullmatch(name) is not None


def _with_parents(module: str) -> Iterator[str]:
    """A module and the packages that are imported with it."""
    while module:
        yield module
        module = module.rpartition(".")[0]

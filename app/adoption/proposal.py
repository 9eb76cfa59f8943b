"""What the manifest, the requirements and the owner's room get so that modules are served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from app.adoption.candidates import Candidate, candidates
from app.adoption.modules import FoundBlueprint, Module, read_module
from app.adoption.needs import NeedsOf, VariableRead
from app.adoption.sources import ROOM, Source, read_sources
from app.doctor.blueprints import Taken
from app.doctor.findings import Code, Finding, error, note, ordered
from app.doctor.project import Project
from app.doctor.scan import without_collector
from app.kinds.environment import variables
from app.locking.edit import Change, with_requirements, with_tables
from app.manifest import BLUEPRINT, CORE, CORE_NAMES, FILE, NAME, PACKAGES
from app.settings.errors import BadFile

ROOM_TEXT = b'"""Blueprints of the owner: orchestrator.toml says which are served."""\n'
#: A module that holds what a function of another makes.
MADE = '''"""The blueprint that {function} of {module} makes."""

from {module} import {function}

blueprint = {function}()
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A blueprint that is to be served: its future table, and where it is defined now."""

    name: str
    import_path: str
    prefix: str | None
    packages: tuple[str, ...]
    environment: tuple[str, ...]
    place: str

    def table(self) -> dict[str, object]:
        """The keys of its table in the manifest."""
        keys: dict[str, object] = {
            "import": self.import_path,
            "prefix": self.prefix,
            PACKAGES: [*self.packages],
            variables.NEED: [*self.environment],
        }
        return {key: value for key, value in keys.items() if value}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was found in modules, and the changes that would have them served.

    ``packages`` are requirements by import names, which the map or the requirements lack.
    ``changes`` are in the order in which the files may be seen: the manifest, which is followed,
    comes last.
    """

    modules: int
    blueprints: tuple[Proposed, ...]
    packages: Mapping[str, str]
    variables: tuple[VariableRead, ...]
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]


def propose(project: Project, paths: Iterable[Path]) -> Proposal:
    """Read modules, run none of them, and say what would have them served.

    Args:
        project: the project that is to serve them.
        paths: modules, or directories of them.

    Raises:
        BadFile: when the manifest or the requirements cannot be extended, with the line.
    """
    return _Adoption(project).propose([*paths])


class _Adoption:
    """One reading of some paths for a project."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._findings: list[Finding] = []
        self._modules: dict[str, Module] = {}
        #: Of each module its file, and of each file from outside its content.
        self._sources: dict[str, Source] = {}
        self._outside: dict[PurePath, bytes] = {}

    def propose(self, paths: list[Path]) -> Proposal:
        with without_collector():
            for source in read_sources(self._project.root, paths):
                if isinstance(source, Finding):
                    self._findings.append(source)
                elif self.has_room(source) and source.is_python:
                    module = read_module(source.as_module())
                    self._modules[module.name] = module
                    self._sources[module.name] = replace(source, content=b"")
        read = [*candidates(self._modules.values())]
        self._findings += (one for one in read if isinstance(one, Finding))
        found = [one for one in read if isinstance(one, Candidate)]
        for path in paths:
            if not any(Path(one.module.file).is_relative_to(path) for one in found):
                message = "no blueprint was found in it"
                self._findings.append(note(Code.NO_BLUEPRINT, message, "", str(path)))
        needs = NeedsOf(self._project, self._modules, self._sources)
        proposed = {one.import_path: table for one, table in self.proposed(found, needs)}
        chosen = [one for one in found if one.import_path in proposed]
        return Proposal(
            len(self._modules),
            tuple(proposed.values()),
            {one.name: one.requirement for one in needs.packages.values() if not one.provided},
            tuple(needs.variables[name] for name in sorted(needs.variables)),
            ordered(self._findings),
            tuple(self.changes(chosen, proposed.values(), needs)) if chosen else (),
        )

    def has_room(self, source: Source) -> bool:
        """Whether a file is in the project, or can be copied into it; remembers the latter."""
        if source.beside is None:
            return True
        target = self._project.root / source.name
        there = self._outside.get(source.name)
        if there is None and target.exists():
            there = target.read_bytes() if target.is_file() else b""
        if there is not None and there != source.content:
            message, advice = f"{source.name} is another file", "rename or remove one of them"
            self._findings.append(error(Code.FILE_EXISTS, message, advice, source.shown))
            return False
        self._outside[source.name] = source.content
        return True

    def proposed(
        self, found: Iterable[Candidate], needs: NeedsOf
    ) -> Iterator[tuple[Candidate, Proposed]]:
        """The tables of the blueprints that the manifest does not have yet."""
        manifest = self._project.manifest
        names = {fault.table.partition(".")[2] for fault in manifest.faults} | CORE_NAMES
        names |= {one.name for one in manifest.blueprints}
        served = {f"{one.module}:{one.attribute}" for one in manifest.blueprints}
        taken = self.taken()
        examined = {one.name: one for one in self._modules.values() if not one.readable}
        for candidate in found:
            module, blueprint = candidate.module, candidate.found
            reached = needs.reached(module, blueprint)
            examined |= {each.name: each for each, _ in reached}
            if candidate.import_path in served:
                continue
            name = _free_name(blueprint, names)
            names.add(name)
            self._findings += taken.add(name, blueprint, candidate.prefix, module.file)
            packages = [*needs.of_packages(reached)]
            self._findings += (one for one in packages if isinstance(one, Finding))
            table = Proposed(
                name=name,
                import_path=candidate.import_path,
                prefix=candidate.prefix,
                packages=tuple(dict.fromkeys(one for one in packages if isinstance(one, str))),
                environment=tuple(dict.fromkeys(needs.of_variables(reached))),
                place=f"{module.file}:{blueprint.line}",
            )
            yield candidate, table
        self._findings += (finding for one in examined.values() for finding in one.findings)

    def taken(self) -> Taken:
        """The names and addresses of what is served already."""
        taken = Taken()
        for one in (*CORE, *self._project.manifest.blueprints):
            path = self._project.locate(one.module)
            if path is not None and path.is_file():
                for found in read_module(self._project.source(path)).blueprints:
                    if found.attribute == one.attribute:
                        taken.add(one.name, found, one.prefix or found.prefix, "")
        return taken

    def changes(
        self, chosen: Iterable[Candidate], proposed: Iterable[Proposed], needs: NeedsOf
    ) -> Iterator[Change]:
        """The owner's files, the requirements, and the manifest."""
        root = self._project.root
        groups = {self._sources[one.module.name].name.parts[:2] for one in chosen}
        files = {name: text for name, text in self._outside.items() if name.parts[:2] in groups}
        for one in chosen:
            if one.maker is not None:
                text = MADE.format(function=one.found.attribute, module=one.module.name)
                maker = PurePath(*one.maker.split(".")).with_suffix(".py")
                if (root / maker).exists() and (root / maker).read_bytes() != text.encode():
                    raise BadFile(f"{maker} is another file, and {one.module.file} needs its name")
                files[maker] = text.encode()
        room = PurePath(ROOM, "__init__.py")
        if files and not (root / room).exists():
            files = {room: ROOM_TEXT, **files}
        for name, content in files.items():
            path = root / name
            yield Change(path, path.read_bytes() if path.exists() else None, content)
        packages = needs.packages.values()
        lines = {
            one.requirement: f"imported by {needs.importers[one.requirement]}"
            for one in packages
            if not one.listed
        }
        if lines:
            yield with_requirements(self._project.requirements_path, lines)
        approved = {one.name: one.requirement for one in packages if not one.approved}
        tables = {f"{BLUEPRINT}.{one.name}": one.table() for one in proposed}
        for read in needs.variables.values():
            if read.required and not read.declared:
                proposed_table = variables.proposed(read.name, str(read.file))
                tables[f"{variables.TABLE}.{read.name}"] = proposed_table
        yield with_tables(root / FILE, {PACKAGES: approved} if approved else {}, tables)


def _free_name(found: FoundBlueprint, taken: set[str]) -> str:
    """The name of a blueprint's table: what Flask calls it, where that is free."""
    wanted = found.flask_name if NAME.fullmatch(found.flask_name) else found.attribute
    names = (wanted, *(f"{wanted}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)

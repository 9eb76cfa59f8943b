"""The project that is examined: its files, its blueprints, and who imports whom."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from app.doctor.findings import Code, Finding, error
from app.doctor.guards import Guard
from app.doctor.image import FILE as IGNORE_FILE
from app.doctor.image import IgnoreLine, ignore_lines, left_out_by
from app.doctor.scan import Import, Scan, SourceFile, scan
from app.kinds.dependency.catalog import listed_distributions
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.requirements import requirement_name, top_level
from app.kinds.standard import TABLES
from app.manifest import CORE, FILE, Blueprint, Manifest, read
from app.settings.declarations import DEFAULT_LOCK, PROJECT_ROOT
from app.settings.errors import LockError

#: Where the service's own code begins; what it imports of the project is examined too.
SERVED = ("app/**/*.py", "*.py")
#: Of a project without a manifest all is examined but these, and what begins with a dot.
UNSERVED = frozenset(
    {
        *("build", "dist", "doc", "docs", "env", "examples", "node_modules", "test", "tests"),
        *("venv", "__pycache__", "conftest.py", "noxfile.py", "setup.py"),
    }
)


@dataclass(frozen=True)
class Project:
    """A checkout. Everything is read when it is first asked for."""

    root: Path = PROJECT_ROOT
    lock_path: Path = DEFAULT_LOCK
    _located: dict[str, Path | None] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def at(cls, root: Path) -> Project:
        """The project in another directory, with or without a manifest.

        Without one its requirements may be in ``requirements.txt``.
        """
        lock = root / DEFAULT_LOCK.name
        own = lock.with_suffix(".txt").exists() or (root / FILE).exists()
        return cls(root, lock if own else root / "requirements.lock")

    @property
    def managed(self) -> bool:
        """Whether this service's files are to be there: a manifest, a lock, a home."""
        return self.root == PROJECT_ROOT or (self.root / FILE).exists()

    @property
    def requirements_path(self) -> Path:
        """The direct requirements, beside the lock."""
        return self.lock_path.with_suffix(".txt")

    @cached_property
    def manifest(self) -> Manifest:
        """What the project's own manifest says; nothing where it needs none."""
        return read(self.root / FILE, TABLES) if self.managed else Manifest()

    @property
    def dependency_map(self) -> Mapping[str, str]:
        """Import name to requirement, the allow-list."""
        return self.manifest.packages

    @cached_property
    def required(self) -> frozenset[str]:
        """The names of the map that the image is to have."""
        listed = listed_distributions(self.requirements_path, self.lock)
        texts = self.dependency_map.items()
        return frozenset(name for name, text in texts if requirement_name(text) in listed)

    @property
    def optional(self) -> frozenset[str]:
        """The other names of the map: what they stand for is healed where it is asked for."""
        return frozenset(self.dependency_map.keys() - self.required)

    @cached_property
    def lock(self) -> Lock:
        """The lock; empty where it cannot be read, which is a finding of its own."""
        try:
            return Lock.read(self.lock_path)
        except LockError:
            return Lock({}, "unreadable")

    @cached_property
    def first_party(self) -> frozenset[str]:
        """The top-level names that are this project's own, those of the manifest among them."""
        packages = (path.parent.name for base in self._bases for path in base.glob("*/*.py"))
        modules = (path.stem for base in self._bases for path in base.glob("*.py"))
        named = (top_level(blueprint.module) for blueprint in self.manifest.blueprints)
        return frozenset({*packages, *modules, *named})

    @cached_property
    def _ignore_lines(self) -> tuple[IgnoreLine, ...]:
        return ignore_lines(self.root)

    def left_out(self, module: str) -> tuple[str, str] | None:
        """That a module of the project does not get into the image, and what to do about it.

        None where it does. In an image it is not there; where its package is, it is only missing.
        """
        base, path = module.replace(".", "/"), self.locate(module)
        if path is None and self.locate(top_level(module)) is not None:
            return None
        names = (
            [str(path.relative_to(self.root))] if path else [f"{base}.py", f"{base}/__init__.py"]
        )
        lines = [left_out_by(self._ignore_lines, name) for name in names]
        if None in lines:
            return None
        advice = f"change line {lines[0]} of {IGNORE_FILE}, or move what needs it"
        return f"{module} is left out of the image", advice

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The service's files by module name, with those of blueprints that live elsewhere."""
        if self.managed:
            paths = {path for pattern in SERVED for path in self.root.glob(pattern)}
        else:
            paths = {*self._code()}
        places = map(self.locate, self.blueprints)
        paths.update(path for path in places if path is not None and path.is_file())
        return {file.module: file for file in map(self.source, sorted(paths))}

    @cached_property
    def _bases(self) -> tuple[Path, ...]:
        """The directories with the project's top-level modules."""
        source = self.root / "src"
        apart = not self.managed and source.is_dir() and not (source / "__init__.py").exists()
        return (source, self.root) if apart else (self.root,)

    def _code(self) -> Iterator[Path]:
        """Every module of a project that says nowhere what is served of it."""
        for place, directories, files in os.walk(self.root):
            directory = Path(place)
            directories[:] = [
                name
                for name in directories
                if not name.startswith(".")
                and name not in UNSERVED
                and not (directory / name / "pyvenv.cfg").exists()
            ]
            yield from (directory / f for f in files if f.endswith(".py") and f not in UNSERVED)

    @cached_property
    def blueprints(self) -> tuple[str, ...]:
        """The modules of the service's own blueprints and of the manifest's, in their order."""
        own = [one.module for one in CORE if self.locate(one.module) is not None]
        named = [one.module for one in self.manifest.blueprints if self.leads(one)]
        return tuple(dict.fromkeys((*own, *named)))

    def leads(self, blueprint: Blueprint) -> bool:
        """Whether a blueprint's import path leads to a file of this project."""
        path = self.locate(blueprint.module)
        return path is not None and path.is_file()

    def source(self, path: Path) -> SourceFile:
        """Read one file."""
        base = next(base for base in self._bases if path.is_relative_to(base))
        shown = str(path.relative_to(self.root))
        return SourceFile.at(path.relative_to(base), shown, path.read_bytes())

    def locate(self, module: str) -> Path | None:
        """The file or directory of a module of this project, None when there is none."""
        if module not in self._located:
            places = [base.joinpath(*module.split(".")) for base in self._bases]
            files = [f for p in places for f in (p / "__init__.py", p.with_name(f"{p.name}.py"))]
            found = [f for f in files if f.is_file()] + [p for p in places if p.is_dir()]
            self._located[module] = found[0] if found else None
        return self._located[module]


class Graph:
    """The imports of every file that the service can load.

    ``files`` are the service's, and what they import of the project elsewhere; ``findings`` are
    the files that no Python of this version can compile.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.files = dict(project.files)
        self.scans: dict[str, Scan] = {}
        self.findings: list[Finding] = []
        waiting = list(self.files)
        for module in waiting:
            file = self.files[module]
            try:
                self.scans[module] = scan(file)
            except SyntaxError as bad:
                advice = "mend the code; nothing in this file was examined"
                found = error(Code.SYNTAX_ERROR, bad.msg, advice, file.file, bad.lineno or 1)
                self.findings.append(found)
                continue
            named = {
                name
                for use in self.scans[module].imports
                if not use.prefix and use.module.partition(".")[0] in project.first_party
                for name in (use.module, *(f"{use.module}.{part}" for part in use.names))
            }
            for name in sorted(named - self.files.keys()):
                path = project.locate(name)
                if path is not None and path.is_file():
                    source = project.source(path)
                    self.files[source.module] = source
                    waiting.append(source.module)

    def chain(self, module: str, line: int) -> tuple[str, ...]:
        """The shortest way from a blueprint to a line, as ``file:line``; empty without one."""
        best: tuple[str, ...] = ()
        for blueprint in self.project.blueprints:
            ways: dict[str, tuple[str, ...]] = {blueprint: ()}
            waiting = [blueprint]
            for reached in waiting:
                for target, at in self._edges.get(reached, {}).items():
                    if target not in ways:
                        ways[target] = (*ways[reached], f"{self.files[reached].file}:{at}")
                        waiting.append(target)
            found = (*ways.get(module, ()), f"{self.files[module].file}:{line}")
            if module in ways and (not best or len(found) < len(best)):
                best = found
        return best

    @cached_property
    def tolerated(self) -> frozenset[str]:
        """The modules that are imported with a guard and never without; no blueprint is one."""
        guarded: set[str] = set()
        needed = set(self.project.blueprints)
        for found in self.scans.values():
            for use in found.imports:
                (guarded if use.guard is Guard.OPTIONAL else needed).update(self._targets(use))
        return frozenset(guarded - needed)

    @cached_property
    def _edges(self) -> dict[str, dict[str, int]]:
        """Module to the modules that it imports, each with the first line that does."""
        edges: dict[str, dict[str, int]] = {}
        for module, found in self.scans.items():
            targets = edges.setdefault(module, {})
            for use in found.imports:
                if use.guard not in {Guard.TYPING, Guard.DEAD}:
                    for target in self._targets(use):
                        targets.setdefault(target, use.line)
        return edges

    def _targets(self, use: Import) -> Iterator[str]:
        """What an import runs of the project: the module and the packages around it.

        The top package, which everything is in, is left out.
        """
        if use.prefix:
            yield from (name for name in self.files if name.startswith(use.module))
            return
        for name in (*(f"{use.module}.{name}" for name in use.names), use.module):
            parts = name.split(".")
            around = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
            yield from (module for module in around if module in self.files)

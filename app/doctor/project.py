"""The project that is examined: its files, its modules, and the blueprints that it serves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from app.kinds.dependency.catalog import OPTIONAL, REQUIRED
from app.kinds.dependency.lock import Lock
from app.settings.engine import DEFAULT_LOCK, PROJECT_ROOT
from app.settings.errors import LockError

#: Where the service's own code begins; what it imports of the project is examined too.
SERVED = ("app/**/*.py", "*.py")
FACTORY = "app"
BLUEPRINT = re.compile(r"app(\.[a-z_]\w*)+", re.ASCII)
OPTIONAL_FILE = "requirements-optional.txt"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Python file: its dotted module name, its path in the project and its bytes."""

    module: str
    file: str
    content: bytes
    is_package: bool

    @property
    def package(self) -> str:
        """What relative imports in it start from."""
        return self.module if self.is_package else self.module.rpartition(".")[0]


@dataclass(frozen=True)
class Project:
    """A checkout. Everything is read when it is first asked for and kept."""

    root: Path = PROJECT_ROOT
    lock_path: Path = DEFAULT_LOCK
    required: Mapping[str, str] = field(default_factory=lambda: REQUIRED)
    optional: Mapping[str, str] = field(default_factory=lambda: OPTIONAL)

    @classmethod
    def at(cls, root: Path) -> Project:
        """The project in another directory, with this one's dependency map."""
        return cls(root=root, lock_path=root / DEFAULT_LOCK.name)

    @property
    def requirements_path(self) -> Path:
        """The direct requirements, beside the lock."""
        return self.lock_path.with_suffix(".txt")

    @property
    def optional_path(self) -> Path:
        """The approved optional packages."""
        return self.lock_path.with_name(OPTIONAL_FILE)

    @property
    def dependency_map(self) -> dict[str, str]:
        """Import name to requirement, the allow-list."""
        return {**self.required, **self.optional}

    @cached_property
    def lock(self) -> Lock:
        """The lock; empty where it cannot be read, which is a finding of its own."""
        try:
            return Lock.read(self.lock_path)
        except LockError:
            return Lock({}, "unreadable")

    @cached_property
    def first_party(self) -> frozenset[str]:
        """The top-level names that are this project's own."""
        packages = (path.parent.name for path in self.root.glob("*/*.py"))
        modules = (path.stem for path in self.root.glob("*.py"))
        return frozenset({*packages, *modules})

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The service's files by module name."""
        paths = {path for pattern in SERVED for path in self.root.glob(pattern)}
        return {file.module: file for file in map(self.source, sorted(paths))}

    @cached_property
    def blueprints(self) -> tuple[str, ...]:
        """The modules that the factory's manifest names, in its order."""
        factory = self.files.get(FACTORY)
        named = _strings(factory.content) if factory else ()
        return tuple(name for name in dict.fromkeys(named) if BLUEPRINT.fullmatch(name))

    def source(self, path: Path) -> SourceFile:
        """Read one file."""
        relative = path.relative_to(self.root)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        return SourceFile(module, str(relative), path.read_bytes(), is_package)

    def locate(self, module: str) -> Path | None:
        """The file or directory of a module of this project, None when there is none."""
        if module not in self._located:
            self._located[module] = self._locate(module)
        return self._located[module]

    @cached_property
    def _located(self) -> dict[str, Path | None]:
        return {}

    def _locate(self, module: str) -> Path | None:
        base = self.root.joinpath(*module.split("."))
        for candidate in (base / "__init__.py", base.with_name(f"{base.name}.py"), base):
            if candidate.is_file() or (candidate == base and base.is_dir()):
                return candidate
        return None


def _strings(content: bytes) -> Iterator[str]:
    """The string constants of a module, in the order in which they stand."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.value, str):
            yield node.value

"""Builds packages that are really broken, in a ``site-packages`` directory of a test's own."""

from __future__ import annotations

import importlib
import importlib.machinery
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.wheels import build_wheel

#: The suffix that an extension built for this interpreter has.
EXTENSION_SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
#: The suffix of one that no supported interpreter loads.
FOREIGN_SUFFIX = ".cpython-39-x86_64-linux-gnu.so"
#: The first bytes of a shared library for this kind of machine, and nothing after them.
TRUNCATED_LIBRARY = b"\x7fELF\x02\x01\x01" + b"\0" * 9


def on_path(directory: Path, *, first: bool = False) -> Path:
    """Create a directory and put it on ``sys.path``; ``conftest`` takes it off again."""
    directory.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0 if first else len(sys.path), str(directory))
    importlib.invalidate_caches()
    return directory


def write_files(directory: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, their directories too, so that an import sees them at once."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    importlib.invalidate_caches()


@dataclass(frozen=True, slots=True)
class Site:
    """A ``site-packages`` directory: wheels are installed into it and then damaged."""

    directory: Path

    @classmethod
    def on_path(cls, root: Path) -> Site:
        """One that this process imports from, behind everything else."""
        return cls(on_path(root / "site-packages"))

    def install(
        self,
        name: str,
        version: str = "1.0",
        *,
        files: Mapping[str, str | bytes] | None = None,
        requires: Sequence[str] = (),
    ) -> None:
        """Install a wheel as an installer does: its files, its metadata and its RECORD."""
        content = {f"{name}/__init__.py": f"version = {version!r}\n"} if files is None else files
        wheels = self.directory.parent / "built"
        wheel = build_wheel(wheels, name, version, files=content, requires=requires)
        self.unpack(wheel)

    def unpack(self, wheel: Path) -> None:
        """Install a wheel that was built elsewhere."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.directory)
        importlib.invalidate_caches()

    def add(self, **files: str) -> None:
        """Write modules that no distribution brings."""
        write_files(self.directory, {f"{name}.py": text for name, text in files.items()})

    def remove(self, name: str) -> None:
        """Take a file or a whole directory away."""
        path = self.directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        importlib.invalidate_caches()

    def empty(self, name: str) -> None:
        """Leave of a package nothing but its directory."""
        self.remove(name)
        (self.directory / name).mkdir()


def compile_library(
    target: Path, source: str, *, soname: str | None = None, needs: Sequence[Path] = ()
) -> Path:
    """Compile C into a shared library, linked against others, with the system's compiler.

    Extensions of these tests fail before they reach Python, so they need none of its headers.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    name = (f"-Wl,-soname,{soname}",) if soname else ()
    source_options = ("-x", "c", "-", "-x", "none")
    subprocess.run(
        ["cc", "-shared", "-fPIC", *name, *source_options, *needs, "-o", target],  # noqa: S607
        input=source,
        text=True,
        check=True,
        capture_output=True,
    )
    return target


def extension_needing(module: Path, library: str) -> None:
    """An extension that links against a shared library which is not there when it is loaded."""
    built = compile_library(
        module.parent / "made" / library, "int away(void) { return 1; }", soname=library
    )
    source = "int away(void); int use(void) { return away(); }"
    compile_library(module.with_name(module.name + EXTENSION_SUFFIX), source, needs=[built])
    shutil.rmtree(built.parent)
    importlib.invalidate_caches()


def extension_lacking_symbol(module: Path) -> None:
    """An extension that uses a function which nothing defines."""
    source = "int nowhere(void); int use(void); int (*pointer)(void) = nowhere;"
    compile_library(module.with_name(module.name + EXTENSION_SUFFIX), source)
    importlib.invalidate_caches()


def extension_without_entry(module: Path) -> None:
    """A shared library that loads and is no Python extension."""
    source = "int use(void) { return 1; }"
    compile_library(module.with_name(module.name + EXTENSION_SUFFIX), source)
    importlib.invalidate_caches()

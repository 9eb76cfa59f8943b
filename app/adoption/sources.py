"""The files that are to be adopted: where they are, and where in the project they will be."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from app.doctor.findings import Code, Finding, error
from app.doctor.scan import SourceFile
from app.isolation.source_addresses import LARGEST
from app.settings.files import read_bounded

#: The package of the project into which files from elsewhere are copied.
ROOM = "blueprints"
#: Directories that hold no code of their owner's.
SKIPPED = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file of one of the paths.

    ``path`` is where it is, ``shown`` how messages call that, and ``name`` where it will be in the
    project. ``beside`` is the directory from which the path that was asked for was importable; None
    where the file is in the project already.
    """

    path: Path
    shown: str
    name: PurePath
    beside: Path | None
    content: bytes

    @property
    def is_python(self) -> bool:
        """Whether it is a module; anything else, such as a template, goes along with those."""
        return self.name.suffix == ".py"

    def as_module(self) -> SourceFile:
        """The file as what the project will import."""
        return SourceFile.at(self.name, self.shown, self.content)


def read_sources(root: Path, paths: Iterable[Path]) -> Iterator[Source | Finding]:
    """Each file of some paths, one after the other, or what is wrong with it.

    Args:
        root: the project.
        paths: modules, and directories with all that is in them.
    """
    root, seen = root.resolve(), set[Path]()
    for asked in paths:
        # A link to a file has a name of its own, which is the module's.
        directory = asked if asked.is_dir() else asked.parent
        path = Path(os.path.realpath(directory), "" if asked.is_dir() else asked.name)
        beside = None if path.is_relative_to(root) else path.parent
        for file in _files(path):
            relative = file.relative_to(path)
            shown = str(asked / relative)
            name = PurePath(*file.relative_to(beside or root).parts)
            if beside is not None:
                name = PurePath(ROOM, *map(_importable, name.with_suffix("").parts))
                name = name.with_name(f"{name.name}{file.suffix}")
            if file in seen:
                continue
            seen.add(file)
            if file.suffix == ".py" and not all(map(_is_name, name.with_suffix("").parts)):
                message, advice = f"{name} cannot be imported by that name", "rename it"
                yield error(Code.NO_MODULE_NAME, message, advice, shown)
                continue
            try:
                yield Source(file, shown, name, beside, read_bounded(file, LARGEST))
            except (OSError, ValueError) as bad:
                message = getattr(bad, "strerror", None) or str(bad)
                yield error(Code.FILE_UNREADABLE, message, "nothing in it was examined", shown)


def _files(path: Path) -> Iterator[Path]:
    """A file itself, or the files of a directory without those that tools made."""
    if not path.is_dir():
        yield path
        return
    for directory, inner, files in os.walk(path):
        inner[:] = sorted(
            name
            for name in inner
            if not (name.startswith(".") or name in SKIPPED)
            and not Path(directory, name, "pyvenv.cfg").exists()
        )
        yield from (Path(directory, name) for name in sorted(files) if not name.startswith("."))


def _is_name(part: str) -> bool:
    return part.isidentifier() and part.isascii() and not keyword.iskeyword(part)


def _importable(part: str) -> str:
    """The nearest name that can be imported."""
    name = re.sub(r"\W", "_", part, flags=re.ASCII)
    return name if _is_name(name) else f"_{name}"

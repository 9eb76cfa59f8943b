"""Finders as editable installs put them on ``sys.meta_path``."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path


class Hook:
    """A finder of import hooks: what it is asked for, and the file that it answers with."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.asked: list[str] = []
        self._top_level_modules = {name}

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """The module of its name, and of no other."""
        self.asked.append(fullname)
        return spec_from_file_location(fullname, self.file) if fullname == self.name else None


class MesonpyMetaFinder(Hook):
    """One that builds the package when it is asked."""

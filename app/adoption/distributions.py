"""What an import needs, where it is known what brings it: a name alone says nothing."""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from functools import cache

from app.doctor.findings import Code, Finding, error
from app.doctor.project import Project
from app.doctor.requirements import load
from app.kinds.dependency.catalog import CRITICAL
from app.kinds.dependency.facts.names import known
from app.kinds.dependency.facts.standard import REMOVED
from app.kinds.dependency.on_disk import installed_version, records_module
from app.kinds.dependency.requirements import normalize, requirement_name, top_level
from app.manifest import FILE


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is needed: its import name and its requirement.

    ``approved`` says that the manifest has it, ``listed`` that the requirements do.
    """

    name: str
    requirement: str
    approved: bool
    listed: bool

    @property
    def provided(self) -> bool:
        """Whether nothing has to be added for it."""
        return self.approved and self.listed


class Distributions:
    """The packages that a project may use: approved in its manifest, or installed here."""

    def __init__(self, project: Project) -> None:
        self._map = project.dependency_map
        self._listed = load(project.requirements_path).names()
        #: Asked for the same few modules by all of them.
        self.package = cache(self._package)
        self._providers = cache(importlib.metadata.packages_distributions)

    def _package(self, module: str) -> Package | Finding | None:
        """The package that brings a module, or why nobody knows it; None where it needs none."""
        top = top_level(module)
        if approved := self._map.get(top):
            listed = requirement_name(approved) in self._listed
            # Without these there is no service that could isolate what needs them.
            needless = top in CRITICAL and listed
            return None if needless else Package(top, approved, approved=True, listed=listed)
        if top in sys.stdlib_module_names:
            return None
        here = sorted({normalize(name) for name in self._providers().get(top, ())})
        if len(here) > 1:
            here = [name for name in here if records_module(name, module)]
        if len(here) == 1 and top.isascii() and (version := installed_version(here[0])):
            listed = here[0] in self._listed
            return Package(top, f"{here[0]}>={version}", approved=False, listed=listed)
        if top in REMOVED and top not in sys.stdlib_module_names:
            message = f"{top} left the standard library in Python {REMOVED[top]}"
            return error(Code.STDLIB_MISSING, message, "change the code", subject=module)
        facts = known(module)
        likely = " or ".join(facts.distributions[:3]) if facts else ""
        message = f"imports {top}, and nothing here says which distribution brings it"
        advice = f"add what brings it to {FILE} and the requirements"
        advice = f"{advice}; that is likely {likely}" if likely else advice
        return error(Code.UNKNOWN_DISTRIBUTION, message, advice, subject=module)

"""What a name may stand for: its distributions, and what was meant by one that nobody knows.

Nothing here decides what is installed: it explains, and proposes what is here already.
"""

from __future__ import annotations

import difflib
import string
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.doctor.project import Project
from app.kinds.dependency.catalog import KNOWN_DISTRIBUTIONS
from app.kinds.dependency.on_disk import find_on_disk, installed_version
from app.kinds.dependency.requirements import normalize, top_level

#: How alike two names are before one is taken for a slip of the other; 1 is the same.
ALIKE = 0.8
#: The same where the import is guarded: other libraries' names are often near.
VERY_ALIKE = 0.85
#: Shorter names are near too many others.
SHORTEST = 4


@dataclass(frozen=True)
class Likely:
    """Guesses for one project: ``known`` maps import names to distributions of the map."""

    project: Project
    known: Mapping[str, str]
    listed: frozenset[str]

    def distributions(self, top: str) -> frozenset[str]:
        """The distributions that may bring a top-level module, normalized."""
        named = self.known.get(top) or KNOWN_DISTRIBUTIONS.get(top)
        if named:
            return frozenset({normalize(named)})
        if normalize(top) in self.listed:
            return frozenset({normalize(top)})
        return frozenset({normalize(top), *map(normalize, self._providers.get(top, ()))})

    def requirement(self, distributions: Iterable[str]) -> str | None:
        """A requirement line for one that is installed here, at least in this version."""
        found = ((name, installed_version(name)) for name in sorted(distributions))
        return next((f"{name}>={version}" for name, version in found if version), None)

    def misspelt(self, top: str, *, standard: bool = True) -> str | None:
        """The name that was meant, when there is one that is very like it."""
        if len(top) < SHORTEST or find_on_disk(top) is not None:
            return None
        names = {*self.known, *self._brought(self.listed)}
        names |= sys.stdlib_module_names if standard else set()
        names |= self.project.first_party if standard else set()
        cutoff = ALIKE if standard else VERY_ALIKE
        near = difflib.get_close_matches(top, sorted(filter(_otherwise(top), names)), 1, cutoff)
        by_distribution = {self.known[name]: name for name in self.known}
        return by_distribution.get(normalize(top)) or next(iter(near), None)

    def among(self, name: str, names: Iterable[str]) -> str:
        """``did you mean x?``, or what to do when nothing is near."""
        near = difflib.get_close_matches(name, sorted(names), 1, 0.7)
        return f"did you mean {near[0]}?" if near else "mend the import"

    def first_party(self, module: str) -> str:
        """The same for a module of the project."""
        return self.among(module, self.project.files)

    def submodule(self, module: str) -> str:
        """The same for a module in somebody else's package."""
        parent, _, leaf = module.rpartition(".")
        return self.among(leaf, (path.stem for path in _entries(parent)))

    def brought_by(self, distributions: Iterable[str]) -> str:
        """What the distributions do bring."""
        names = ", ".join(self._brought(distributions))
        return f"import {names}" if names else "mend the import"

    def lacks(self, module: str) -> bool:
        """Whether a package that is here surely has no such submodule.

        Surely: a plain package, which puts nothing into ``sys.modules`` by itself.
        """
        parent = module.rpartition(".")[0]
        if not parent or find_on_disk(module) is not None or module in sys.modules:
            return False
        if self.lacks(parent):
            return True
        spec = find_on_disk(parent)
        if spec is None or spec.origin is None or spec.submodule_search_locations is None:
            return False
        text = Path(spec.origin).read_bytes()
        return b"sys.modules" not in text and b"__path__" not in text

    def _brought(self, distributions: Iterable[str]) -> list[str]:
        wanted = frozenset(distributions)
        return sorted(
            name
            for name, providers in self._providers.items()
            if wanted & set(map(normalize, providers)) and not name.startswith("_")
        )

    @cached_property
    def _providers(self) -> Mapping[str, list[str]]:
        """Import name to distributions, of all that is installed; read only when needed."""
        import importlib.metadata

        return importlib.metadata.packages_distributions()


def _otherwise(top: str) -> Callable[[str], bool]:
    """Names that differ in more than their numbers: urllib2 is no slip of urllib3."""
    letters = top.rstrip(string.digits)
    return lambda name: name.rstrip(string.digits) != letters


def _entries(package: str) -> Iterable[Path]:
    spec = find_on_disk(package) if top_level(package) else None
    for place in (spec.submodule_search_locations if spec else None) or ():
        yield from Path(place).iterdir()

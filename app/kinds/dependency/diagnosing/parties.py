"""Who takes part in a failed import: who asks for a module, who brings it, and in which version."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from app.kinds.dependency.catalog import Catalog, Conflict
from app.kinds.dependency.facts.names import known
from app.kinds.dependency.on_disk import find_on_disk, installed_version, local_file
from app.kinds.dependency.requirements import top_level


class Parties:
    """The modules and distributions of one catalog, and the first-party packages."""

    def __init__(self, catalog: Catalog, first_party: AbstractSet[str]) -> None:
        self._catalog = catalog
        self._first_party = first_party

    def needer(self, name: str, chain: Sequence[str]) -> str | None:
        """Who asks for a module: the library nearest before it, else the module of ours."""
        others = [module for module in reversed(chain) if top_level(module) != top_level(name)]
        packages = [top_level(m) for m in others if top_level(m) not in self._first_party]
        return next(iter((*packages, *others)), None)

    def provider(self, module: str) -> str | None:
        """The distribution of a library's module; None for what none brings."""
        top = top_level(module)
        return next(iter(() if self.is_reserved(top) else self._catalog.providers(module)), None)

    def titled(self, module: str) -> str:
        """A library by its distribution and version, anything else by its own name."""
        provider = self.provider(module)
        return with_version(provider) if provider else module

    def off_lock(self, distributions: Iterable[str | None]) -> str:
        """The first of some distributions that is here in another version than the lock names."""
        for name in filter(None, distributions):
            installed, locked = installed_version(name), self._catalog.lock.version(name)
            if installed and locked and installed != locked:
                return str(Conflict(name, installed, locked))
        return ""

    def is_library(self, module: str) -> bool:
        """Whether a module is somebody else's: not of this application, not of Python."""
        top = top_level(module)
        return not self.is_reserved(top) and find_on_disk(top) is not None and not local_file(top)

    def is_reserved(self, top: str) -> bool:
        """Whether no distribution brings this name, so that the map does not count for it."""
        return top in self._first_party or top in sys.stdlib_module_names

    def namesake_advice(self, module: str | None) -> str:
        """What to do when a module is that of another project than the one that all know by it."""
        found = known(module) if module else None
        if module is None or found is None or found.namesake not in self._catalog.providers(module):
            return ""
        meant = found.distributions[0]
        return f"; {found.namesake} is another project than {meant}: replace it by {meant}"


def with_version(distribution: str) -> str:
    """A distribution with the version that is installed, if one is."""
    return f"{distribution} {installed_version(distribution) or ''}".strip()

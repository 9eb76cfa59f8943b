"""Which blueprints of some modules are served by themselves, and by which import path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.adoption.modules import FoundBlueprint, Module
from app.adoption.sources import ROOM
from app.doctor.findings import Code, Finding, note, warning
from app.manifest import ADDRESS


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blueprint under the import path and the prefix that the manifest gets."""

    module: Module
    found: FoundBlueprint
    import_path: str
    prefix: str | None

    @property
    def maker(self) -> str | None:
        """The module, still to be written, that holds what a function makes; None without one."""
        return self.import_path.partition(":")[0] if self.found.factory else None


def candidates(modules: Iterable[Module]) -> Iterator[Candidate | Finding]:
    """The blueprints of modules; of one that cannot be served by itself, why.

    The prefix is that with which one of the modules registers the blueprint, else its own.
    """
    modules = [*modules]
    same_name: dict[str, list[str]] = {}
    for module in modules:
        for found in module.blueprints:
            same_name.setdefault(found.attribute, []).append(f"{module.name}.{found.attribute}")

    def meant(name: str) -> str | None:
        """The blueprint that a full name means, which may be that of where it was before."""
        same = same_name.get(name.rpartition(".")[2], [])
        near = [one for one in same if f".{one}".endswith(f".{name}")] or same
        return near[0] if len(near) == 1 else None

    registered = {meant(one.child): one for module in modules for one in module.registrations}
    for module in modules:
        for found in module.blueprints:
            registration = registered.get(f"{module.name}.{found.attribute}")
            parent = registration.parent if registration else ""
            where = (module.file, found.line)
            if parent.endswith("Blueprint") or meant(parent):
                message = f"{found.attribute} is registered on another blueprint and served with it"
                yield note(Code.NESTED_BLUEPRINT, message, "", *where, subject=found.attribute)
            elif found.parameters:
                message = f"{found.attribute} makes a blueprint of arguments that nobody knows"
                advice = "call it in a module, assign what it returns, and adopt that module"
                yield warning(Code.FACTORY_ARGUMENTS, message, advice, *where)
            else:
                given = registration.prefix if registration else None
                prefix = (found.prefix or "" if given is None else given).rstrip("/")
                path = f"{module.name}:{found.attribute}"
                if found.factory:
                    parts = [*module.name.removeprefix(f"{ROOM}.").split("."), found.attribute]
                    path = f"{ROOM}.{'_'.join(parts)}:blueprint"
                usable = ADDRESS.fullmatch(prefix) is not None
                yield Candidate(module, found, path, prefix if usable else None)

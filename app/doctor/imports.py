"""The code's imports against the requirements, the map, the lock and the project itself."""

from __future__ import annotations

import difflib
import importlib.metadata
import string
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.guards import Guard
from app.doctor.project import Graph
from app.doctor.requirements import Requirements
from app.doctor.scan import Import
from app.kinds.dependency.facts.names import known
from app.kinds.dependency.facts.standard import REMOVED
from app.kinds.dependency.on_disk import find_on_disk, installed_version
from app.kinds.dependency.requirements import normalize, requirement_name, top_level

#: How alike two names are before one is taken for a misspelling of the other; 1 is the same.
ALIKE = 0.8
#: The same where the import is guarded: other libraries' names are often near.
VERY_ALIKE = 0.85
#: The same for the names in one module.
ALIKE_INSIDE = 0.7
#: Shorter names are near too many others.
SHORTEST = 4
#: What heals needs nothing that is healed: its modules import that in functions, where it is used.
KINDS = "app.kinds."
#: Modules of the standard library that the interpreter has in itself, and its tests.
UNSHADOWED = frozenset({*sys.builtin_module_names, "test"})


class ImportChecker:
    """Judges every import of a graph.

    Nothing here decides what is installed: it explains, and proposes what is here already.
    """

    def __init__(self, graph: Graph, requirements: Requirements) -> None:
        self.graph = graph
        self.requirements = requirements
        self._file = graph.project.requirements_path.name
        lock, texts = graph.project.lock, graph.project.dependency_map
        #: Import name to distribution, of the dependency map.
        self._known = {name: requirement_name(text) for name, text in texts.items()}
        #: The distributions that the listed requirements bring with them.
        self._closure = {
            entry.name for name in requirements.names() for entry in lock.closure(name)
        }
        #: The distributions that a heal may bring.
        self._healed = {
            entry.name
            for name in graph.project.optional
            for entry in lock.closure(self._known[name])
        }
        #: Import name to distributions, of all that is installed; read only when needed.
        self._providers = cache(importlib.metadata.packages_distributions)
        #: What is known of a module's name: a project asks for the same few all over.
        self._facts = cache(known)
        #: Whether a module is found; the same few are asked for all over a project.
        self._is_here = cache(lambda module: find_on_disk(module) is not None)

    def findings(self) -> Iterator[Finding]:
        """What is wrong, file by file."""
        yield from self.graph.findings
        yield from self._shadows()
        for module, found in self.graph.scans.items():
            file = self.graph.files[module].file
            tolerated = module in self.graph.tolerated
            for use in found.imports:
                if use.guard in {Guard.TYPING, Guard.DEAD}:
                    continue
                spares = (Import(module=name, line=0) for name in use.unless)
                if use.unless and not any(map(self._judge, spares)):
                    # A fallback for modules that are all provided for never runs.
                    continue
                late = tolerated or (use.deferred and module.startswith(KINDS))
                if late and self._is_healed(use.module):
                    # It is asked for when it is needed, and the service does without it meanwhile.
                    continue
                wrong = self._judge(use)
                if wrong is not None:
                    chain = self.graph.chain(module, use.line)
                    chain = chain if len(chain) > 1 else ()
                    yield replace(wrong, file=file, line=use.line, chain=chain)
            if found.async_view and (lacking := self._of_async_views()):
                yield replace(lacking, file=file, line=found.async_view)

    def _is_healed(self, module: str) -> bool:
        """Whether a module is of what is approved and not in the image, or comes along with it."""
        top = top_level(module)
        return top in self.graph.project.optional or normalize(top) in self._healed

    def _shadows(self) -> Iterator[Finding]:
        """Modules at the root, where Python looks first, that hide another of their name."""
        project = self.graph.project
        hidden = dict.fromkeys(project.dependency_map, "an approved package")
        hidden |= dict.fromkeys(sys.stdlib_module_names - UNSHADOWED, "the standard library")
        for name in sorted(hidden.keys() & project.first_party):
            path = project.locate(name)
            # A directory without __init__.py hides nothing.
            if path is not None and path.is_file():
                message = f"{name} hides the module of that name of {hidden[name]}"
                file = str(path.relative_to(project.root))
                yield error(Code.SHADOWS, message, "give it another name", file, subject=name)

    def _judge(self, use: Import) -> Finding | None:
        """What is wrong with one import, None when nothing is; without its place."""
        if use.prefix or not use.module:
            return None
        top = top_level(use.module)
        if use.module.startswith(".") or top in self.graph.project.first_party:
            return None if use.guard is Guard.OPTIONAL else self._of_project(use)
        named = self._known.get(top)
        facts = None if named else self._facts(use.module)
        candidates = frozenset(facts.distributions if facts else ()) or frozenset(
            {normalize(named or top)}
        )
        # What brings back a module that left the standard library is a package like any other.
        is_back = named is not None or bool(candidates & self.requirements.names())
        if top in sys.stdlib_module_names or (top in REMOVED and not is_back):
            return None if use.guard is Guard.OPTIONAL else self._of_library(use, top)
        if not named and candidates.isdisjoint(self.requirements.names()):
            candidates |= {*map(normalize, self._providers().get(top, ()))}
        if listed := candidates & self.requirements.names():
            return None if use.guard is Guard.OPTIONAL else self._of_listed(use, top, listed)
        lines = self.requirements.lines
        if not self.requirements.there or any(
            not line.name and line.kind in {"editable", "url"} for line in lines
        ):
            # What is written nowhere, or a requirement without a name, could bring any module.
            return None
        return self._of_unlisted(use, top, candidates)

    def _of_project(self, use: Import) -> Finding | None:
        graph = self.graph
        if not use.module.startswith(".") and (left := graph.project.left_out(use.module)):
            return error(Code.LEFT_OUT, *left, subject=use.module)
        if use.module.startswith(".") or graph.project.locate(use.module) is None:
            likely = _meant(use.module, graph.project.files)
            message = f"{use.module} is not in this project"
            return error(Code.FIRST_PARTY_MISSING, message, likely, subject=use.module)
        names = graph.scans[use.module].names if use.module in graph.scans else None
        for name in use.names:
            submodule = graph.project.locate(f"{use.module}.{name}")
            if names is not None and name not in {*names, "*"} and submodule is None:
                message = f"{use.module} has no {name}"
                advice, subject = _meant(name, names), f"{use.module}.{name}"
                return error(Code.MISSING_NAME, message, advice, subject=subject)
        return None

    def _of_async_views(self) -> Finding | None:
        """What ``async def`` views lack: Flask calls them by way of ``asgiref``, an extra of it."""
        name = "asgiref"
        if name in self._closure or name in self.requirements.names():
            return None
        message = f"async views need {name}, which {self._file} does not list"
        advice = f"add to {self._file}: flask[async]"
        if name in self._known:
            message = f"{message}: it is installed at run time"
            return warning(Code.HEALED_ONLY, message, advice, subject=name)
        return error(Code.MISSING_REQUIREMENT, message, advice, subject=name)

    def _of_library(self, use: Import, top: str) -> Finding | None:
        left = f"{top} left the standard library in Python {REMOVED.get(top)}"
        if top not in sys.stdlib_module_names or not self._is_here(top):
            absent = f"{top} is not in the standard library of this Python"
            message = left if top in REMOVED else absent
            return error(Code.STDLIB_MISSING, message, "change the code", subject=use.module)
        if use.module not in sys.modules and not self._is_here(use.module):
            message = f"the standard library has no {use.module}"
            return error(Code.STDLIB_MISSING, message, _near(use.module), subject=use.module)
        return (
            warning(Code.STDLIB_LEAVING, left, "change the code", subject=top)
            if top in REMOVED
            else None
        )

    def _of_listed(self, use: Import, top: str, listed: frozenset[str]) -> Finding | None:
        if not self._is_here(top) and any(map(installed_version, listed)):
            if top in self.graph.project.dependency_map:
                return None
            message = f"{', '.join(sorted(listed))} brings no module {top}"
            names = ", ".join(self._brought(listed))
            advice = f"import {names}" if names else "mend the import"
            return error(Code.MISSPELT_IMPORT, message, advice, subject=use.module)
        if _lacks(use.module):
            message = f"{top} has no {use.module}"
            return error(Code.MISSING_SUBMODULE, message, _near(use.module), subject=use.module)
        return None

    def _of_unlisted(self, use: Import, top: str, candidates: frozenset[str]) -> Finding:
        project, subject = self.graph.project, use.module
        if use.guard is Guard.OPTIONAL:
            if meant := self._misspelt(top, standard=False):
                message = f"{top} does not exist, so its fallback always runs"
                return warning(Code.MISSPELT_IMPORT, message, f"did you mean {meant}?", subject=top)
            message = f"{top} is optional and {self._file} does not list it: its fallback runs"
            return note(Code.OPTIONAL_IMPORT, message, subject=subject)
        if excluded := [line for name in candidates for line in self.requirements.named(name)]:
            message = f"{top} is required, but not here: {excluded[0].text}"
            advice = "widen the marker, or import it under the same condition"
            return error(Code.MARKER_EXCLUDES, message, advice, subject=top)
        approved = project.dependency_map.get(top)
        installed = ((name, installed_version(name)) for name in sorted(candidates))
        here = next((f"{name}>={version}" for name, version in installed if version), None)
        line = approved or here
        code, verdict = Code.MISSING_REQUIREMENT, error
        message = f"imports {top}, which {self._file} does not list"
        if approved and top in project.optional:
            code, verdict = Code.HEALED_ONLY, warning
            message = f"{message}: it is installed at run time"
        elif through := sorted(candidates & self._closure):
            entry = project.lock.entries[through[0]]
            needers = ", ".join(name for name in entry.needed_by if not name.endswith(".txt"))
            line = approved or f"{through[0]}>={entry.version}"
            code, verdict = Code.TRANSITIVE_IMPORT, warning
            message = f"imports {top}, which is here only because {needers or 'others'} needs it"
        elif not approved and (meant := self._misspelt(top)):
            message = f"there is no {top} in the requirements or the map"
            advice = f"did you mean {meant}?"
            return error(Code.MISSPELT_IMPORT, message, advice, subject=subject)
        elif not line and (left := project.left_out(subject)):
            return error(Code.LEFT_OUT, *left, subject=subject)
        advice = f"nothing here says what brings {top}: mend the import, or restore your own module"
        if line:
            advice = f"add to {self._file}: {line}"
        elif facts := self._facts(subject):
            advice = f"add what brings it to {self._file}: {' or '.join(facts.distributions[:3])}"
        return verdict(code, message, advice, subject=subject, requirement=line)

    # -- what a name may stand for -----------------------------------------------------------

    def _brought(self, distributions: frozenset[str]) -> list[str]:
        """The public modules that distributions bring."""
        return sorted(
            name
            for name, providers in self._providers().items()
            if distributions & set(map(normalize, providers)) and not name.startswith("_")
        )

    def _misspelt(self, top: str, *, standard: bool = True) -> str | None:
        """The name that was meant, when there is one that is very like it."""
        if len(top) < SHORTEST or top in self._known or find_on_disk(top) is not None:
            return None
        by_distribution = {distribution: name for name, distribution in self._known.items()}
        if meant := by_distribution.get(normalize(top)):
            return meant
        if self._facts(top) is not None:
            # The name of a project is near others by chance: httpx to http, grequests to requests.
            return None
        names = {*self._known, *self._brought(self.requirements.names())}
        if standard:
            names |= sys.stdlib_module_names | self.graph.project.first_party
        # Names that differ in their numbers alone: urllib2 does not misspell urllib3.
        letters = top.rstrip(string.digits)
        others = sorted(name for name in names if name.rstrip(string.digits) != letters)
        near = difflib.get_close_matches(top, others, 1, ALIKE if standard else VERY_ALIKE)
        return next(iter(near), None)


def _meant(name: str, names: Iterable[str]) -> str:
    """``did you mean x?``, or what to do when nothing is near."""
    near = difflib.get_close_matches(name, sorted(names), 1, ALIKE_INSIDE)
    return f"did you mean {near[0]}?" if near else "mend the import"


def _near(module: str) -> str:
    """The same for a module in somebody else's package."""
    parent, _, leaf = module.rpartition(".")
    spec = find_on_disk(parent) if top_level(parent) else None
    places = (spec.submodule_search_locations if spec else None) or ()
    return _meant(leaf, (path.stem for place in places for path in Path(place).iterdir()))


def _lacks(module: str) -> bool:
    """Whether a package that is here surely has no such submodule.

    Surely: a plain package, which puts nothing into ``sys.modules`` by itself.
    """
    parent = module.rpartition(".")[0]
    if not parent or find_on_disk(module) is not None or module in sys.modules:
        return False
    if _lacks(parent):
        return True
    spec = find_on_disk(parent)
    if spec is None or spec.origin is None or spec.submodule_search_locations is None:
        return False
    text = Path(spec.origin).read_bytes()
    return b"sys.modules" not in text and b"__path__" not in text

"""The requirements and the lock: each by itself, against each other, the map, and what is here."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.project import Project
from app.kinds.dependency.catalog import Catalog
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.markers import MarkerError, environment, holds
from app.kinds.dependency.on_disk import installed_version
from app.kinds.dependency.requirements import (
    Kind,
    RequirementLine,
    normalize,
    read_requirements,
    requirement_name,
)
from app.manifest import FILE
from app.settings.errors import LockError, shown

#: Higher than every version that anybody has released.
BEYOND = "999999"
#: The Pythons that the lock is made for, and the platforms that its markers may speak of.
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
PLATFORMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
LOCK_ADVICE = "run auto-fix lock"


@dataclass(frozen=True, slots=True)
class Listed:
    """One requirement with its place."""

    line: RequirementLine
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a requirements file lists, and what is wrong with it.

    ``there`` is False where there is no such file, so that nobody knows what is required.
    """

    listed: tuple[Listed, ...]
    lines: tuple[RequirementLine, ...]
    findings: tuple[Finding, ...]
    there: bool = True

    def named(self, distribution: str) -> tuple[RequirementLine, ...]:
        """The lines that ask for a distribution, whatever their markers say."""
        return tuple(line for line in self.lines if line.name == distribution)

    def names(self) -> frozenset[str]:
        """The distributions that it asks for here."""
        return frozenset(line.name for line in self.lines if line.name and line.applies)


def load(path: Path) -> Requirements:
    """Read and check a requirements file; raises nothing for what it holds."""
    text = read_requirements(path)
    invalid = Code.REQUIREMENTS_INVALID
    found = [error(invalid, fault.reason, "", fault.file, fault.line) for fault in text.faults]
    listed: list[Listed] = []
    for line in text.lines:
        if line.kind is Kind.REQUIREMENT:
            try:
                listed.append(Listed(line, Requirement(line.text)))
            except InvalidRequirement as bad:
                reason = str(bad).splitlines()[0].rstrip(": ")
                message = f"{shown(line.text)} is no requirement: {reason}"
                advice = "write it as PEP 508 says, for example aiohttp>=3.8.0"
                found.append(error(invalid, message, advice, line.file, line.line))
    for first, second in combinations([one for one in listed if one.line.applies], 2):
        both = first.requirement.specifier & second.requirement.specifier
        if first.line.name == second.line.name and not _satisfiable(both):
            place = f"{first.line.file}:{first.line.line}"
            message = f"{second.requirement} contradicts {first.requirement} of {place}"
            where = (second.line.file, second.line.line, second.line.name)
            found.append(error(Code.REQUIREMENTS_CONFLICT, message, "keep one of them", *where))
    for line in text.lines:
        # What no index serves under a hash cannot be locked, so no image may have it.
        direct = line.kind is Kind.REQUIREMENT and "@" in line.text.partition(";")[0]
        if line.kind in {Kind.EDITABLE, Kind.URL} or direct:
            kind = "an editable requirement" if line.kind is Kind.EDITABLE else "a URL requirement"
            message = f"{kind} cannot be installed from the hashed lock"
            advice = "publish it to an index and require it by name and version"
            where = (line.file, line.line, line.name)
            found.append(warning(Code.NOT_LOCKABLE, message, advice, *where))
    return Requirements(tuple(listed), text.lines, tuple(found), path.is_file())


def _satisfiable(specifiers: SpecifierSet) -> bool:
    """Whether any version satisfies all of the specifiers.

    If one does, one of these does: versions at, below and above every bound.
    """
    around = [Version(BEYOND), Version("0.dev0")]
    for specifier in specifiers:
        base = Version(specifier.version.removesuffix(".*"))
        release = ".".join(map(str, base.release))
        around += [base, Version(f"{base.public}.post999999")]
        around += [Version(f"{release}.999999"), Version(f"{release}.dev0")]
    return any(specifiers.contains(version, prereleases=True) for version in around)


#: The lock is wrong in a way that a fresh one mends.
stale = partial(error, advice=LOCK_ADVICE, relock=True)


def check_lock(
    project: Project, requirements: Requirements, layered: frozenset[str]
) -> Iterator[Finding]:
    """Everything that the lock gets wrong; ``layered`` are distributions that layers hold."""
    file = project.lock_path.name
    here = sys.version_info[:2]
    if here not in PYTHONS:
        lowest, highest = (".".join(map(str, version)) for version in (PYTHONS[0], PYTHONS[-1]))
        message = f"Python {here[0]}.{here[1]} is not one that the lock is made for"
        yield warning(Code.PYTHON_UNSUPPORTED, message, f"use Python {lowest} to {highest}")
    if not project.lock_path.exists():
        message = "there is no lock, so nothing can be healed or built with checked hashes"
        yield stale(Code.LOCK_MISSING, message, file=file)
        return
    try:
        lock = Lock.read(project.lock_path)
    except LockError as fault:
        yield stale(Code.LOCK_INVALID, fault.reason, file=file, line=fault.line)
        return
    yield from _pinned(project, lock, requirements)
    yield from _split(project, requirements)
    yield from _installed(file, lock, requirements, layered)
    yield from _never_healed(project)


def _pinned(project: Project, lock: Lock, requirements: Requirements) -> Iterator[Finding]:
    """The requirements and the map have their pins, and where they overlap they say the same."""
    asked = [
        (one.line.name, str(one.requirement), one.line.file, one.line.line)
        for one in requirements.listed
        if one.line.applies
    ]
    for module, text in project.dependency_map.items():
        name = requirement_name(text)
        found = [one.requirement for one in requirements.listed if one.line.name == name]
        listed = [_asked(one) for one in found]
        listed = listed or [line.text for line in requirements.named(name)]
        if not listed and module in project.required:
            path = project.requirements_path
            message = f"the map approves {name}, which {path.name} listed when it was locked"
            advice = f"add to {path.name}: {text}; or lock anew if it is to be healed alone"
            yield error(
                Code.MAP_DISAGREES, message, advice, path.name, subject=name, requirement=text
            )
        elif not listed:
            asked.append((name, text, project.lock_path.name, 0))
        elif _asked(Requirement(text)) not in listed:
            message = f"the map says {text}, the requirements say {', '.join(listed)}"
            advice = "make the map and the requirements say the same"
            yield warning(Code.MAP_DISAGREES, message, advice, FILE, subject=name)
    for name, text, file, line in asked:
        entry = lock.entries.get(name)
        message = f"{name} is not in the lock"
        if entry is not None:
            with suppress(InvalidVersion):
                if Requirement(text).specifier.contains(entry.version, prereleases=True):
                    continue
            message = f"the lock has {entry.pin}, which {text} does not allow"
        yield stale(Code.LOCK_STALE, message, file=file, line=line, subject=name)
    # What a requirement that is gone has left behind.
    names = requirements.names().union(map(requirement_name, project.dependency_map.values()))
    wanted = {entry.name for name in names for entry in lock.closure(name)}
    if unasked := sorted(lock.entries.keys() - wanted):
        message = f"the lock has what nothing asks for: {', '.join(unasked)}"
        file, first = project.lock_path.name, unasked[0]
        yield warning(Code.LOCK_STALE, message, LOCK_ADVICE, file, subject=first, relock=True)


def _asked(requirement: Requirement) -> str:
    """A requirement without its marker, its extras in their order."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{normalize(requirement.name)}{extras}{requirement.specifier}"


def _split(project: Project, requirements: Requirements) -> Iterator[Finding]:
    """Each requirement has exactly one pin on each supported Python and platform."""

    def applies(text: str, variables: Mapping[str, str]) -> bool:
        marker = text.partition(";")[2].strip()
        try:
            return not marker or holds(marker, variables)
        except MarkerError:
            return True

    environments = {
        f"Python {major}.{minor} on {platform}": {
            **environment(),
            "python_version": f"{major}.{minor}",
            "python_full_version": f"{major}.{minor}.4",
            "sys_platform": platform,
            "platform_system": system,
            "os_name": name,
        }
        for major, minor in PYTHONS
        for platform, (system, name) in PLATFORMS.items()
    }
    pins: dict[str, list[str]] = {}
    for line in read_requirements(project.lock_path).lines:
        pins.setdefault(line.name, []).append(line.text)
    for listed in requirements.listed:
        texts = pins.get(listed.line.name, [])
        wrong = [
            place
            for place, variables in environments.items()
            if applies(listed.line.text, variables)
            and sum(applies(text, variables) for text in texts) != 1
        ]
        if texts and wrong:
            name = listed.line.name
            message = f"the lock has no single pin of {name} for {wrong[0]}"
            yield stale(Code.LOCK_SPLIT, message, file=project.lock_path.name, subject=name)


def _never_healed(project: Project) -> Iterator[Finding]:
    """The approved packages that lack something here, which no heal can bring into this process."""
    catalog = Catalog(project.dependency_map, project.lock_path)
    for name in sorted(project.dependency_map):
        plan = catalog.plan(name)
        if plan is not None and plan.missing and plan.conflicts:
            pairs = "; ".join(map(str, plan.conflicts))
            message = f"{name} cannot be healed here: {pairs}"
            advice = "install the locked version, or lock anew"
            yield warning(Code.VERSION_DIFFERS, message, advice, subject=name)


def _installed(
    file: str, lock: Lock, requirements: Requirements, layered: frozenset[str]
) -> Iterator[Finding]:
    """This environment against the lock, as far as the requirements ask for it.

    What a locked distribution needs is read from the metadata of the same version here.
    """
    for entry in lock.entries.values():
        here = installed_version(entry.name) == entry.version
        for text in (importlib.metadata.requires(entry.name) or ()) if here else ():
            with suppress(InvalidRequirement):
                needed = Requirement(text)
                name = normalize(needed.name)
                applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
                if applies and name not in lock.entries:
                    message = f"{entry.pin} needs {name}, which the lock does not have"
                    yield stale(Code.LOCK_INCOMPLETE, message, file=file, subject=name)
    wanted = {entry.name: entry for name in requirements.names() for entry in lock.closure(name)}
    for name, entry in sorted(wanted.items()):
        version = installed_version(name)
        if version is None and name in layered:
            message = f"{entry.pin} runs from a layer until this environment is built anew"
            yield note(Code.NOT_INSTALLED, message, subject=name)
        elif version is None:
            message = f"{entry.pin} is not installed here"
            advice = "install the requirements into this environment"
            yield warning(Code.NOT_INSTALLED, message, advice, subject=name)
        elif version != entry.version:
            message = f"{name} {version} is installed here, the lock says {entry.version}"
            advice = "install the locked version, or lock anew"
            yield warning(Code.VERSION_DIFFERS, message, advice, subject=name)

"""The requirements file checked: valid PEP 508, lockable, and not against itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from app.doctor.findings import Code, Finding, error, warning
from app.kinds.dependency.requirements import Kind, RequirementLine, read_requirements
from app.settings.errors import shown

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

#: Higher than every version that anybody has released.
BEYOND = "999999"


@dataclass(frozen=True, slots=True)
class Listed:
    """One requirement with its place."""

    line: RequirementLine
    requirement: Requirement

    @property
    def name(self) -> str:
        """The normalized distribution name."""
        return self.line.name


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a requirements file lists, and what is wrong with it."""

    listed: tuple[Listed, ...]
    lines: tuple[RequirementLine, ...]
    findings: tuple[Finding, ...]

    def named(self, distribution: str) -> tuple[RequirementLine, ...]:
        """The lines that ask for a distribution, whatever their markers say."""
        return tuple(line for line in self.lines if line.name == distribution)

    def names(self) -> frozenset[str]:
        """The distributions that it asks for here."""
        return frozenset(line.name for line in self.lines if line.name and line.applies)


def load(path: Path) -> Requirements:
    """Read and check a requirements file; raises nothing for what it holds."""
    text = read_requirements(path)
    faults = [
        error(Code.REQUIREMENTS_INVALID, fault.reason, file=fault.file, line=fault.line)
        for fault in text.faults
    ]
    listed: list[Listed] = []
    for line in text.lines:
        found = _parse(line)
        if isinstance(found, Finding):
            faults.append(found)
        elif found is not None:
            listed.append(Listed(line, found))
    findings = (*faults, *_conflicts(listed), *_not_lockable(text.lines))
    return Requirements(tuple(listed), text.lines, findings)


def allows(requirement: Requirement, version: str) -> bool:
    """Whether a version satisfies a requirement; a version that is none satisfies nothing."""
    from packaging.version import InvalidVersion

    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def parsed(text: str) -> Requirement | None:
    """A PEP 508 requirement, None when the text is none."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _parse(line: RequirementLine) -> Requirement | Finding | None:
    from packaging.requirements import InvalidRequirement, Requirement

    if line.kind is not Kind.REQUIREMENT:
        return None
    try:
        return Requirement(line.text)
    except InvalidRequirement as invalid:
        reason = str(invalid).splitlines()[0].rstrip(": ")
        return error(
            Code.REQUIREMENTS_INVALID,
            f"{shown(line.text)} is no requirement: {reason}",
            "write it as PEP 508 says, for example aiohttp>=3.8.0",
            file=line.file,
            line=line.line,
        )


def _not_lockable(lines: Iterable[RequirementLine]) -> Iterator[Finding]:
    """What no index serves under a hash cannot be locked, so no image may have it."""
    for line in lines:
        direct = line.kind is Kind.REQUIREMENT and "@" in line.text.partition(";")[0]
        if line.kind in {Kind.EDITABLE, Kind.URL} or direct:
            kind = "an editable requirement" if line.kind is Kind.EDITABLE else "a URL requirement"
            yield warning(
                Code.NOT_LOCKABLE,
                f"{kind} cannot be installed from the hashed lock",
                "publish it to an index and require it by name and version",
                file=line.file,
                line=line.line,
                subject=line.name,
            )


def _conflicts(listed: Iterable[Listed]) -> Iterator[Finding]:
    """Two requirements on one distribution that no version satisfies."""
    applying = [one for one in listed if one.line.applies]
    for first, second in combinations(applying, 2):
        if first.name == second.name and not _together(first, second):
            yield error(
                Code.REQUIREMENTS_CONFLICT,
                f"{second.requirement} contradicts {first.requirement}"
                f" of {first.line.file}:{first.line.line}",
                "keep one of them",
                file=second.line.file,
                line=second.line.line,
                subject=second.name,
            )


def _together(first: Listed, second: Listed) -> bool:
    both: SpecifierSet = first.requirement.specifier & second.requirement.specifier
    return any(both.contains(version, prereleases=True) for version in _around(both))


def _around(specifiers: SpecifierSet) -> Iterator[Version]:
    """Versions at, below and above every bound: if any version satisfies all, one of these does."""
    from packaging.version import Version

    yield Version(BEYOND)
    yield Version("0.dev0")
    for specifier in specifiers:
        base = specifier.version.removesuffix(".*")
        yield from (Version(base), Version(f"{Version(base).public}.post999999"))
        release = Version(base).release
        yield Version(".".join(map(str, (*release, 999999))))
        yield Version(".".join(map(str, release)) + ".dev0")

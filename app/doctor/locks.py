"""The lock against the requirements, the map, itself, every supported Python, and what is here."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.project import Project
from app.doctor.requirements import Requirements, allows, load, parsed
from app.kinds.dependency.lock import Lock
from app.kinds.dependency.markers import MarkerError, environment, holds
from app.kinds.dependency.on_disk import installed_version
from app.kinds.dependency.requirements import normalize, read_requirements, requirement_name
from app.settings.errors import LockError

#: The Pythons that the lock is made for, and the platforms that its markers may speak of.
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
PLATFORMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
LOCK_ADVICE = "run flask auto-fix lock"


def check(
    project: Project, requirements: Requirements, layered: frozenset[str]
) -> Iterator[Finding]:
    """Everything that the lock gets wrong; ``layered`` are distributions that layers hold."""
    yield from _python()
    if not project.lock_path.exists():
        message = "there is no lock, so nothing can be healed or built with checked hashes"
        yield _stale(Code.LOCK_MISSING, message, project.lock_path.name, 0, "")
        return
    try:
        lock = Lock.read(project.lock_path)
    except LockError as fault:
        yield _stale(Code.LOCK_INVALID, fault.reason, project.lock_path.name, fault.line, "")
        return
    optional = load(project.optional_path) if project.optional_path.exists() else None
    yield from _Pins(project, lock, requirements, optional).findings()
    yield from _split(project, requirements)
    yield from _incomplete(project, lock)
    yield from _installed(lock, requirements, layered)


@dataclass(frozen=True)
class _Pins:
    """The lock's pins against every list of requirements."""

    project: Project
    lock: Lock
    requirements: Requirements
    optional: Requirements | None

    def findings(self) -> Iterator[Finding]:
        for source in filter(None, (self.requirements, self.optional)):
            for listed in source.listed:
                if listed.line.applies:
                    text, line = str(listed.requirement), listed.line
                    yield from self._pinned(listed.name, text, line.file, line.line)
        yield from self._of_map()
        yield from self._unasked()

    def _pinned(self, name: str, text: str, file: str, line: int) -> Iterator[Finding]:
        entry, requirement = self.lock.entries.get(name), parsed(text)
        if entry is None:
            yield _stale(Code.LOCK_STALE, f"{name} is not in the lock", file, line, name)
        elif requirement is not None and not allows(requirement, entry.version):
            message = f"the lock has {entry.pin}, which {text} does not allow"
            yield _stale(Code.LOCK_STALE, message, file, line, name)

    def _of_map(self) -> Iterator[Finding]:
        """The map is code: what it approves must be listed, and alike."""
        for module, text in self.project.dependency_map.items():
            name = requirement_name(text)
            listed = self._listed(name)
            if not listed and module in self.project.required:
                message = f"the map requires {name}, which requirements-flask.txt does not list"
                yield error(
                    Code.MAP_DISAGREES,
                    message,
                    f"add to requirements-flask.txt: {text}",
                    file=self.project.requirements_path.name,
                    subject=name,
                    requirement=text,
                )
            elif not listed:
                yield from self._pinned(name, text, self.project.lock_path.name, 0)
            elif text not in listed:
                message = f"the map says {text}, the requirements say {', '.join(listed)}"
                advice = "make the map and the requirements say the same"
                yield warning(Code.MAP_DISAGREES, message, advice, subject=name)

    def _listed(self, name: str) -> list[str]:
        sources = filter(None, (self.requirements, self.optional))
        found = [one for source in sources for one in source.listed if one.name == name]
        bare = [f"{one.requirement.name}{one.requirement.specifier}" for one in found]
        unnamed = [line.text for line in self.requirements.named(name)]
        return bare or unnamed

    def _unasked(self) -> Iterator[Finding]:
        """What a requirement that is gone has left behind."""
        names = {requirement_name(text) for text in self.project.optional.values()}
        names |= self.requirements.names() | (self.optional.names() if self.optional else set())
        wanted = {entry.name for name in names for entry in self.lock.closure(name)}
        if unasked := sorted(self.lock.entries.keys() - wanted):
            message = f"the lock has what nothing asks for: {', '.join(unasked)}"
            yield warning(
                Code.LOCK_STALE,
                message,
                LOCK_ADVICE,
                file=self.project.lock_path.name,
                subject=unasked[0],
                relock=True,
            )


def _python() -> Iterator[Finding]:
    here = sys.version_info[:2]
    if here not in PYTHONS:
        lowest, highest = (".".join(map(str, version)) for version in (PYTHONS[0], PYTHONS[-1]))
        message = f"Python {here[0]}.{here[1]} is not one that the lock is made for"
        yield warning(Code.PYTHON_UNSUPPORTED, message, f"use Python {lowest} to {highest}")


def _split(project: Project, requirements: Requirements) -> Iterator[Finding]:
    """Each requirement has exactly one pin on each supported Python and platform."""
    pins: dict[str, list[str]] = {}
    for line in read_requirements(project.lock_path).lines:
        pins.setdefault(line.name, []).append(line.text)
    for listed in requirements.listed:
        texts = pins.get(listed.name, [])
        wrong = [
            f"Python {version} on {platform}"
            for (version, platform), variables in _environments().items()
            if _applies(listed.line.text, variables)
            and sum(_applies(text, variables) for text in texts) != 1
        ]
        if texts and wrong:
            message = f"the lock has no single pin of {listed.name} for {wrong[0]}"
            file = project.lock_path.name
            yield _stale(Code.LOCK_SPLIT, message, file, 0, listed.name)


def _environments() -> Mapping[tuple[str, str], Mapping[str, str]]:
    return {
        (f"{major}.{minor}", platform): {
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


def _applies(text: str, variables: Mapping[str, str]) -> bool:
    marker = text.partition(";")[2].strip()
    try:
        return not marker or holds(marker, variables)
    except MarkerError:
        return True


def _incomplete(project: Project, lock: Lock) -> Iterator[Finding]:
    """What a locked distribution says it needs, by the metadata of the same version here."""
    for entry in lock.entries.values():
        for name in _needs(entry.name, entry.version):
            if name not in lock.entries:
                message = f"{entry.pin} needs {name}, which the lock does not have"
                file = project.lock_path.name
                yield _stale(Code.LOCK_INCOMPLETE, message, file, 0, name)


def _needs(name: str, version: str) -> Iterable[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    if installed_version(name) != version:
        return
    for text in importlib.metadata.requires(name) or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield normalize(requirement.name)


def _installed(
    lock: Lock, requirements: Requirements, layered: frozenset[str]
) -> Iterator[Finding]:
    """This environment against the lock, as far as the requirements ask for it."""
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


def _stale(code: Code, message: str, file: str, line: int, subject: str) -> Finding:
    return error(code, message, LOCK_ADVICE, file=file, line=line, subject=subject, relock=True)

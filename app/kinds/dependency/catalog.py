"""What may be installed for a module, and exactly which files: the map joined with the lock."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from app.healing.kind import Outcome, Plan
from app.kinds.dependency.facts.names import known
from app.kinds.dependency.lock import Lock, LockedDistribution
from app.kinds.dependency.on_disk import bringing, installed_version, records_module
from app.kinds.dependency.requirements import (
    normalize,
    read_requirements,
    requirement_name,
    top_level,
)
from app.settings.errors import LockError

logger = logging.getLogger(__name__)

#: Without these nothing is served, so their absence makes the service unhealthy.
CRITICAL = frozenset({"flask"})


class InstallOutcome(StrEnum):
    """The outcomes of this kind alone. All were attempted but the last two, which were refused."""

    NOT_FOUND = "not_found"
    HASH_MISMATCH = "hash_mismatch"
    NO_WHEEL = "no_wheel"
    INVALID_WHEEL = "invalid_wheel"
    NETWORK = "network"
    TOO_LARGE = "too_large"
    INSTALLER_MISSING = "installer_missing"
    INSTALLER_FAILED = "installer_failed"
    REFUSED_WHEEL = "refused_wheel"
    UNMET_REQUIREMENT = "unmet_requirement"
    PROBE_FAILED = "probe_failed"
    CRASHED_PROBE = "crashed_probe"

    NOT_LOCKED = "not_locked"
    SET_ASIDE = "set_aside"


#: What an operator can do about each, and about those that every kind knows.
INSTALL_ADVICE: Mapping[str, str] = {
    Outcome.HEALED: "nothing to do now; add the requirement to requirements-flask.txt for good",
    Outcome.DEADLINE: "the install did not end within its deadline and was stopped",
    Outcome.INTERRUPTED: "the process that was installing was stopped before it ended",
    Outcome.NOT_APPROVED: "the module is not in the dependency map, so it is never installed",
    Outcome.NOT_FIXABLE: "installing a distribution would not mend this fault",
    Outcome.NEEDS_RESTART: "another version is installed already; rebuild the image and restart",
    Outcome.BUDGET: "the attempts for this module are used up; it is tried again after a pause",
    Outcome.BUSY: "another process is healing this module and has not ended yet",
    InstallOutcome.NOT_FOUND: "the index or wheelhouse does not have the locked version",
    InstallOutcome.HASH_MISMATCH: (
        "the index served other files than the lock names; none was installed"
    ),
    InstallOutcome.NO_WHEEL: (
        "there is no wheel of the locked version for this Python and platform"
    ),
    InstallOutcome.INVALID_WHEEL: (
        "the wheel is damaged or is not what its name says; none was installed"
    ),
    InstallOutcome.NETWORK: "the package index could not be reached or answered with an error",
    InstallOutcome.TOO_LARGE: "a download grew beyond the size limit and was stopped",
    InstallOutcome.INSTALLER_MISSING: "neither uv nor pip is available to this interpreter",
    InstallOutcome.INSTALLER_FAILED: "the installer failed; the log has its last lines",
    InstallOutcome.REFUSED_WHEEL: (
        "a wheel brings what is there already, or what Python runs at its start: see the log"
    ),
    InstallOutcome.UNMET_REQUIREMENT: (
        "what a package requires would not be here, or not in that version: the log says which;"
        " run make lock and build the image anew"
    ),
    InstallOutcome.PROBE_FAILED: "the installed wheels do not import; they are in quarantine",
    InstallOutcome.CRASHED_PROBE: (
        "importing the installed wheels crashed or hung; they are in quarantine"
    ),
    InstallOutcome.SET_ASIDE: (
        "what the lock names ended a process that imported it and is in quarantine: choose another"
        " version of it and run make lock"
    ),
    InstallOutcome.NOT_LOCKED: "the lock does not have it: run make lock and build the image anew",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A distribution that is here in another version than the lock names."""

    name: str
    installed: str
    locked: str

    def __str__(self) -> str:
        return f"{self.name} {self.installed} is installed, the lock names {self.locked}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan(Plan):
    """What a fix of ``module`` would install: the missing part of the locked closure.

    ``refusal`` is why that may not be done, as an outcome; None when it may.
    """

    module: str
    requirement: str
    missing: tuple[LockedDistribution, ...]
    conflicts: tuple[Conflict, ...]
    locked: bool
    refusal: str | None = None


def listed_distributions(requirements: Path, lock: Lock) -> frozenset[str]:
    """What a requirements file lists, or listed when it was locked.

    A line that got lost is how a package comes to be missing, and the lock is what remembers it.
    """
    lines = read_requirements(requirements).lines
    remembered = (e.name for e in lock.entries.values() if requirements.name in e.needed_by)
    return frozenset((*(line.name for line in lines if line.name), *remembered))


class Catalog:
    """The closed world: nothing outside ``dependency_map`` is ever installable."""

    def __init__(
        self,
        dependency_map: Mapping[str, str],
        lock_path: Path,
        *,
        wheelhouse: Path | None = None,
        allow_unlocked: bool = False,
    ) -> None:
        self.dependency_map = dependency_map
        self._lock_path = lock_path
        self._wheelhouse = wheelhouse
        self._allow_unlocked = allow_unlocked
        #: The modules whose fix has ended a process; of the locked version none is made again.
        self.set_aside: Callable[[], AbstractSet[str]] = frozenset

    @cached_property
    def lock(self) -> Lock:
        """The lock; an unreadable one is logged at ERROR and counts as empty, so nothing heals."""
        try:
            return Lock.read(self._lock_path)
        except LockError as error:
            fields = {"line": error.line, "reason": error.reason}
            logger.error("the lock cannot be used, nothing heals from it", extra={"fields": fields})  # noqa: TRY400
            return Lock({}, "unreadable")

    def requirement(self, module: str) -> str | None:
        """The approved requirement of a module's top-level name, None when it is not approved."""
        return self.dependency_map.get(top_level(module))

    def distribution(self, module: str) -> str | None:
        """The distribution that likely brings a module: the approved one, else one known to."""
        requirement = self.requirement(module)
        if requirement:
            return requirement_name(requirement)
        found = known(module)
        names = found.distributions if found else ()
        locked = (
            name for name in (*names, normalize(top_level(module))) if self.lock.version(name)
        )
        return next(locked, names[0] if names else None)

    def providers(self, module: str) -> tuple[str, ...]:
        """The installed distributions that bring a module, else the most likely one.

        Reads the metadata of all that is installed: good for explaining a fault, too slow for the
        way of every import.
        """
        top = top_level(module)
        found = bringing(top)
        within = tuple(name for name in found if records_module(name, module))
        likely = self.distribution(module) or (normalize(top) if installed_version(top) else None)
        return within or found or ((likely,) if likely else ())

    def basis(self) -> str:
        """What failures count for: the lock, and what the wheelhouse holds.

        A wheel that came, went or changed its size begins the budget anew; a time stamp does not.
        """
        if self._wheelhouse is None:
            return self.lock.digest
        try:
            wheels = [(path.name, path.stat().st_size) for path in self._wheelhouse.glob("*.whl")]
        except OSError:
            wheels = []
        return _digest(self.lock.digest, sorted(wheels))

    def plan(self, module: str, broken: Iterable[str] = ()) -> InstallPlan | None:
        """What a fix of ``module`` would install; None when the module is not approved.

        Distributions named in ``broken`` count as missing although their metadata is here.
        """
        requirement = self.requirement(module)
        if requirement is None:
            return None
        closure = self.lock.closure(requirement_name(requirement))
        damaged = {normalize(name) for name in broken}
        missing, others = [], []
        for entry in closure:
            version = installed_version(entry.name)
            if version is not None and version != entry.version:
                others.append(Conflict(entry.name, version, entry.version))
            elif version is None or entry.name in damaged:
                missing.append(entry)
        # What nothing of the missing part needs may stay as it is.
        needed = {part.name for entry in missing for part in self.lock.closure(entry.name)}
        conflicts = [one for one in others if not missing or one.name in needed]
        refusal: str | None = None
        if not closure:
            refusal = None if self._allow_unlocked else InstallOutcome.NOT_LOCKED
        elif conflicts:
            refusal = Outcome.NEEDS_RESTART
        elif not missing:
            refusal = Outcome.NOT_FIXABLE
        elif top_level(module) in self.set_aside():
            refusal = InstallOutcome.SET_ASIDE
        pins = tuple(entry.pin for entry in missing) if closure else (requirement,)
        return InstallPlan(
            steps=tuple(f"install {pin}" for pin in pins),
            digest=_digest(self.basis(), pins, [entry.hashes for entry in missing]),
            module=top_level(module),
            requirement=requirement,
            missing=tuple(missing),
            conflicts=tuple(conflicts),
            locked=bool(closure),
            refusal=refusal,
        )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

"""Drift: what runs only because it was healed, as requirement lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.healing.report import AppliedFix
from app.kinds.dependency.requirements import read_requirements, requirement_name


@dataclass(frozen=True, slots=True)
class Drifted:
    """One fix that is in force.

    ``listed`` says that the requirements name it already, so that the next image has it by itself.
    """

    fix: AppliedFix
    listed: bool

    @property
    def line(self) -> str:
        """The requirement line that makes the fix permanent."""
        return self.fix.requirement

    def to_dict(self) -> dict[str, object]:
        """The item as JSON shows it."""
        return {**self.fix.to_dict(), "listed": self.listed}


def drift(fixes: Iterable[AppliedFix], requirements: Path) -> tuple[Drifted, ...]:
    """What the fixes add to a requirements file; one that cannot be read lists nothing."""
    listed = read_requirements(requirements).names()
    return tuple(Drifted(fix, requirement_name(fix.requirement) in listed) for fix in fixes)


def requirements_beside(lock: Path) -> Path:
    """The requirements file that a lock belongs to: the same name, ``.txt``."""
    return lock.with_suffix(".txt")

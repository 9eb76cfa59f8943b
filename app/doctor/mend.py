"""Mending what was found: requirements added, optional ones moved, the locks made anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from app.doctor.edit import Change, with_requirements, without_requirements, write_all
from app.doctor.findings import Finding
from app.doctor.locking import compile_locks
from app.doctor.project import Project
from app.kinds.dependency.requirements import requirement_name


def mend(
    project: Project, lines: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Change, ...]:
    """Add requirement lines (requirement to comment) and make the locks that follow from them.

    All files are written, or none is. Without lines only the locks are made anew.

    Raises:
        CommandError: when that cannot be done; every file is as it was.
    """
    edits = _edits(project, lines)
    relative = {change.path.name: change.after for change in edits}
    locks = compile_locks(project.root, environ, edits=relative)
    changes = tuple(change for change in (*edits, *locks) if change.changes)
    write_all(changes)
    return changes


def lines_of(findings: Iterable[Finding]) -> dict[str, str]:
    """The requirement lines that findings ask for, each with the place that needs it."""
    wanted: dict[str, str] = {}
    for found in findings:
        if found.requirement is not None:
            wanted.setdefault(found.requirement, f"needed by {found.file}")
    return wanted


def _edits(project: Project, lines: Mapping[str, str]) -> list[Change]:
    if not lines:
        return []
    changes = [with_requirements(project.requirements_path, lines)]
    if project.optional_path.exists():
        names = [requirement_name(line) for line in lines]
        changes.append(without_requirements(project.optional_path, names))
    return changes


def diff(changes: Iterable[Change], *, locks: bool = False) -> str:
    """The changes as one diff; a lock's, which nobody reads, only where asked for."""
    return "".join(c.diff() for c in changes if locks or Path(c.path).suffix != ".lock")

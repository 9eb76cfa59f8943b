"""``doctor`` and ``drift``: what would fail in production, and making what was healed permanent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from app.cli.command import (
    DRIFT,
    OK,
    WRONG,
    Output,
    command,
    environment,
    reading_engine,
    require_memory,
    settings,
)
from app.doctor.findings import Finding, Severity, fails
from app.doctor.project import Project
from app.healing.home import can_be_written
from app.kinds.environment import variables
from app.locking.edit import Change, diff
from app.locking.locks import mend
from app.settings.declarations import PROJECT_ROOT

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
#: What the examination takes at its peak beside this process, and with uv, which asks the index.
EXAMINATION_MEGABYTES, INSTALLER_MEGABYTES = 40, 100


def counts(found: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity."""
    counted = Counter(finding.severity for finding in found)
    return {str(severity): counted[severity] for severity in Severity}


def show_findings(output: Output, found: Sequence[Finding]) -> None:
    """Print findings for people, and below them how many there are."""
    for finding in found:
        place = f" {finding.place}" if finding.place else ""
        heading = f"{finding.severity} {finding.code}{place}"
        output.line(heading, colour=COLOURS[finding.severity], bold=True)
        output.line(f"    {finding.message}")
        if finding.chain:
            output.line(f"    reached from {' > '.join(finding.chain)}")
        if finding.advice:
            output.line(f"    {finding.advice}")
    if found:
        numbers = counts(found).items()
        summary = ", ".join(f"{number} {one}{'s' * (number != 1)}" for one, number in numbers)
        bad = {finding.severity for finding in found} & {Severity.ERROR, Severity.WARNING}
        output.line(summary, colour=COLOURS[min(bad)] if bad else "green")


@command(
    "doctor",
    codes="Exits with 1 when there are errors; with --strict also when there are warnings.",
)
@click.argument("path", required=False, type=DIRECTORY)
@click.option("--fix", is_flag=True, help="Mend what can be mended, and show the changes.")
@click.option("--strict", is_flag=True, help="Warnings fail too; this is the image's build step.")
@click.option("--offline", is_flag=True, help="Do not ask the index.")
def doctor(output: Output, *, path: Path | None, fix: bool, strict: bool, offline: bool) -> int:
    """Find everything that would fail in production.

    Examines code, requirements, lock, blueprints, settings and surroundings of this project, or of
    the one in PATH; of one without a manifest, the code and the requirements. Starts nothing of the
    service and, without --fix, changes nothing.
    """
    from app.doctor.examination import Examination

    root = (path or PROJECT_ROOT).resolve()
    # A project keeps what it has read of its files.
    project = Project.at(root)
    if fix and not project.managed:
        raise click.UsageError(f"--fix mends by the manifest, and there is none in {root}")
    require_memory(EXAMINATION_MEGABYTES if offline and not fix else INSTALLER_MEGABYTES)
    changes: tuple[Change, ...] = ()
    with output.working("examining"):
        examination = Examination(project=project, environ=environment(), online=not offline)
        found = examination.run(output.progress)
        if fix and any(finding.fixable for finding in found):
            lines: dict[str, str] = {}
            for finding in found:
                if finding.requirement is not None:
                    lines.setdefault(finding.requirement, f"needed by {finding.file}")
            tables = {
                f"{variables.TABLE}.{finding.declares}": variables.proposed(
                    finding.declares, finding.file
                )
                for finding in found
                if finding.declares is not None
            }
            relock = any(finding.relock or finding.requirement for finding in found)
            path = project.requirements_path
            changes = mend(root, path, lines, os.environ, relock=relock, tables=tables)
        if changes:
            output.progress("examining again")
            fresh = Project.at(root)
            found = Examination(project=fresh, environ=environment(), online=not offline).run()
    failed, names = fails(found, strict=strict), [change.path.name for change in changes]
    output.document(
        {
            "ok": not failed,
            "root": str(root),
            "findings": [finding.to_dict() for finding in found],
            "counts": counts(found),
            "changed": names,
            "diff": diff(changes),
        }
    )
    if changes:
        output.line(diff(changes).rstrip())
        output.line(f"changed: {', '.join(names)}")
        output.line()
    show_findings(output, found)
    if not found:
        output.line("nothing would fail: no findings", colour="green")
    output.line(f"examined: {root}")
    return WRONG if failed else OK


@command(
    "drift", codes="Exits with 3 when there is drift that the requirements do not list, for CI."
)
@click.option("--write", is_flag=True, help="Add the lines, and make the locks anew.")
@click.option("--no-lock", is_flag=True, help="With --write: leave the locks as they are.")
def drift(output: Output, *, write: bool, no_lock: bool) -> int:
    """The lines that make what was healed permanent."""
    fixer = reading_engine()
    fixes = fixer.fixes()
    fresh = [fix.requirement for fix in fixes if not fix.listed]
    changes: tuple[Change, ...] = ()
    lines = {fix.requirement for fix in fixes if fix.kind == fixer.dependency.name} & {*fresh}
    if write and lines:
        why = f"was healed at run time; added on {datetime.now(UTC).date().isoformat()}"
        path = settings().lock.with_suffix(".txt")
        with output.working("adding the requirements" if no_lock else "making the locks anew"):
            added = dict.fromkeys(sorted(lines), why)
            changes = mend(PROJECT_ROOT, path, added, os.environ, relock=not no_lock)
    written = write and bool(lines)
    body = {
        "drift": bool(fresh) and not written,
        "requirements": fresh,
        "items": [fix.to_dict() for fix in fixes],
        "written": written,
    }
    output.document({**body, "diff": diff(changes)} if written else body)
    if written:
        output.line(diff(changes).rstrip())
        output.line(f"written: {', '.join(change.path.name for change in changes)}")
        return OK
    for line in fresh:
        output.line(line)
    # What explains the lines, which are for a file, goes beside them.
    remarks = [
        f"{fix.subject} is listed already and runs from a layer until a new image"
        for fix in fixes
        if fix.listed
    ]
    if fresh:
        can_write = can_be_written(settings().lock.parent)
        other = ", or run: auto-fix drift --write" if can_write else " and build the image anew"
        remarks.append(f"add these to requirements-flask.txt{other}")
    for remark in () if output.as_json else remarks if fixes else ("no drift",):
        click.echo(f"# {remark}", err=True)
    return DRIFT if fresh else OK

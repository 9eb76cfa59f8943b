"""``doctor``: everything that would fail in production, found before it does."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import click

from app.cli import engines
from app.cli.command import OK, WRONG, command
from app.cli.output import Output
from app.doctor.edit import Change
from app.doctor.examination import Examination
from app.doctor.findings import Finding, Severity, fails
from app.doctor.mend import diff, lines_of, mend
from app.doctor.project import Project

COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
CODES = "Exits with 1 when there are errors; with --strict also when there are warnings."


@command("doctor", codes=CODES)
@click.option("--fix", is_flag=True, help="Mend what can be mended, and show the changes.")
@click.option("--strict", is_flag=True, help="Warnings fail too; this is the image's build step.")
@click.option("--offline", is_flag=True, help="Do not ask the index.")
def doctor(output: Output, *, fix: bool, strict: bool, offline: bool) -> int:
    """Examine code, requirements, lock, blueprints, settings and surroundings.

    Starts nothing of the service and, without --fix, changes nothing.
    """
    examination = Examination(project=Project(), environ=engines.environment(), online=not offline)
    with output.working("examining"):
        found = examination.run(output.progress)
        changes = _mend(examination.project, found) if fix else ()
        if changes:
            output.progress("examining again")
            again = Examination(
                project=Project(), environ=engines.environment(), online=not offline
            )
            found = again.run()
    _print(output, found, changes, strict=strict)
    return WRONG if fails(found, strict=strict) else OK


def _mend(project: Project, found: Sequence[Finding]) -> tuple[Change, ...]:
    if not any(finding.fixable for finding in found):
        return ()
    return mend(project, lines_of(found), os.environ)


def _print(
    output: Output, found: Sequence[Finding], changes: Sequence[Change], *, strict: bool
) -> None:
    counts = Counter(finding.severity for finding in found)
    output.document(
        {
            "ok": not fails(found, strict=strict),
            "findings": [finding.to_dict() for finding in found],
            "counts": {str(severity): counts[severity] for severity in Severity},
            "changed": [change.path.name for change in changes],
            "diff": diff(changes),
        }
    )
    if changes:
        output.line(diff(changes).rstrip())
        output.line(f"changed: {', '.join(change.path.name for change in changes)}")
        output.line()
    for finding in found:
        _print_finding(output, finding)
    told = ", ".join(_counted(counts[severity], severity) for severity in Severity)
    output.line(told if found else "nothing would fail: no findings", colour=_colour(counts))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _colour(counts: Counter[Severity]) -> str:
    worst = next((severity for severity in Severity if counts[severity]), None)
    return COLOURS[worst] if worst in {Severity.ERROR, Severity.WARNING} else "green"


def _print_finding(output: Output, finding: Finding) -> None:
    place = f" {finding.place}" if finding.place else ""
    heading = f"{finding.severity} {finding.code}{place}"
    output.line(heading, colour=COLOURS[finding.severity], bold=True)
    output.line(f"    {finding.message}")
    if finding.chain:
        output.line(f"    reached from {' > '.join(finding.chain)}")
    if finding.advice:
        output.line(f"    {finding.advice}")

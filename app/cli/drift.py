"""``drift``: what runs only because it was healed, and making it permanent."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from app.cli import engines
from app.cli.command import DRIFT, OK, command
from app.cli.output import Output
from app.doctor.edit import with_requirements, write_all
from app.doctor.mend import diff, mend
from app.doctor.project import Project
from app.healing.kind import Fix

CODES = "Exits with 3 when there is drift that the requirements do not list, for CI."


@command("drift", codes=CODES)
@click.option("--write", is_flag=True, help="Add the lines, and make the locks anew.")
@click.option("--no-lock", is_flag=True, help="With --write: leave the locks as they are.")
def drift(output: Output, *, write: bool, no_lock: bool) -> int:
    """The requirement lines that make what was healed permanent, one a line."""
    fixer = engines.reading()
    found = fixer.fixes()
    fresh = [item for item in found if not item.listed]
    if write and fresh:
        return _write(output, found, fresh, relock=not no_lock)
    output.document(_body(found, written=False))
    for item in fresh:
        output.line(item.requirement)
    if not output.as_json:
        _explain(found, fresh)
    return DRIFT if fresh else OK


def _explain(found: tuple[Fix, ...], fresh: list[Fix]) -> None:
    """Beside the lines, which are for a file."""
    for item in found:
        if item.listed:
            text = f"{item.subject} is listed already and runs from a layer until a new image"
            click.echo(f"# {text}", err=True)
    if not found:
        click.echo("# no drift", err=True)
    elif fresh:
        click.echo("# add these to requirements-flask.txt, or run: drift --write", err=True)


def _write(output: Output, found: tuple[Fix, ...], fresh: list[Fix], *, relock: bool) -> int:
    today = datetime.now(UTC).date().isoformat()
    lines = {item.requirement: f"was healed at run time; added on {today}" for item in fresh}
    project = Project(lock_path=engines.settings().lock)
    with output.working("making the locks anew" if relock else "adding the requirements"):
        if relock:
            changes = mend(project, lines, os.environ)
        else:
            changes = (with_requirements(project.requirements_path, lines),)
            write_all(changes)
    output.document({**_body(found, written=True), "diff": diff(changes)})
    output.line(diff(changes).rstrip())
    output.line(f"written: {', '.join(change.path.name for change in changes)}")
    return OK


def _body(found: tuple[Fix, ...], *, written: bool) -> dict[str, object]:
    return {
        "drift": any(not item.listed for item in found) and not written,
        "requirements": [item.requirement for item in found if not item.listed],
        "items": [item.to_dict() for item in found],
        "written": written,
    }

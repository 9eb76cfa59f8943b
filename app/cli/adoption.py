"""``adopt``: have modules served that were written for another application."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from app.adoption.proposal import propose
from app.adoption.sources import ROOM
from app.cli.command import OK, WRONG, Output, command
from app.cli.doctor import counts, show_findings
from app.doctor.findings import fails
from app.doctor.project import Project
from app.locking.edit import diff, write_all
from app.web.json_bodies import members

MODULES = click.Path(exists=True, readable=False, path_type=Path)


@command("adopt", codes="Exits with 1 when there are errors; --write writes all the same.")
@click.argument("paths", nargs=-1, required=True, type=MODULES, metavar="PATH...")
@click.option("--write", is_flag=True, help="Write what is proposed: all of it or nothing.")
def adopt(output: Output, *, paths: Sequence[Path], write: bool) -> int:
    """Propose what existing modules need to be served.

    Reads modules, or directories of them, and runs none: their blueprints, packages and variables,
    and what of them will hurt. What lies outside the project is copied into its blueprints/.
    """
    project = Project()
    with output.working("reading"):
        found = propose(project, paths)
    changes = [change for change in found.changes if change.changes]
    if write:
        write_all(changes)
    room = project.root / ROOM
    copied = [change.path for change in changes if change.path.is_relative_to(room)]
    edits = diff(change for change in changes if change.path not in copied)
    files = [str(change.path.relative_to(project.root)) for change in changes]
    failed = fails(found.findings, strict=False)
    output.document(
        {
            "ok": not failed,
            "modules": found.modules,
            "blueprints": [members(one) for one in found.blueprints],
            "packages": found.packages,
            "variables": [members(one) for one in found.variables],
            "findings": [finding.to_dict() for finding in found.findings],
            "counts": counts(found.findings),
            "files": files,
            "written": write and bool(changes),
            "diff": edits,
        }
    )
    if found.blueprints:
        shown = ("name", "import_path", "prefix", "packages", "environment")
        output.table(shown, map(members, found.blueprints))
        output.line()
    if found.variables:
        output.table(("name", "required", "declared", "place"), map(members, found.variables))
        output.line()
    show_findings(output, found.findings)
    if not changes:
        output.line("nothing to propose: the manifest has every blueprint that was found")
        return WRONG if failed else OK
    for path in copied:
        output.line(f"new file {path.relative_to(project.root)}")
    output.line(edits.rstrip())
    if not write:
        output.line("nothing was written; --write does it")
        return WRONG if failed else OK
    output.line(f"written: {', '.join(files)}")
    if found.packages:
        output.line("then lock what was added: auto-fix lock")
    return WRONG if failed else OK

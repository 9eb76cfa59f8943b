"""``lock``, ``audit`` and ``wheelhouse``: the lock, made, questioned and carried elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from app.cli import engines
from app.cli.command import OK, WRONG, command
from app.cli.output import Output
from app.doctor.edit import Change, write_all
from app.doctor.locking import LockDifference, LockOptions, check_locks, compile_locks
from app.doctor.project import Project


@command("lock", codes="Exits with 1 when --check finds a difference.")
@click.option("--check", is_flag=True, help="Say whether the locks are up to date; write nothing.")
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit.")
@click.option("--exclude-newer", metavar="DATE", help="Ignore what was uploaded after this day.")
def lock(output: Output, *, check: bool, upgrade: bool, exclude_newer: str | None) -> int:
    """Lock the requirements and the map with hashes, for every Python and platform."""
    options = LockOptions(upgrade=upgrade, exclude_newer=exclude_newer)
    root = Project().root
    if check:
        with output.working("resolving the requirements"):
            differences = check_locks(root, os.environ, options)
        return _checked(output, differences)
    with output.working("resolving the requirements"):
        changes = compile_locks(root, os.environ, options)
        write_all(changes)
    _written(output, [change for change in changes if change.changes])
    return OK


def _checked(output: Output, differences: Sequence[LockDifference]) -> int:
    output.document({"ok": not differences, "differences": [d.to_dict() for d in differences]})
    for one in differences:
        output.line(f"{one.file}: {one.subject} {one.reason}", colour="red")
    if not differences:
        output.line("the locks are up to date", colour="green")
    return WRONG if differences else OK


def _written(output: Output, changes: Sequence[Change]) -> None:
    pins = {change.path.name: change.pins() for change in changes}
    output.document({"written": list(pins), "changes": pins})
    for file, changed in pins.items():
        output.line(f"{file}: written")
        for pin in changed:
            output.line(f"  {pin}")
    if not changes:
        output.line("the locks are up to date", colour="green")


@command("audit", codes="Exits with 1 when a locked version has a known vulnerability.")
@click.option("--osv-url", metavar="URL", help="Ask this OSV service in place of the index.")
def audit(output: Output, *, osv_url: str | None) -> int:
    """Look up known vulnerabilities of what the lock names, through pip-audit."""
    from app.doctor.audit import audit as look_up

    with output.working("looking the lock up"):
        found = look_up(engines.settings().lock, os.environ, osv_url)
    output.document(
        {
            "ok": not found.vulnerabilities,
            "audited": list(found.audited),
            "skipped": list(found.skipped),
            "vulnerabilities": [one.to_dict() for one in found.vulnerabilities],
        }
    )
    rows = [
        (one.distribution, one.version, one.id, ", ".join(one.fixed_in))
        for one in found.vulnerabilities
    ]
    if rows:
        output.table(("distribution", "version", "vulnerability", "fixed in"), rows)
    output.line(f"{len(found.audited)} audited, {len(rows)} vulnerabilities")
    if found.skipped:
        output.line(f"nobody could tell about: {', '.join(found.skipped)}", colour="yellow")
    return WRONG if rows else OK


@command("wheelhouse")
@click.argument("directory", type=click.Path(path_type=Path))
def wheelhouse(output: Output, directory: Path) -> int:
    """Download the lock's wheels for this Python and platform, verified.

    A host without a network heals from DIRECTORY with AUTO_FIX_WHEELHOUSE.
    """
    from app.doctor.wheelhouse import fill

    with output.working("downloading wheels"):
        filled = fill(engines.settings().lock, directory.absolute(), os.environ)
    output.document({"directory": str(directory), **filled.to_dict()})
    output.line(f"{len(filled.added)} added, {len(filled.kept)} were here")
    for name in filled.strangers:
        output.line(f"not in the lock: {name}", colour="yellow")
    return OK

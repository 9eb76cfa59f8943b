"""``lock``, ``audit`` and ``wheelhouse``: the lock, made, looked up and carried elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.command import OK, WRONG, Output, command, require_memory, settings
from app.locking.edit import write_all
from app.locking.locks import LockOptions, check_locks, compile_locks
from app.settings.declarations import PROJECT_ROOT
from app.web.json_bodies import members

#: What the programs take at their peak that these commands run.
UV_MEGABYTES, PIP_MEGABYTES = 130, 90
UP_TO_DATE = "the locks are up to date"


@command("lock", codes="Exits with 1 when --check finds a difference.")
@click.option("--check", is_flag=True, help="Say whether the locks are up to date; write nothing.")
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit.")
@click.option("--exclude-newer", metavar="DATE", help="Ignore what was uploaded after this day.")
def lock(output: Output, *, check: bool, upgrade: bool, exclude_newer: str | None) -> int:
    """Lock requirements and map with hashes.

    One lock serves every supported Python and platform.
    """
    require_memory(UV_MEGABYTES)
    options = LockOptions(upgrade=upgrade, exclude_newer=exclude_newer)
    if check:
        with output.working("resolving the requirements"):
            differences = check_locks(PROJECT_ROOT, os.environ, options)
        output.document({"ok": not differences, "differences": differences})
        for one in differences:
            output.line(f"{one.file}: {one.subject} {one.reason}", colour="red")
        if not differences:
            output.line(UP_TO_DATE, colour="green")
        return WRONG if differences else OK
    with output.working("resolving the requirements"):
        changes = compile_locks(PROJECT_ROOT, os.environ, options)
        write_all(changes)
    pins = {change.path.name: change.pins() for change in changes if change.changes}
    output.document({"written": list(pins), "changes": pins})
    for file, changed in pins.items():
        output.line(f"{file}: written")
        for pin in changed:
            output.line(f"  {pin}")
    if not pins:
        output.line(UP_TO_DATE, colour="green")
    return OK


@command("audit", codes="Exits with 1 when a locked version has a known vulnerability.")
@click.option("--osv-url", metavar="URL", help="Ask this OSV service in place of the index.")
def audit(output: Output, *, osv_url: str | None) -> int:
    """Look up known vulnerabilities of the lock, through pip-audit."""
    from app.locking.wheels import audit as look_up

    require_memory(PIP_MEGABYTES)
    with output.working("looking the lock up"):
        found = look_up(settings().lock, os.environ, osv_url)
    output.document({"ok": not found.vulnerabilities, **members(found)})
    if found.vulnerabilities:
        output.table(
            ("distribution", "version", "id", "fixed_in"), map(members, found.vulnerabilities)
        )
    output.line(f"{len(found.audited)} audited, {len(found.vulnerabilities)} vulnerabilities")
    if found.skipped:
        output.line(f"unknown to the service: {', '.join(found.skipped)}", colour="yellow")
    return WRONG if found.vulnerabilities else OK


@command("wheelhouse")
@click.argument("directory", type=click.Path(path_type=Path))
def wheelhouse(output: Output, directory: Path) -> int:
    """Download the lock's wheels for this machine, verified.

    A host without a network heals from DIRECTORY with AUTO_FIX_WHEELHOUSE.
    """
    from app.locking.wheels import fill

    require_memory(PIP_MEGABYTES)
    with output.working("downloading wheels"):
        filled = fill(settings().lock, directory.absolute(), os.environ)
    output.document({"directory": str(directory), **members(filled)})
    output.line(f"{len(filled.added)} added, {len(filled.kept)} were here")
    for name in filled.strangers:
        output.line(f"not in the lock: {name}", colour="yellow")
    return OK

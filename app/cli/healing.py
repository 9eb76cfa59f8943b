"""``test-import``, ``fix``, ``reset`` and ``layers``: one subject at a time."""

from __future__ import annotations

import os
import sys

import click

from app.cli.command import OK, USAGE, WRONG, Output, command, healing_engine, reading_engine
from app.healing.engine import UnknownFault
from app.healing.home import can_be_written
from app.healing.kind import Fault, Outcome, Plan, Repair
from app.kinds.dependency.imports import ImportReport
from app.kinds.dependency.layers import Layer
from app.kinds.dependency.requirements import check_module_name, top_level
from app.locking.wheels import verify as verify_layer
from app.routes.bodies.auto_fix import Import, imported
from app.settings.errors import BadFile, CannotWrite, CommandError
from app.utils.auto_fix import AutoFixer
from app.web.json_bodies import members


class UnknownSubject(CommandError):
    """There is nothing of that name that could be healed."""

    code = "unknown_subject"
    exit_code = USAGE


@command("test-import", codes="Exits with 1 when the module cannot be imported.")
@click.argument("module")
def test_import(output: Output, module: str) -> int:
    """Whether a module can be imported; heals nothing.

    Runs no code but that of an approved package: any other module is looked up.
    """
    fixer = reading_engine()
    fixer.adopt()
    report = fixer.examine(module, approved=True)
    output.document(imported(Import, report, details=True))
    if report.success:
        output.line(f"{module} can be imported", colour="green")
    elif report.available and report.diagnosis is None:
        output.line(f"{module} is installed; it is no approved package, so it was not imported")
    else:
        output.line(f"{module} cannot be imported", colour="red")
    _print_wrong(output, report.diagnosis)
    return OK if report.success else WRONG


@command("fix", codes="Exits with 1 when it is not mended afterwards.")
@click.argument("subject", metavar="[KIND:]SUBJECT")
@click.option("--yes", is_flag=True, help="Make the correction that is shown without asking.")
@click.option("--confirm", "end", flag_value="keep", help="Keep the last correction.")
@click.option("--undo", "end", flag_value="undo", help="Take the last correction back.")
def fix(output: Output, subject: str, *, yes: bool, end: str | None) -> int:
    """Heal one subject now, as mode, approval and budget allow."""
    fixer = healing_engine()
    kind, name = fixer.named(subject)
    fixer.settle(healthy=None)
    fixer.adopt()
    if end is not None:
        return _end_fix(output, fixer, kind, name, keep=end == "keep")
    report: ImportReport | None = None
    fault = _fault(fixer, kind, name) if kind != fixer.dependency.name else None
    plan = fault.plan if fault is not None and fault.plan and fault.plan.on_request else None
    digest = plan.digest if plan is not None and _is_approved(output, plan, yes=yes) else None
    with output.working(f"healing {subject}"):
        if kind == fixer.dependency.name:
            report = fixer.fix(name)
            unfixable = report.diagnosis.refusal if report.diagnosis else None
            nothing_tried = "already_available" if report.success else unfixable
            repair = report.result or Repair(outcome=nothing_tried or Outcome.NOT_FIXABLE)
        else:
            repair = fixer.fix_fault(kind, name, digest, _caller())
    mended = report.success if report is not None else repair.healed
    advice = None if mended else repair.advice or fixer.advice(kind, repair.outcome)
    output.document(
        {
            **(members(imported(Import, report, details=True)) if report is not None else {}),
            "kind": kind,
            "subject": name,
            "healed": mended and repair.healed,
            "outcome": repair.outcome,
            "mode_reason": fixer.mode_reason,
            "advice": advice,
            "steps": list(plan.steps) if plan is not None else [],
            "installed": list(repair.installed),
            "retry_after": round(repair.retry_after, 1),
        }
    )
    output.line(f"{subject}: {repair.outcome}", colour="green" if mended else "red")
    own = fault if plan is None and not mended else None
    _print_wrong(output, report.diagnosis if report is not None else own)
    if not mended:
        reason = f" ({fixer.mode_reason})" if fixer.mode_reason else ""
        output.line(f"  {repair.outcome}{reason}: {advice}")
        if plan is not None and digest is None:
            output.line(f"  make it: auto-fix fix {subject} --yes")
        if repair.retry_after > 0:
            wait = f"{repair.retry_after:.0f} s"
            output.line(f"  again in {wait}, or after: auto-fix reset {subject}")
        if repair.detail:
            output.line(f"  {repair.detail}")
    elif digest is not None:
        output.line(f"  {repair.advice}")
        output.line(f"  keep it: auto-fix fix {subject} --confirm; take it back: --undo")
    elif repair.healed:
        can_write = can_be_written(fixer.settings.lock.parent)
        how = "" if can_write else ", its lines in requirements-flask.txt, and a new image"
        output.line(f"make it permanent: auto-fix drift{' --write' if can_write else how}")
    return OK if mended else WRONG


def _fault(fixer: AutoFixer, kind: str, name: str) -> Fault:
    try:
        return fixer.fault(kind, name)
    except UnknownFault as error:
        known = name in fixer.kinds[kind].subjects()
        message = "nothing is wrong with" if known else "no fault is known of"
        raise UnknownSubject(f"{message} {kind}:{name}") from error


def _is_approved(output: Output, plan: Plan, *, yes: bool) -> bool:
    """Show what would be done, and ask whether it is to be."""
    for step in plan.steps:
        colour = {"+": "green", "-": "red"}.get(step[0])
        output.line(step, colour=colour)
    asks = not output.as_json and sys.stdin.isatty()
    return yes or (asks and click.confirm("Make this correction?"))


def _end_fix(output: Output, fixer: AutoFixer, kind: str, name: str, *, keep: bool) -> int:
    """Keep what a fix on request has changed, or take it back."""
    try:
        outcome = fixer.confirm(kind, name, _caller(), keep=keep)
    except OSError as error:
        raise CannotWrite(f"the fix cannot be ended ({error.strerror})") from error
    output.document({"kind": kind, "subject": name, "outcome": outcome})
    output.line(f"{kind}:{name}: {outcome}")
    return OK


def _caller() -> str:
    """Who asks for a fix, and may end it."""
    return f"user {os.getuid()}"


def _print_wrong(output: Output, wrong: Fault | None) -> None:
    if wrong is not None:
        output.line(f"  {wrong.cause}: {wrong.advice}")


@command("reset")
@click.argument("subject", metavar="[KIND:]SUBJECT")
def reset(output: Output, subject: str) -> int:
    """Give a subject its whole budget back."""
    fixer = healing_engine()
    kind, name = fixer.named(subject)
    if kind == fixer.dependency.name:
        check_module_name(name)
        name = top_level(name)
        if name not in fixer.dependency_map:
            raise UnknownSubject(f"{name} is not in the dependency map, so it has no budget")
    elif name not in fixer.kinds[kind].subjects():
        raise UnknownSubject(f"{kind} knows no {name}, so it has no budget")
    fixer.prepare()
    if not fixer.reset_budget(kind, name):
        raise CannotWrite("the journal in AUTO_FIX_HOME cannot be written")
    left = fixer.budget_of(kind, name).attempts_left
    output.document({"kind": kind, "subject": name, "reset": True, "attempts_left": left})
    output.line(f"{subject}: {left} attempts left")
    return OK


# -- layers ----------------------------------------------------------------------------------


@click.group("layers", invoke_without_command=True, short_help="The fixes in force, as files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_context
def layers(ctx: click.Context, *, as_json: bool) -> None:
    """The fixes in force, as files; without a subcommand, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_layers, as_json=as_json)


@command("list")
def list_layers(output: Output) -> int:
    """Every layer that this interpreter and lock load."""
    found = reading_engine().layers.committed()
    output.document([_layer_body(layer) for layer in found])
    output.table(("module", "at", "installed", "attempt"), map(_layer_body, found))
    return OK


@command("verify", codes="Exits with 1 when a file of a layer is not as it was installed.")
@click.argument("module", required=False)
def verify(output: Output, module: str | None) -> int:
    """Compare every file with the hash recorded at its heal."""
    fixer = reading_engine()
    flaws = {
        layer: verify_layer(layer, fixer.layers.site(layer)) for layer in _chosen(fixer, module)
    }
    output.document(
        [{**_layer_body(one), "ok": not found, "flaws": found} for one, found in flaws.items()]
    )
    for layer, found in flaws.items():
        output.line(f"{layer.subject}: {'changed' if found else 'as installed'}")
        for flaw in found:
            output.line(f"  {flaw.file}: {flaw.reason}", colour="red")
    return WRONG if any(flaws.values()) else OK


@command("remove")
@click.argument("module")
def remove(output: Output, module: str) -> int:
    """Undo a fix: remove its layer.

    Running workers that have it loaded go on with it until they end.
    """
    fixer = reading_engine()
    chosen = _chosen(fixer, module)
    try:
        removed = fixer.layers.remove(module)
    except OSError as error:
        raise CannotWrite(f"the layer cannot be removed ({error.strerror})") from error
    output.document({"module": module, "removed": [layer.attempt for layer in chosen]})
    output.line(f"{module}: {removed} removed")
    return OK


def _chosen(fixer: AutoFixer, module: str | None) -> list[Layer]:
    found = [one for one in fixer.layers.committed() if module in {None, one.subject}]
    if module is not None and not found:
        raise BadFile(f"there is no layer of {module}")
    return found


def _layer_body(layer: Layer) -> dict[str, object]:
    return {
        "module": layer.subject,
        "attempt": layer.attempt,
        "requirement": layer.requirement,
        "installed": list(layer.installed),
        "at": layer.at,
    }


for _each in (list_layers, verify, remove):
    layers.add_command(_each)

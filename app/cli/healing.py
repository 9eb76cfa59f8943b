"""``test-import``, ``fix`` and ``reset``: one module at a time."""

from __future__ import annotations

import click

from app.cli import engines
from app.cli.command import OK, WRONG, command
from app.cli.output import Output
from app.doctor.errors import CannotWrite
from app.kinds.dependency.imports import ImportReport


@command("test-import", codes="Exits with 1 when the module cannot be imported.")
@click.argument("module")
def test_import(output: Output, module: str) -> int:
    """Whether a module can be imported; heals nothing and runs no stranger's code."""
    fixer = engines.reading()
    fixer.adopt()
    report = fixer.examine(module)
    output.document(_body(report))
    if report.success:
        output.line(f"{module} can be imported", colour="green")
    elif report.available and report.diagnosis is None:
        output.line(f"{module} is installed; it is not approved, so it was not imported")
    else:
        output.line(f"{module} cannot be imported", colour="red")
    _tell(output, report)
    return OK if report.success else WRONG


@command("fix", codes="Exits with 1 when the module cannot be imported afterwards.")
@click.argument("module")
def fix(output: Output, module: str) -> int:
    """Heal one module now, as the mode, the map and the budget allow."""
    fixer = engines.healing()
    with output.working(f"healing {module}"):
        report = fixer.fix(module)
    outcome = "healed" if report.healed else "already_available"
    if not report.success:
        outcome = str(report.result.outcome) if report.result else "not_fixable"
    output.document({**_body(report), "healed": report.healed, "outcome": outcome})
    colour = "green" if report.success else "red"
    output.line(f"{module}: {outcome}", colour=colour)
    _tell(output, report)
    if report.healed:
        output.line("make it permanent: flask auto-fix drift --write")
    return OK if report.success else WRONG


@command("reset")
@click.argument("module")
def reset(output: Output, module: str) -> int:
    """Give a module of the dependency map its whole budget back."""
    fixer = engines.healing()
    fixer.mode  # noqa: B018 - makes the home where there is none yet
    if not fixer.reset(module):
        raise CannotWrite("the journal in AUTO_FIX_HOME cannot be written")
    left = fixer.budget(module).attempts_left
    output.document({"module": module, "reset": True, "attempts_left": left})
    output.line(f"{module}: {left} attempts left")
    return OK


def _tell(output: Output, report: ImportReport) -> None:
    if report.diagnosis is not None:
        output.line(f"  {report.diagnosis.cause}: {report.diagnosis.advice}")
    result = report.result
    if result is not None and not result.healed:
        output.line(f"  {result.outcome}: {result.advice}")
        if result.retry_after > 0:
            output.line(f"  again in {result.retry_after:.0f} s, or after: reset {report.module}")
        if result.detail:
            output.line(f"  {result.detail}")


def _body(report: ImportReport) -> dict[str, object]:
    result = report.result
    return {
        "module": report.module,
        "success": report.success,
        "available": report.available,
        "type": None if report.loaded is None else type(report.loaded).__name__,
        "diagnosis": report.diagnosis.to_dict() if report.diagnosis else None,
        "advice": result.advice if result else None,
        "installed": list(result.installed) if result else [],
        "retry_after": round(result.retry_after, 1) if result else 0,
    }

"""``layers``: the fixes in force, listed, verified and removed."""

from __future__ import annotations

import click

from app.cli import engines
from app.cli.command import OK, WRONG, command
from app.cli.output import Output
from app.doctor.errors import BadFile, CannotWrite
from app.doctor.records import verify as verify_layer
from app.kinds.dependency.layers import Layer
from app.utils.auto_fix import AutoFixer


@click.group("layers", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_context
def layers(ctx: click.Context, *, as_json: bool) -> None:
    """The committed fixes; without a subcommand, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_layers, as_json=as_json)


@command("list")
def list_layers(output: Output) -> int:
    """Every layer that this interpreter and lock load."""
    found = engines.reading().layers.committed()
    output.document([_body(layer) for layer in found])
    rows = [(one.subject, one.at, " ".join(one.installed), one.attempt) for one in found]
    output.table(("module", "since", "installed", "attempt"), rows)
    return OK


@command("verify", codes="Exits with 1 when a file of a layer is not as it was installed.")
@click.argument("module", required=False)
def verify(output: Output, module: str | None) -> int:
    """Compare every file with the hash that was recorded when it was installed."""
    fixer = engines.reading()
    chosen = _chosen(fixer, module)
    flaws = {layer: verify_layer(layer, fixer.layers.site(layer)) for layer in chosen}
    output.document(
        [
            {**_body(layer), "ok": not found, "flaws": [flaw.to_dict() for flaw in found]}
            for layer, found in flaws.items()
        ]
    )
    for layer, found in flaws.items():
        output.line(f"{layer.subject}: {'changed' if found else 'as installed'}")
        for flaw in found:
            output.line(f"  {flaw.file}: {flaw.reason}", colour="red")
    return WRONG if any(flaws.values()) else OK


@command("remove")
@click.argument("module")
def remove(output: Output, module: str) -> int:
    """Undo a fix: its layer goes, running workers that have it loaded keep it until they end."""
    fixer = engines.reading()
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


def _body(layer: Layer) -> dict[str, object]:
    return {
        "module": layer.subject,
        "attempt": layer.attempt,
        "requirement": layer.requirement,
        "installed": list(layer.installed),
        "at": layer.at,
    }


for _each in (list_layers, verify, remove):
    layers.add_command(_each)

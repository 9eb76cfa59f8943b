"""``settings``: every setting, what it is here, where that came from, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import click

from app.access.tokens import check_token_file
from app.cli.command import CONFIG, OK, Output, command, environment
from app.settings.declarations import VARIABLES, examine, misspellings


def markdown_table() -> Iterator[str]:
    """The README's table, line by line."""
    yield "| name | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for variable in VARIABLES:
        names = " or ".join(f"`{name}`" for name in variable.own_names)
        default = f"`{variable.documented_default}`" if variable.documented_default else ""
        meaning = f"{variable.meaning} (secret)" if variable.secret else variable.meaning
        yield f"| {names} | {variable.syntax.expected} | {default} | {meaning} |"


@command("settings", codes="Exits with 78 when a setting cannot be used; it is shown all the same.")
@click.option("--markdown", is_flag=True, help="Print the table of all settings for the README.")
def settings(output: Output, *, markdown: bool) -> int:
    """Every setting, its value here and where that came from.

    Of a secret, only whether it is set.
    """
    if markdown:
        text = list(markdown_table())
        output.document({"markdown": text})
        for line in text:
            output.line(line)
        return OK
    environ = environment()
    _, faults = examine(environ, check_token_file)
    wrong = {fault.name for fault in faults}
    bodies: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    for variable in VARIABLES:
        reading = variable.read(environ)
        usable = wrong.isdisjoint(variable.own_names)
        value = variable.show(reading.value) if usable else None
        bodies.append(
            {
                "name": variable.name,
                "value": value,
                "source": reading.source,
                "usable": usable,
                "expected": variable.syntax.expected,
                "default": variable.documented_default or None,
                "meaning": variable.meaning,
                "secret": variable.secret,
            }
        )
        shown = value or "not set" if usable else "cannot be used"
        rows.append({"name": variable.name, "value": shown, "from": reading.source})
    warnings = [str(one) for one in misspellings(environ)]
    output.document(
        {
            "ok": not faults,
            "settings": bodies,
            "faults": [{"name": fault.name, "message": str(fault)} for fault in faults],
            "warnings": warnings,
        }
    )
    output.table(("name", "value", "from"), rows)
    for fault in faults:
        output.line(str(fault), colour="red")
    for warning in warnings:
        output.line(warning, colour="yellow")
    return CONFIG if faults else OK

"""``settings``: every setting and variable, what it is, where that came from, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from app.access.tokens import check_token_file
from app.cli.command import CONFIG, OK, Output, command, environment
from app.kinds.environment import variables
from app.kinds.environment.kind import FALLBACK, EnvironmentKind
from app.kinds.standard import TABLES
from app.manifest import read
from app.settings.declarations import VARIABLES, HealingSettings, examine, misspellings
from app.settings.variable import Variable


def markdown_table() -> Iterator[str]:
    """The README's table, line by line."""
    yield "| name | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for variable in VARIABLES:
        names = " or ".join(f"`{name}`" for name in variable.own_names)
        default = f"`{variable.documented_default}`" if variable.documented_default else ""
        meaning = f"{variable.meaning} (secret)" if variable.secret else variable.meaning
        yield f"| {names} | {variable.syntax.expected} | {default} | {meaning} |"


def example(declared: Iterable[Variable[Any]]) -> Iterator[str]:
    """A ``.env`` file with every variable, its meaning, what it may hold and its default."""
    for variable in (*VARIABLES, *declared):
        secret = ", secret" if variable.secret else ""
        yield f"# {variable.meaning or variable.name} ({variable.syntax.expected}{secret})"
        # What has a default need not be set.
        needed = variable.default is None and variable not in VARIABLES
        yield f"{'' if needed else '# '}{variable.name}={variable.documented_default}"
        yield ""


@command("settings", codes="Exits with 78 when a setting cannot be used; it is shown all the same.")
@click.option("--markdown", is_flag=True, help="Print the table of all settings for the README.")
@click.option("--example", "as_example", is_flag=True, help="Print a .env file of all of them.")
def settings(output: Output, *, markdown: bool, as_example: bool) -> int:
    """Every setting and every variable of the manifest, its value here and where that came from.

    Of a secret, only whether it is set.
    """
    environ = environment()
    healing, _ = HealingSettings.read(environ)
    manifest = read(healing.manifest, TABLES)
    declared = manifest.tables.get(variables.TABLE, {})
    if markdown or as_example:
        lines = list(markdown_table() if markdown else example(declared.values()))
        output.document({"markdown" if markdown else "example": lines})
        for line in lines:
            output.line(line)
        return OK
    _, faults = examine(environ, check_token_file)
    wrong = {fault.name for fault in faults}
    found: list[tuple[Variable[Any], str | None, str, bool]] = []
    for variable in VARIABLES:
        reading = variable.read(environ)
        usable = wrong.isdisjoint(variable.own_names)
        value = variable.show(reading.value) if usable else None
        found.append((variable, value, reading.source, usable))
    kind = EnvironmentKind.of(manifest, environ, healing.secrets)
    unusable = {fault.subject: fault.advice for fault in kind.faults() if fault.refusal != FALLBACK}
    for name, variable in declared.items():
        text, source = kind.read(name)
        usable = name not in unusable
        found.append((variable, variable.show(text) if usable else None, source, usable))
    messages = {fault.name: str(fault) for fault in faults} | unusable
    warnings = [str(one) for one in misspellings(environ)]
    output.document(
        {
            "ok": not messages,
            "settings": [
                {
                    "name": variable.name,
                    "value": value,
                    "source": source,
                    "usable": usable,
                    "expected": variable.syntax.expected,
                    "default": variable.documented_default or None,
                    "meaning": variable.meaning,
                    "secret": variable.secret,
                }
                for variable, value, source, usable in found
            ],
            "faults": [{"name": name, "message": text} for name, text in messages.items()],
            "warnings": warnings,
        }
    )
    rows = (
        {
            "name": variable.name,
            "value": (value or "not set") if usable else "cannot be used",
            "from": source,
        }
        for variable, value, source, usable in found
    )
    output.table(("name", "value", "from"), rows)
    for message in messages.values():
        output.line(message, colour="red")
    for warning in warnings:
        output.line(warning, colour="yellow")
    return CONFIG if messages else OK

"""``settings``: every setting, what it is here, where that came from, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from app.access.tokens import check_token_file
from app.cli import engines
from app.cli.command import CONFIG, OK, command
from app.cli.output import Output
from app.settings.declarations import SETTINGS_TABLE, VARIABLES, TableRow, examine, slips
from app.settings.environment import Environment
from app.settings.errors import SettingFault
from app.settings.variable import Variable

WRONG_VALUE = "cannot be used"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting as it is here; ``value`` is None where it is not set or cannot be used."""

    row: TableRow
    value: str | None
    source: str
    usable: bool

    def to_dict(self) -> dict[str, object]:
        """The setting as JSON shows it."""
        return {
            "name": self.row.name,
            "value": self.value,
            "source": self.source,
            "usable": self.usable,
            "expected": self.row.expected,
            "default": self.row.default or None,
            "meaning": self.row.meaning,
            "secret": self.row.secret,
        }


@command("settings", codes="Exits with 78 when a setting cannot be used; it is shown all the same.")
@click.option("--markdown", is_flag=True, help="Print the table of all settings for the README.")
def settings(output: Output, *, markdown: bool) -> int:
    """Every setting: its value here, a secret's never, and where it came from."""
    if markdown:
        text = list(markdown_table())
        output.document({"markdown": text})
        for line in text:
            output.line(line)
        return OK
    environ = engines.environment()
    _, faults = examine(environ, check_token_file)
    _print(output, environ, faults)
    return CONFIG if faults else OK


def markdown_table() -> Iterator[str]:
    """The README's table, line by line."""
    yield "| name | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for row in SETTINGS_TABLE:
        names = " or ".join(f"`{name}`" for name in row.names)
        default = f"`{row.default}`" if row.default else ""
        meaning = f"{row.meaning} (secret)" if row.secret else row.meaning
        yield f"| {names} | {row.expected} | {default} | {meaning} |"


def _print(output: Output, environ: Environment, faults: Sequence[SettingFault]) -> None:
    wrong = {fault.name for fault in faults}
    lines = [
        _line(variable, row, environ, wrong)
        for variable, row in zip(VARIABLES, SETTINGS_TABLE, strict=True)
    ]
    warnings = [str(slip) for slip in slips(environ)]
    output.document(
        {
            "ok": not faults,
            "settings": [line.to_dict() for line in lines],
            "faults": [{"name": fault.name, "message": str(fault)} for fault in faults],
            "warnings": warnings,
        }
    )
    output.table(("name", "value", "from"), [_cells(line) for line in lines])
    for fault in faults:
        output.line(str(fault), colour="red")
    for warning in warnings:
        output.line(warning, colour="yellow")


def _line(variable: Variable[Any], row: TableRow, environ: Environment, wrong: set[str]) -> Line:
    reading = variable.read(environ)
    usable = wrong.isdisjoint({*row.names})
    value = variable.show(reading.value) if usable else None
    return Line(row, value, reading.source, usable)


def _cells(line: Line) -> tuple[str, str, str]:
    shown = (line.value or "not set") if line.usable else WRONG_VALUE
    return line.row.name, shown, line.source

"""What the commands print: tables and a spinner on a terminal, plain lines elsewhere, or JSON.

With ``--json`` standard output has JSON and nothing else, errors included, and standard error is
silent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from app.settings.errors import shown

if TYPE_CHECKING:
    from rich.status import Status

GAP = "  "


class Output:
    """Prints for one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._status: Status | None = None

    def document(self, body: object, *, compact: bool = False) -> None:
        """Print a JSON document, on one line where ``compact``; only with ``--json``."""
        if self.as_json:
            text = json.dumps(body) if compact else json.dumps(body, indent=2)
            click.echo(text)

    def line(self, text: str = "", *, colour: str | None = None, bold: bool = False) -> None:
        """Print a line for people; the colour shows on a terminal alone."""
        if not self.as_json:
            click.secho(_clean(text), fg=colour, bold=bold or None)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for people: ruled on a terminal, aligned columns elsewhere."""
        if self.as_json:
            return
        texts = [[_clean(str(cell)) for cell in row] for row in rows]
        if not (sys.stdout.isatty() and _ruled(columns, texts)):
            widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
            for row in ([name.upper() for name in columns], *texts):
                cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
                click.echo(GAP.join(cells).rstrip())

    def progress(self, text: str) -> None:
        """Say what goes on: on the spinner where there is one, else as a line."""
        if self._status is not None:
            self._status.update(text)
        elif not self.as_json:
            click.echo(f"{text} ...", err=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something takes its time, until the end of the block."""
        self._status = None if self.as_json or not sys.stderr.isatty() else _spinner(text)
        if self._status is None:
            self.progress(text)
            yield
            return
        with self._status:
            yield
        self._status = None

    def fail(self, code: str, message: str) -> None:
        """Say why the command could not be carried out."""
        if self.as_json:
            self.document({"error": {"code": code, "message": message}})
        else:
            click.echo(f"auto-fix: {message}", err=True)


def _clean(text: str) -> str:
    """Text that cannot drive a terminal, whoever wrote it."""
    plain = text.replace("\n", " ").replace("\t", " ")
    return text if plain.isprintable() else shown(plain)


def _ruled(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Print with rich; False where rich is missing."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
    return True


def _spinner(text: str) -> Status | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(stderr=True).status(text)

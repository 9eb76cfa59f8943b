"""What every command has in common: the engine, tables or ``--json``, errors and exit codes.

With ``--json`` standard output has JSON and nothing else, errors included, and standard error is
silent.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from app.settings.declarations import adopt
from app.settings.engine import HealingSettings, Mode
from app.settings.environment import Environment
from app.settings.errors import (
    CommandError,
    InvalidModuleName,
    SettingsError,
    Unavailable,
    shown,
)
from app.utils.auto_fix import AutoFixer
from app.web.json_bodies import members

if TYPE_CHECKING:
    from rich.status import Status

OK, WRONG, USAGE, DRIFT, CONFIG, INTERRUPTED = 0, 1, 2, 3, 78, 130
KEY = "app.cli.environment"
CGROUP = Path("/sys/fs/cgroup")


# -- the engine ------------------------------------------------------------------------------


def environment() -> Environment:
    """The process's environment with the ``.env`` file behind it, which a command reads once."""
    meta = click.get_current_context().meta
    if KEY not in meta:
        meta[KEY] = adopt(os.environ)
    found: Environment = meta[KEY]
    return found


def settings() -> HealingSettings:
    """The engine's settings.

    Raises:
        SettingsError: when one cannot be used.
    """
    return HealingSettings.from_environ(environment())


def reading_engine() -> AutoFixer:
    """An engine that sees what was healed and changes nothing, not even the home's directories."""
    found = settings()
    mode = Mode.OFF if found.mode is Mode.OFF else Mode.REPORT
    return AutoFixer(replace(found, mode=mode))


def healing_engine() -> AutoFixer:
    """An engine that may do what the settings allow."""
    return AutoFixer(settings())


def require_memory(megabytes: int, cgroup: Path = CGROUP) -> None:
    """Refuse beforehand what would have a process of this container killed.

    Raises:
        Unavailable: when the container's limit leaves less than ``megabytes``.
    """
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(map(str.split, (cgroup / "memory.stat").read_text().splitlines()))
        # Pages of files are given back when memory is asked for.
        left = limit - used + int(statistics["active_file"]) + int(statistics["inactive_file"])
    except (OSError, ValueError, KeyError):
        # There is no limit, or nothing that says so.
        return
    if left < megabytes << 20:
        raise Unavailable(
            f"this needs about {megabytes} MB, and this container's limit leaves"
            f" {max(0, left) >> 20}: run it in a container of its own"
        )


# -- what is printed -------------------------------------------------------------------------


class Output:
    """Prints for one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._status: Status | None = None

    def document(self, body: object, *, compact: bool = False) -> None:
        """Print a JSON document, on one line where ``compact``; only with ``--json``.

        Dataclasses in it become objects.
        """
        if self.as_json:
            click.echo(json.dumps(body, indent=None if compact else 2, default=members))

    def line(self, text: str = "", *, colour: str | None = None, bold: bool = False) -> None:
        """Print a line for people; the colour shows on a terminal alone."""
        if not self.as_json:
            click.secho(_clean(text), fg=colour, bold=bold or None)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table for people: ruled on a terminal that rich can use, else aligned columns."""
        if self.as_json:
            return
        texts = [[_clean(str(cell)) for cell in row] for row in rows]
        if sys.stdout.isatty():
            try:
                from rich.console import Console
                from rich.table import Table
                from rich.text import Text
            except ImportError:
                pass
            else:
                table = Table(*columns)
                for row in texts:
                    table.add_row(*map(Text, row))
                Console().print(table)
                return
        widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
        for row in ([name.upper() for name in columns], *texts):
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())

    def progress(self, text: str) -> None:
        """Say what goes on: on the spinner where there is one, else as a line."""
        if self._status is not None:
            self._status.update(text)
        elif not self.as_json:
            click.echo(f"{text} ...", err=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something takes its time, until the end of the block."""
        if not self.as_json and sys.stderr.isatty():
            try:
                from rich.console import Console
            except ImportError:
                pass
            else:
                with Console(stderr=True).status(text) as self._status:
                    yield
                self._status = None
                return
        self.progress(text)
        yield

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


# -- commands --------------------------------------------------------------------------------


class JsonCommand(click.Command):
    """A command that reports even a wrong command line as JSON where it is asked for JSON."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> click.Context:
        """Parse the command line."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if not as_json:
                raise
            Output(as_json=True).fail("usage", error.format_message())
            sys.exit(USAGE)


def command(name: str, *, codes: str = "") -> Callable[[Callable[..., int]], click.Command]:
    """Make a command of a function that takes an ``Output`` and returns the exit code.

    ``codes`` says, in the help, what the exit codes mean here. The first line of the function's
    docstring stands uncut in the list of commands.
    """

    def make(function: Callable[..., int]) -> click.Command:
        @functools.wraps(function)
        def run(*, as_json: bool, **values: Any) -> NoReturn:  # noqa: ANN401 - click's own
            # The engine's log is the service's; a command prints itself what it did.
            logging.getLogger().addHandler(logging.NullHandler())
            output = Output(as_json=as_json)
            try:
                # What the .env file sets has to reach the installers, whatever the command reads.
                environment()
                code = function(output, **values)
            except SettingsError as error:
                output.fail("setting_invalid", str(error))
                code = CONFIG
            except InvalidModuleName as error:
                output.fail("invalid_module_name", str(error))
                code = USAGE
            except CommandError as error:
                output.fail(error.code, str(error))
                code = error.exit_code
            except KeyboardInterrupt:
                output.fail("interrupted", "interrupted; nothing is half done")
                code = INTERRUPTED
            sys.exit(code)

        summary = (function.__doc__ or "").partition("\n")[0]
        made = click.command(name, cls=JsonCommand, epilog=codes or None, short_help=summary)(run)
        option = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON alone.")
        made.params.append(option)
        return made

    return make

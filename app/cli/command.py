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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from app.healing.engine import PlanChanged
from app.healing.kind import Kind, NothingToConfirm, OtherCaller
from app.kinds.standard import standard_kinds
from app.manifest import CORE
from app.settings.declarations import HealingSettings, Mode, adopt
from app.settings.errors import (
    CommandError,
    InvalidModuleName,
    OrchestratorError,
    SettingsError,
    Unavailable,
    shown,
)
from app.settings.sources import Environment
from app.utils.auto_fix import AutoFixer
from app.web.json_bodies import members

if TYPE_CHECKING:
    from rich.status import Status

OK, WRONG, USAGE, DRIFT, CONFIG, INTERRUPTED = 0, 1, 2, 3, os.EX_CONFIG, 130
REFUSED: Mapping[type[OrchestratorError], tuple[str, int]] = {
    SettingsError: ("setting_invalid", CONFIG),
    InvalidModuleName: ("invalid_module_name", USAGE),
    PlanChanged: ("plan_changed", WRONG),
    NothingToConfirm: ("nothing_to_confirm", USAGE),
    OtherCaller: ("other_caller", WRONG),
}
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


@dataclass(frozen=True, slots=True)
class Setup:
    """What the commands are put together of, where click's ``obj`` is one."""

    kinds: tuple[Kind, ...] = ()


def healing_engine(found: HealingSettings | None = None) -> AutoFixer:
    """An engine that may do what the settings allow."""
    fixer = AutoFixer(found or settings())
    more = (click.get_current_context().find_object(Setup) or Setup()).kinds
    for kind in (
        *standard_kinds(
            fixer.settings, fixer.manifest, os.environ, lambda name: fixer.safe_import(name)[0]
        ),
        *more,
    ):
        fixer.add_kind(kind)
    # What they need is a fault of its kind where it is not met.
    fixer.watch((*CORE, *fixer.manifest.current.blueprints))
    return fixer


def reading_engine() -> AutoFixer:
    """An engine that sees what was healed and changes nothing, not even the home's directories."""
    found = settings()
    mode = Mode.OFF if found.mode is Mode.OFF else Mode.REPORT
    return healing_engine(replace(found, mode=mode))


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
            f"this needs about {megabytes} MB more, and this container's limit leaves"
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

    def table(self, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
        """Print a table for people: ruled on a terminal that rich can use, else aligned columns.

        ``columns`` are the members of each row to show; what is None or empty shows as a dash.
        """
        if self.as_json:
            return None
        cells = [_cells(columns, row) for row in rows]
        titles = [column.replace("_", " ") for column in columns]
        if sys.stdout.isatty():
            with suppress(ImportError):
                from rich.console import Console
                from rich.table import Table
                from rich.text import Text

                table = Table(*titles)
                for line in cells:
                    table.add_row(*map(Text, line))
                return Console().print(table)
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        for line in ([title.upper() for title in titles], *cells):
            padded = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(padded).rstrip())
        return None

    def row(self, columns: Sequence[str], row: Mapping[str, object]) -> None:
        """Print what stands in a row of a table that has no end."""
        self.line("  ".join(_cells(columns, row)))

    def progress(self, text: str) -> None:
        """Say what goes on: on the spinner where there is one, else as a line."""
        if self._status is not None:
            self._status.update(text)
        elif not self.as_json:
            click.echo(f"{text} ...", err=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something takes its time, until the end of the block."""
        spinner: AbstractContextManager[Status | None] = nullcontext()
        if not self.as_json and sys.stderr.isatty():
            with suppress(ImportError):
                from rich.console import Console

                spinner = Console(stderr=True).status(text)
        with spinner as self._status:
            self.progress(text)
            yield
        self._status = None

    def fail(self, code: str, message: str) -> None:
        """Say why the command could not be carried out."""
        if self.as_json:
            self.document({"error": {"code": code, "message": message}})
        else:
            click.echo(f"auto-fix: {message}", err=True)


def _cells(columns: Sequence[str], row: Mapping[str, object]) -> list[str]:
    """The texts of a table's row."""
    values = (row[column] for column in columns)
    texts = (" ".join(value) if isinstance(value, (list, tuple)) else value for value in values)
    return ["-" if text in {None, ""} else _clean(str(text)) for text in texts]


def _clean(text: str) -> str:
    """Text that cannot drive a terminal, whoever wrote it."""
    plain = text.replace("\n", " ").replace("\t", " ")
    return text if plain.isprintable() else shown(plain)


# -- commands --------------------------------------------------------------------------------


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
            except tuple(REFUSED) as error:
                word, code = REFUSED[type(error)]
                output.fail(word, str(error))
            except CommandError as error:
                code = error.exit_code
                output.fail(error.code, str(error))
            except KeyboardInterrupt:
                output.fail("interrupted", "interrupted; nothing is half done")
                code = INTERRUPTED
            sys.exit(code)

        summary = (function.__doc__ or "").partition("\n")[0]
        made = click.command(name, epilog=codes or None, short_help=summary)(run)
        option = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON alone.")
        made.params.append(option)
        return made

    return make

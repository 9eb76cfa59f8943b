"""What every command has in common: ``--json``, silence of the log, errors and exit codes."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from app.cli import engines
from app.cli.output import Output
from app.doctor.errors import CommandError
from app.settings.errors import HealingError, InvalidModuleName, SettingsError

OK, WRONG, USAGE, DRIFT, CONFIG, INTERRUPTED = 0, 1, 2, 3, 78, 130


class JsonCommand(click.Command):
    """A command that tells even a wrong command line as JSON where it is asked for JSON."""

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

    ``codes`` says, in the help, what the exit codes mean here.
    """

    def make(function: Callable[..., int]) -> click.Command:
        @functools.wraps(function)
        def run(*, as_json: bool, **values: Any) -> NoReturn:  # noqa: ANN401 - click's own
            sys.exit(_run(function, Output(as_json=as_json), values))

        made = click.command(name, cls=JsonCommand, epilog=codes or None)(run)
        option = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON alone.")
        made.params.append(option)
        return made

    return make


def _run(function: Callable[..., int], output: Output, values: dict[str, object]) -> int:
    """Carry a command out; every expected failure ends in one sentence and a code."""
    _silence()
    # What the .env file sets has to reach the installers too, whatever the command reads.
    engines.environment()
    try:
        return function(output, **values)
    except SettingsError as error:
        return _failed(output, "setting_invalid", error, CONFIG)
    except InvalidModuleName as error:
        return _failed(output, "invalid_module_name", error, USAGE)
    except CommandError as error:
        return _failed(output, error.code, error, error.exit_code)
    except KeyboardInterrupt:
        output.fail("interrupted", "interrupted; nothing is half done")
        return INTERRUPTED


def _failed(output: Output, code: str, error: HealingError, exit_code: int) -> int:
    output.fail(code, str(error))
    return exit_code


def _silence() -> None:
    """The engine's log is the service's; a command says itself what came of it."""
    logging.getLogger().addHandler(logging.NullHandler())

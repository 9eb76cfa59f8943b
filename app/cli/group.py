"""The group of commands. A command's module is imported when the command runs, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

#: Command to the module that defines it and the name there, in the order of the help page.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "doctor": ("app.cli.doctor", "doctor"),
    "status": ("app.cli.state", "status"),
    "health": ("app.cli.state", "health"),
    "history": ("app.cli.history", "history"),
    "test-import": ("app.cli.healing", "test_import"),
    "fix": ("app.cli.healing", "fix"),
    "reset": ("app.cli.healing", "reset"),
    "drift": ("app.cli.drift", "drift"),
    "lock": ("app.cli.locking", "lock"),
    "audit": ("app.cli.locking", "audit"),
    "wheelhouse": ("app.cli.locking", "wheelhouse"),
    "settings": ("app.cli.settings", "settings"),
    "layers": ("app.cli.layers", "layers"),
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the documented order."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


EXIT_CODES = """\b
Exit codes of every command:
  0    done; nothing is wrong
  1    something is wrong: findings, unhealthy, not importable, not healed,
       a lock that differs, a vulnerability, a changed layer
  2    the command line is wrong
  3    there is drift (command drift)
  65   a file cannot be used; the message has its line
  69   a tool, an index or a service is missing or does not answer
  73   a file or directory cannot be written; nothing was changed
  78   a setting cannot be used
  130  interrupted; nothing is half done
"""


@click.group(
    "auto-fix",
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def auto_fix() -> None:
    """Find what would fail in production, see what was healed, and make it permanent."""

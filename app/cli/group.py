"""The group of commands. A command's module is imported when the command runs, not before."""

from __future__ import annotations

import importlib
import sys

import click

#: The modules of this package with their commands, in the order of the help page.
MODULES = {
    "doctor": ("doctor", "drift"),
    "adoption": ("adopt",),
    "state": ("status", "health", "history"),
    "databases": ("database",),
    "healing": ("test-import", "fix", "reset", "layers"),
    "locking": ("lock", "audit", "wheelhouse"),
    "settings": ("settings",),
}
COMMANDS = {command: module for module, commands in MODULES.items() for command in commands}

EXIT_CODES = """\b
Exit codes of every command:
  0    done; nothing is wrong
  1    something is wrong: findings, unhealthy, not importable, not healed,
       a lock that differs, a vulnerability, a changed layer
  2    the command line is wrong
  3    there is drift (command drift)
  65   a file cannot be used; the message has its line
  69   a tool, an index, a service or memory is missing or does not answer
  73   a file or directory cannot be written; nothing was changed
  78   a setting cannot be used
  130  interrupted; nothing is half done
"""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; where JSON is asked for, a wrong command line is reported in it."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if not as_json:
                raise
            from app.cli.command import USAGE, Output

            Output(as_json=True).fail("usage", error.format_message())
            sys.exit(USAGE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the documented order."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"app.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(
    "auto-fix",
    cls=LazyGroup,
    short_help="Find, heal and make permanent.",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def auto_fix() -> None:
    """Find what would fail in production, see what was healed, and make it permanent."""

"""``flask auto-fix``: the commands under Flask's own program, without starting the service."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

NAME = "auto-fix"


def asked_for(arguments: Sequence[str] = sys.argv, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is ``flask … auto-fix …``: Flask's program sets the variable."""
    return environ.get("FLASK_RUN_FROM_CLI") == "true" and NAME in arguments[1:]


def command_app() -> Flask:
    """An application that serves nothing and has the commands."""
    from flask import Flask

    app = Flask(NAME)
    add_commands(app)
    return app


def add_commands(app: Flask) -> None:
    """Put the commands on an application, for Flask's program to find."""
    from app.cli.group import auto_fix

    app.cli.add_command(auto_fix)

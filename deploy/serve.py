"""Starts gunicorn with this project's settings: ``python -m deploy.serve``.

gunicorn reads WEB_CONCURRENCY while it is being imported, before any of its configuration files,
and a value that is no number ends it with a traceback. So the settings are checked first. Further
arguments go to gunicorn.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Settings
from app.healing.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

EX_CONFIG = 78  # sysexits.h: something is configured wrongly


def settings_or_exit(environ: Mapping[str, str]) -> Settings:
    """Read the settings, or end the process with one sentence on stderr and status 78."""
    try:
        return Settings.from_environ(environ)
    except SettingsError as error:
        print(f"royal-equips-orchestrator cannot start: {error}", file=sys.stderr)
        sys.exit(EX_CONFIG)


def main() -> None:
    """Become gunicorn: the process keeps its id and gets the signals itself."""
    settings = settings_or_exit(os.environ)
    program = Path(sys.executable).with_name("gunicorn")
    command = [str(program), "-c", "gunicorn.conf.py", *sys.argv[1:], "wsgi:app"]
    # Empty means unset to this project, but not to gunicorn.
    environ = {**os.environ, "WEB_CONCURRENCY": str(settings.web_concurrency)}
    os.execve(program, command, environ)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()

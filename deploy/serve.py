"""Starts gunicorn with this project's settings: ``python -m deploy.serve``.

gunicorn reads WEB_CONCURRENCY while it is being imported, before any of its configuration files,
and a value that is no number ends it with a traceback. So the settings are checked first. Further
arguments go to gunicorn.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.access.tokens import check_token_file
from app.settings.declarations import examine, load, misspellings
from app.settings.errors import SettingsError
from app.settings.sources import ENVIRONMENT_REPLACED, Environment
from app.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from app.settings.declarations import Settings, SettingsCheck

logger = logging.getLogger("deploy.serve")  # __main__ says nothing in a log


def settings_or_exit(environ: MutableMapping[str, str], *checks: SettingsCheck) -> Settings:
    """Read the settings, or end the process with a sentence a fault on stderr and status 78.

    What a ``.env`` file sets is in ``environ`` afterwards.
    """
    try:
        return load(environ, *checks)
    except SettingsError as error:
        for fault in error.faults:
            print(f"royal-equips-orchestrator cannot start: {fault}", file=sys.stderr)
        sys.exit(os.EX_CONFIG)


def main() -> None:
    """Become gunicorn: the process keeps its id and gets the signals itself."""
    settings = settings_or_exit(os.environ, check_token_file)
    replaced = _log_faults(settings)
    program = Path(sys.executable).with_name("gunicorn")
    command = [str(program), "-c", "gunicorn.conf.py", *sys.argv[1:], "wsgi:app"]
    # Empty means unset to this project, but not to gunicorn, and neither is what cannot be used.
    environ = {
        **os.environ,
        "WEB_CONCURRENCY": str(settings.web_concurrency),
        ENVIRONMENT_REPLACED: " ".join(replaced),
    }
    os.execve(program, command, environ)  # noqa: S606 - no shell is the point


def _log_faults(settings: Settings) -> list[str]:
    """Warn of settings that fall back, whose names are returned, and of what is nearly a setting's.

    A setting of a newer version must not keep an older one from starting.
    """
    _, fallbacks = examine(Environment.of(os.environ))
    found = misspellings(os.environ)
    if found or fallbacks:
        configure_logging(settings.log_level, settings.log_format)
    for fault in fallbacks:
        fields = {"name": fault.name, "fault": str(fault)}
        logger.warning("setting falls back to its default", extra={"fields": fields})
    for one in found:
        fields = {"name": one.name, "meant": one.meant}
        logger.warning("variable is no setting", extra={"fields": fields})
    return [fault.name for fault in fallbacks]


if __name__ == "__main__":
    main()

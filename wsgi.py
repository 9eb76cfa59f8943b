"""The callable that a WSGI server serves: ``gunicorn -c gunicorn.conf.py wsgi:app``.

``python3 wsgi.py`` serves for development on 127.0.0.1. Flask's own program looks here for the
application and its commands. ``flask auto-fix …`` and the help work on files and must not start a
service: for them there is an application that has the commands alone.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from app.settings.declarations import Settings

Built = TypeVar("Built")

logger = logging.getLogger(__name__)

#: The commands of Flask's own program that ask for the application itself.
ASK_FOR_THE_APPLICATION = frozenset({"run", "routes", "shell"})


def _command_of_flask() -> str | None:
    """The command that Flask's own program runs, its own name for the help; None elsewhere."""
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        return None
    import click

    context = click.get_current_context(silent=True)
    return None if context is None else context.info_name


def _start(build: Callable[[], Built]) -> tuple[Settings, Built]:
    """Read the settings and build an application, or end the process with a sentence: why not."""
    from app import CannotServe, require_flask
    from app.isolation.importing import ends_at_once
    from app.telemetry.logs import configure_logging
    from deploy.serve import settings_or_exit

    settings = settings_or_exit(os.environ)
    configure_logging(settings.log_level, settings.log_format)
    from app.utils.auto_fix import auto_fixer

    with ends_at_once(auto_fixer.end):
        while True:
            try:
                require_flask(auto_fixer)
                return settings, build()
            except CannotServe as error:
                if error.retry_after is not None:
                    # A new process would try at once, and spend the budget.
                    fields = {"advice": str(error), "retry_after": round(error.retry_after)}
                    logger.warning("nothing to serve with yet", extra={"fields": fields})
                    time.sleep(error.retry_after)
                    continue
                sys.stderr.write(f"royal-equips-orchestrator cannot start: {error}\n")
            sys.exit(os.EX_CONFIG)


_command = _command_of_flask()
if _command is None:
    from app import create_app
    from app.isolation.hot_application import HotApplication

    settings, application = _start(lambda: HotApplication(create_app))
    app = application
elif _command in ASK_FOR_THE_APPLICATION:
    # Flask's program takes nothing but an application of Flask's own class.
    from app import create_app

    _, flask_application = _start(create_app)
else:
    from flask import Flask

    from app.cli.group import auto_fix

    flask_application = Flask("auto-fix")
    flask_application.cli.add_command(auto_fix)


def serve() -> None:
    """Serve for development until interrupted."""
    from werkzeug.serving import WSGIRequestHandler, run_simple

    class Handler(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Leave that to the application, which logs each request itself."""

        def version_string(self) -> str:
            """What the Server header says: no version of anything."""
            return "werkzeug"

    application.start()
    try:
        run_simple("127.0.0.1", settings.port, application, threaded=True, request_handler=Handler)
    finally:
        application.stop()


if __name__ == "__main__":
    serve()

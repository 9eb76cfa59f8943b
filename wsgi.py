"""The callable that a WSGI server serves: ``gunicorn -c gunicorn.conf.py wsgi:app``.

``python3 wsgi.py`` serves for development on 127.0.0.1. ``flask auto-fix …`` looks for its commands
here too: they work on files and must not start a service, so then there is none.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from app import CannotServe, create_app
from app.cli import flask_command
from app.telemetry.logs import configure_logging
from deploy.serve import EX_CONFIG, settings_or_exit

if TYPE_CHECKING:
    from app.isolation.hot_application import HotApplication
    from app.settings.declarations import Settings


def _application(settings: Settings) -> HotApplication:
    """Build the application, or end the process with one sentence that says why not."""
    from app.isolation.hot_application import HotApplication

    configure_logging(settings.log_level, settings.log_format)
    try:
        return HotApplication(create_app)
    except CannotServe as error:
        sys.stderr.write(f"royal-equips-orchestrator cannot start: {error}\n")
        sys.exit(EX_CONFIG)


if flask_command.asked_for():
    commands = flask_command.command_app()
else:
    settings = settings_or_exit(os.environ)
    application = app = _application(settings)


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

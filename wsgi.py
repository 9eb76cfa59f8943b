"""The callable that a WSGI server serves: ``gunicorn -c gunicorn.conf.py wsgi:app``.

``python3 wsgi.py`` serves for development on 127.0.0.1.
"""

from __future__ import annotations

import os
import sys

from app import CannotServe, create_app
from app.config import Settings
from app.healing.errors import SettingsError
from app.hot_app import HotApplication
from app.logs import configure_logging

EX_CONFIG = 78  # sysexits.h


def _application() -> HotApplication:
    """Build the application, or end the process with one sentence that says why not."""
    try:
        settings = Settings.from_environ(os.environ)
        configure_logging(settings.log_level, settings.log_format)
        return HotApplication(create_app)
    except (SettingsError, CannotServe) as error:
        sys.stderr.write(f"royal-equips-orchestrator cannot start: {error}\n")
        sys.exit(EX_CONFIG)


application = app = _application()


def serve() -> None:
    """Serve for development until interrupted."""
    from werkzeug.serving import run_simple

    port = Settings.from_environ(os.environ).port
    application.start()
    try:
        run_simple("127.0.0.1", port, application, threaded=True)
    finally:
        application.stop()


if __name__ == "__main__":
    serve()

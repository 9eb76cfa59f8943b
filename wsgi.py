"""The callable that a WSGI server serves: ``gunicorn -c gunicorn.conf.py wsgi:app``.

``python3 wsgi.py`` serves for development on 127.0.0.1.
"""

from __future__ import annotations

import os
import sys

from app import CannotServe, create_app
from app.hot_app import HotApplication
from app.logs import configure_logging
from deploy.serve import EX_CONFIG, settings_or_exit

settings = settings_or_exit(os.environ)


def _application() -> HotApplication:
    """Build the application, or end the process with one sentence that says why not."""
    configure_logging(settings.log_level, settings.log_format)
    try:
        return HotApplication(create_app)
    except CannotServe as error:
        sys.stderr.write(f"royal-equips-orchestrator cannot start: {error}\n")
        sys.exit(EX_CONFIG)


application = app = _application()


def serve() -> None:
    """Serve for development until interrupted."""
    from werkzeug.serving import run_simple

    application.start()
    try:
        run_simple("127.0.0.1", settings.port, application, threaded=True)
    finally:
        application.stop()


if __name__ == "__main__":
    serve()

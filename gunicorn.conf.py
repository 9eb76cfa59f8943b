"""Settings of gunicorn: read from the environment once, at start-up, before any worker exists.

``python -m deploy.serve`` serves with it, and so does ``gunicorn -c gunicorn.conf.py wsgi:app``.
gunicorn's own options win over this file (``--preload``, ``--bind``, ``--access-logfile -``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn.glogging import Logger
from gunicorn.workers import SUPPORTED_WORKERS

from app.logs import logging_dict
from deploy.serve import settings_or_exit

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


class QuietLogger(Logger):  # type: ignore[misc] # gunicorn ships no type hints
    """Writes access lines only where ``--access-logfile`` asks for them.

    gunicorn's own turns them on with any logging configuration, and a line for each request, the
    probes' included, costs more than it tells: /metrics counts requests.
    """

    @property
    def access_log_enabled(self) -> bool:
        """Whether requests are logged."""
        return bool(self.cfg.accesslog)


# gunicorn 26 removed its own; deployments still start with it, by variable or `--worker-class`.
SUPPORTED_WORKERS["eventlet"] = "app.serving.eventlet_worker.EventletWorker"

_current = settings_or_exit(os.environ)

bind = f"0.0.0.0:{_current.port}"
workers = _current.web_concurrency
threads = _current.threads
worker_class = _current.worker_class
# Load balancers keep idle connections for 60 s. A server that closes first answers a request
# that is already on its way with a reset.
keepalive = 75
# `docker stop` waits ten seconds before it kills.
graceful_timeout = 8
# The heartbeat file is touched every second; on a disk-backed file system that can block.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - not shared data
# It would let the service's own user stop the server, and logs errors on a read-only root.
control_socket_disable = True
logger_class = QuietLogger
logconfig_dict = logging_dict(_current.log_level, _current.log_format)


def post_worker_init(worker: Worker) -> None:
    """Start what runs beside the requests: after the fork, so that ``--preload`` works too."""
    worker.wsgi.start()


def worker_exit(_server: Arbiter, worker: Worker) -> None:
    """Stop it again, unless this worker never came up."""
    if worker.booted:
        worker.wsgi.stop()

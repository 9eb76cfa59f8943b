"""Settings of gunicorn: read from the environment once, at start-up, before any worker exists.

``python -m deploy.serve`` serves with it, and so does ``gunicorn -c gunicorn.conf.py wsgi:app``.
gunicorn's own options win over this file (``--preload``, ``--bind``, ``--access-logfile -``).
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from app.access.tokens import check_token_file
from app.isolation.watchdog import watchdog
from app.serving.workers import register
from app.telemetry import directory
from app.telemetry.logs import configure_logging, logging_dict
from deploy.serve import settings_or_exit

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


class QuietLogger(Logger):  # type: ignore[misc] # gunicorn ships no type hints
    """Writes gunicorn's access lines only where ``--access-logfile`` asks for them.

    gunicorn's own turns them on with any logging configuration. The service has better ones: with
    the route and the request's ids, without query strings (``app.web.observation``).
    """

    @property
    def access_log_enabled(self) -> bool:
        """Whether requests are logged."""
        return bool(self.cfg.accesslog)


_current = settings_or_exit(os.environ)
# What follows may log something, before gunicorn has configured logging.
configure_logging(_current.log_level, _current.log_format)
# Ours bound what a slow client can hold and answer its faults as problems. Deployments choose by
# variable or `--worker-class`.
register()

bind = f"0.0.0.0:{_current.port}"
workers = _current.web_concurrency
threads = _current.threads
worker_class = _current.worker_class
if worker_class == "sync" and threads > 1:
    # gunicorn does the same, but with its own class.
    worker_class = "gthread"
# Load balancers keep idle connections for 60 s. A server that closes first answers a request
# that is already on its way with a reset.
keepalive = 75
# `docker stop` waits ten seconds before it kills, so the default is less.
graceful_timeout = _current.graceful_timeout
# A request line as long as nginx passes on (8 KiB, gunicorn's maximum): query strings of edge
# functions are their own business. Header fields: what gunicorn, Apache and nginx take.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
# Nobody's X-Forwarded-Proto is believed here, as by default that of 127.0.0.1 would be: it is the
# application that knows TRUSTED_PROXIES. And no header says where the application is mounted.
forwarded_allow_ips = ""
forwarder_headers = ""
# It waits for ever for a client that does not read; the few static files are small.
sendfile = False
# The heartbeat file is touched every second; on a disk-backed file system that can block.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - not shared data
# It would let the service's own user stop the server, and logs errors on a read-only root.
control_socket_disable = True
logger_class = QuietLogger
logconfig_dict = logging_dict(_current.log_level, _current.log_format)


def on_starting(server: Arbiter) -> None:
    """Look whether the tokens can be used: at the start alone, not when a signal reloads this."""
    settings_or_exit(os.environ, check_token_file)
    # They end the server, and are 3 and 4 in gunicorn. A module that leaves with one of those while
    # it is imported is to cost its blueprint alone, so they are two that no program chooses.
    server.WORKER_BOOT_ERROR, server.APP_LOAD_ERROR = 171, 172


# What ends is begun again here, by gunicorn or, with --preload, by who runs it.
watchdog.enable()
# Before a worker, or with --preload the master, can import prometheus_client.
directory.provide()


def pre_exec(server: Arbiter) -> None:
    """Let the master that USR2 starts count on where this one counts, until this one has ended."""
    server.cfg.env_orig.update(directory.handed_on())


def pre_fork(_server: Arbiter, _worker: Worker) -> None:
    """Have the worker show that it serves, not the master that has imported for ``--preload``."""
    watchdog.satisfied()


#: One byte that workers share with the master: whether one has found nothing to serve with, and
#: whether the master ends for a worker already, so that the ends of others change nothing.
_shared = mmap.mmap(-1, 1)
CANNOT_SERVE, ENDING = 1, 2


def child_exit(server: Arbiter, _worker: Worker) -> None:
    """End the master where each worker would end as this one did.

    There is nothing to serve with, or an import has patched the application that was preloaded.
    """
    state, application = _shared[0], server.app.callable
    if state == ENDING:
        return
    if state == CANNOT_SERVE:
        _shared[0] = ENDING
        raise HaltServer("there is nothing to serve with", os.EX_CONFIG)
    if application is not None and application.services.imports.suspected:
        _shared[0] = ENDING
        raise HaltServer("the preloaded application answers nothing")


def post_fork(_server: Arbiter, worker: Worker) -> None:
    """Tell a worker how long a request may take to arrive."""
    worker.request_timeout = _current.request_timeout


def post_worker_init(worker: Worker) -> None:
    """Start what runs beside the requests: after the fork, so that ``--preload`` works too."""
    pool = getattr(worker, "tpool", None)
    worker.wsgi.start(pool and (lambda call: pool.submit(call).result()))


def worker_exit(_server: Arbiter, worker: Worker) -> None:
    """Stop it again, unless this worker never came up."""
    ends = sys.exception()
    if worker.booted:
        worker.wsgi.stop()
    elif isinstance(ends, SystemExit) and ends.code == os.EX_CONFIG:
        # It is wsgi.py that ends so: what a blueprint raises does not come here.
        _shared[0] = _shared[0] or CANNOT_SERVE


def on_exit(server: Arbiter) -> None:
    """Let what the master has begun for ``--preload``, and its end cuts off, cost nothing."""
    application = server.app.callable
    if application is not None:
        application.services.fixer.stop()
        application.services.imports.close()

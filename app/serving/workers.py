"""Which worker classes serve: ours, where the installed gunicorn has what they build upon.

gunicorn documents its settings and hooks. Ours are made of more than that: of classes, methods and
attributes that any release may rename. So those are listed, a test compares the list with the code,
and where one is missing gunicorn's own class serves instead.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Mapping
from functools import reduce
from typing import Any

import gunicorn
from gunicorn import workers

logger = logging.getLogger(__name__)

#: By module of this room and module of gunicorn: names of classes and functions, and of what
#: belongs to a class or, set by its ``__init__``, to its objects.
GUNICORN_NAMES: Mapping[str, Mapping[str, str]] = {
    "requests": {
        "gunicorn": "SERVER",
        "gunicorn.util": "write_nonblock",
        "gunicorn.http.body": """
            Body Body._read_reader Body.failed Body.reader ChunkedReader ChunkedReader.parser
            LengthReader LengthReader.length LengthReader.read""",
        "gunicorn.http.errors": """
            ConfigurationProblem ExpectationFailed ForbiddenProxyRequest InvalidHTTPVersion
            InvalidHTTPVersion.version InvalidHeader InvalidRequestLine InvalidResponseHeader
            InvalidResponseHeaderName LimitRequestHeaders LimitRequestLine NoMoreData
            ParseException UnsupportedTransferCoding""",
        "gunicorn.http.message": """
            Request Request._expected_100_continue Request.body Request.headers Request.method
            Request.path Request.query Request.set_body_reader Request.should_close
            Request.unreader Request.uri Request.version""",
        "gunicorn.http.parser": "RequestParser RequestParser.mesg_class",
        "gunicorn.http.unreader": "SocketUnreader.sock Unreader.buf",
        "gunicorn.workers.base": """
            Worker Worker.alive Worker.booted Worker.cfg Worker.handle_error Worker.handle_exit
            Worker.init_process Worker.notify Worker.nr""",
    },
    "connections": {
        "gunicorn.http.parser": "RequestParser.unreader",
        "gunicorn.http.unreader": "Unreader.unread",
        "gunicorn.workers.gthread": "TConn TConn.data_ready TConn.init TConn.parser TConn.sock",
    },
    "gthread_worker": {
        "gunicorn.http.errors": "LimitRequestHeaders LimitRequestLine",
        "gunicorn.http.parser": "RequestParser.unreader",
        "gunicorn.http.unreader": "Unreader.take_buffered",
        "gunicorn.sock": "BaseSocket.sock",
        "gunicorn.workers.gthread": """
            PollableMethodQueue.defer TConn.client TConn.close TConn.parser TConn.sock TConn.timeout
            ThreadWorker ThreadWorker._cap_keepalive ThreadWorker.accept ThreadWorker.cfg
            ThreadWorker.check_config ThreadWorker.enqueue_req ThreadWorker.finish_request
            ThreadWorker.handle ThreadWorker.handle_error ThreadWorker.handle_exit
            ThreadWorker.handle_request ThreadWorker.keepalived_conns ThreadWorker.method_queue
            ThreadWorker.murder_keepalived ThreadWorker.murder_pending ThreadWorker.nr_conns
            ThreadWorker.on_client_socket_readable ThreadWorker.on_pending_socket_readable
            ThreadWorker.pending_conns ThreadWorker.poller ThreadWorker.sockets
            ThreadWorker.wait_for_and_dispatch_events ThreadWorker.worker_connections""",
    },
    "sync_worker": {
        "gunicorn.sock": "BaseSocket.sock",
        "gunicorn.workers.sync": """
            SyncWorker SyncWorker.handle SyncWorker.handle_error SyncWorker.handle_request
            SyncWorker.notify SyncWorker.run SyncWorker.sockets SyncWorker.wait""",
    },
    "eventlet_worker": {
        "gunicorn.sock": "BaseSocket.sock TCPSocket.FAMILY UnixSocket.FAMILY ssl_wrap_socket",
        "gunicorn.workers.base_async": """
            AsyncWorker AsyncWorker.alive AsyncWorker.cfg AsyncWorker.handle AsyncWorker.handle_quit
            AsyncWorker.handle_usr1 AsyncWorker.init_process AsyncWorker.log AsyncWorker.notify
            AsyncWorker.ppid AsyncWorker.run AsyncWorker.sockets AsyncWorker.timeout_ctx
            AsyncWorker.worker_connections""",
    },
}
#: By the name that deployments use: our class, and the modules that it is made of.
CLASSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "gthread": (
        "app.serving.gthread_worker.PatientThreadWorker",
        ("requests", "connections", "gthread_worker"),
    ),
    "sync": ("app.serving.sync_worker.PatientSyncWorker", ("requests", "sync_worker")),
    "eventlet": ("app.serving.eventlet_worker.EventletWorker", ("requests", "eventlet_worker")),
}


def register() -> None:
    """Have gunicorn use our classes by these names, and its own where it lacks what ours need.

    gunicorn 26 removed its own eventlet worker; the threaded one serves in its place.
    """
    classes = getattr(workers, "SUPPORTED_WORKERS", {})
    for name, (path, modules) in CLASSES.items():
        missing = [one for module in modules for one in missing_names(module)]
        if not missing:
            classes[name] = path
            continue
        classes.setdefault(name, classes["gthread"])
        fields = {
            "worker": name,
            "serves": classes[name],
            "gunicorn": gunicorn.__version__,
            "missing": " ".join(missing),
        }
        logger.warning(
            "gunicorn's own worker serves, slow clients can hold it", extra={"fields": fields}
        )


def missing_names(module: str) -> list[str]:
    """What the installed gunicorn lacks of the names that a module of this room uses."""
    return [
        f"{source}.{name}"
        for source, names in GUNICORN_NAMES[module].items()
        for name in names.split()
        if not _exists(source, name)
    ]


def _exists(source: str, name: str) -> bool:
    *owners, last = name.split(".")
    try:
        owner: Any = reduce(getattr, owners, importlib.import_module(source))
    except (ImportError, AttributeError):
        return False
    kinds = inspect.getmro(owner) if inspect.isclass(owner) else ()
    made = [
        vars(kind)["__init__"] for kind in kinds if inspect.isfunction(vars(kind).get("__init__"))
    ]
    return hasattr(owner, last) or any(last in init.__code__.co_names for init in made)

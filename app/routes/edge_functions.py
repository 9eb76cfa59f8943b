"""``/api/edge-functions``: which functions there are, how they are, and calling one."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from itertools import chain

from flask import Blueprint, Response, current_app, request

from app.access.permissions import details_allowed
from app.edge.calls import TIMEOUT_HEADER, Invocation, patience, returned
from app.edge.client import EdgeClient
from app.edge.errors import CallFailed
from app.edge.transports import content_length
from app.routes.bodies.edge_functions import (
    EdgeFunction,
    EdgeHealth,
    EdgeList,
    EdgeMetrics,
    EdgeStatus,
    check,
    function,
    overview,
    statistics,
    watched,
    worker,
)
from app.web.answers import json_answer
from app.web.problem_table import FAILED_CALLS
from app.web.problems import problem
from app.web.request_body import CallerStream

logger = logging.getLogger(__name__)

edge_functions_bp = Blueprint("edge_functions", __name__)


@edge_functions_bp.get("")
def list_functions() -> Response:
    """The registered functions."""
    edge, details = _edge(), details_allowed()
    functions = [function(EdgeFunction, one, details=details) for one in edge.functions]
    return json_answer(overview(EdgeList, edge, details=details, functions=functions))


@edge_functions_bp.get("/status")
def status() -> Response:
    """The functions with their health, breakers and statistics over all workers; calls nobody."""
    edge, details = _edge(), details_allowed()
    workers = edge.workers()
    given = {
        "workers": [worker(said) for said in workers],
        "functions": watched(edge, workers, details=details),
    }
    return json_answer(overview(EdgeStatus, edge, details=details, **given))


@edge_functions_bp.get("/metrics")
def metrics() -> Response:
    """Counts, latencies and uptime of each function over all workers, restarts included."""
    edge = _edge()
    found = {name: statistics(counted) for name, counted in edge.statistics_by_name().items()}
    return json_answer(overview(EdgeMetrics, edge, details=details_allowed(), functions=found))


@edge_functions_bp.route("/health-check", methods=["GET", "POST"])
def health_check() -> Response:
    """Call the health path of every function concurrently; 200 however they are."""
    edge = _edge()
    results = [check(result) for result in edge.check_all_for_request()]
    return json_answer(overview(EdgeHealth, edge, details=details_allowed(), results=results))


@edge_functions_bp.route("/<name>/invoke", methods=["GET", "POST"])
@edge_functions_bp.route("/<name>/invoke/<path:path>", methods=["GET", "POST"])
def invoke(name: str, path: str = "") -> Response:
    """Call one function and answer as it does, within the limits of the service."""
    edge = _edge()
    caller = CallerStream(request, edge.deadlines)
    try:
        invocation = edge.invoke(
            name,
            method=request.method,
            path=path,
            query=request.query_string.decode("latin-1"),
            body=caller.body() if request.method == "POST" else None,
            headers=request.headers.items(),
            patience=patience(request.headers.get(TIMEOUT_HEADER, "")),
        )
    finally:
        caller.close()
    try:
        response = _response(invocation)
    except BaseException:
        invocation.close()
        raise
    response.headers["X-Edge-Function"] = invocation.function
    response.headers["X-Edge-Transport"] = invocation.choice.transport.name
    if invocation.choice.fallback_reason is not None:
        response.headers["X-Edge-Fallback-Reason"] = invocation.choice.fallback_reason
    response.call_on_close(invocation.close)
    return response


def _edge() -> EdgeClient:
    edge: EdgeClient = current_app.extensions["edge"]
    return edge


def _response(invocation: Invocation) -> Response:
    """What the function answered, or the kind of failure under the id that the log has its text."""
    stream: Iterator[bytes] = iter(())
    if request.method != "HEAD" and not invocation.whole:
        # While nothing is sent, what breaks off can still be answered with a status.
        chunks = invocation.chunks()
        with contextlib.suppress(CallFailed), _breaks_logged(invocation):
            stream = chain([next(chunks, b"")], chunks)
    if invocation.error is not None:
        row = FAILED_CALLS[invocation.error]
        return problem(row, function=invocation.function, id=invocation.id)
    if request.method != "HEAD" and invocation.whole:
        response = Response(invocation.body, status=invocation.status)
    else:
        # As long as the function says, if it does: so it is with HEAD (RFC 9110, 8.6), and the only
        # way in which a caller of HTTP/1.0 can tell that a stream broke off.
        body = () if request.method == "HEAD" else _stream(invocation, stream)
        response = Response(body, status=invocation.status)
        response.automatically_set_content_length = False
        if (known := content_length(invocation.headers)) is not None:
            response.content_length = known
    # A function that names no type gets none: a browser must not guess one on this origin.
    response.headers.pop("Content-Type")
    for name, value in returned(invocation.headers):
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _stream(invocation: Invocation, stream: Iterator[bytes]) -> Iterator[bytes]:
    """The body as it comes.

    When it breaks off its status is out already. So the connection is broken off as well, and the
    caller cannot take what came for all of it; servers know the error for a closed connection.
    """
    try:
        with _breaks_logged(invocation):
            yield from stream
    except CallFailed:
        raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from None


@contextlib.contextmanager
def _breaks_logged(invocation: Invocation) -> Iterator[None]:
    try:
        yield
    except CallFailed as failure:
        fields = {"function": invocation.function, "id": invocation.id, "kind": str(failure.kind)}
        logger.warning("edge answer broken off", extra={"fields": fields})
        raise

"""``/api/edge-functions``: which functions there are, how they are, and calling one."""

from __future__ import annotations

import re

from flask import Blueprint, Response, current_app, jsonify, request

from app.edge import (
    EXPLANATIONS,
    EdgeClient,
    EdgeFunction,
    EdgeResponse,
    ErrorKind,
    InvalidPath,
    Invocation,
    NoTransport,
    UnknownFunction,
)
from app.routes.access import details_allowed
from app.routes.bodies import read_body
from app.routes.problems import problem

edge_functions_bp = Blueprint("edge_functions", __name__)

#: The largest body that a caller may send to a function, in bytes.
MAX_BODY = 1024 * 1024
RETRY_SECONDS = 30
#: The response headers that come back from a function. Cookies and redirects stay there.
RETURNED_HEADERS = frozenset(
    {
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "retry-after",
        "x-request-id",
    }
)
_CLEAN_VALUE = re.compile(r"[ -~\t]{0,4096}")
_FINAL_STATUSES = range(200, 600)


@edge_functions_bp.get("")
def list_functions() -> Response:
    """The registered functions."""
    edge = _edge()
    functions = [_shown(function) for function in edge.functions]
    return _uncached({**_overview(edge), "functions": functions})


@edge_functions_bp.get("/status")
def status() -> Response:
    """The functions with their last health check; calls nobody."""
    edge = _edge()
    results = edge.results
    functions = [
        {
            **_shown(function),
            "health": results[function.name].to_dict() if function.name in results else None,
        }
        for function in edge.functions
    ]
    healthy = sum(result.healthy for result in results.values())
    counts = {
        "healthy": healthy,
        "unhealthy": len(results) - healthy,
        "unknown": len(functions) - len(results),
    }
    return _uncached({**_overview(edge), **counts, "functions": functions})


@edge_functions_bp.route("/health-check", methods=["GET", "POST"])
def health_check() -> Response:
    """Call the health path of every function concurrently; 200 however they are."""
    edge = _edge()
    results = edge.check_all()
    healthy = sum(result.healthy for result in results)
    counts = {"healthy": healthy, "unhealthy": len(results) - healthy}
    found = [result.to_dict() for result in results]
    return _uncached({**_overview(edge), **counts, "results": found})


@edge_functions_bp.route("/<name>/invoke", methods=["GET", "POST"])
@edge_functions_bp.route("/<name>/invoke/<path:path>", methods=["GET", "POST"])
def invoke(name: str, path: str = "") -> Response:
    """Call one function and answer as it does, within the limits of the service."""
    invocation = _edge().invoke(
        name,
        method=request.method,
        path=path,
        query=request.query_string.decode("latin-1"),
        body=read_body(MAX_BODY) if request.method == "POST" else None,
        headers=request.headers.items(),
    )
    response = _answer(invocation)
    response.headers["X-Edge-Function"] = name
    response.headers["X-Edge-Transport"] = invocation.choice.transport.name
    if invocation.choice.fallback_reason is not None:
        response.headers["X-Edge-Fallback-Reason"] = invocation.choice.fallback_reason
    return response


@edge_functions_bp.errorhandler(UnknownFunction)
def unknown_function(_: UnknownFunction) -> Response:
    """A name that is not registered."""
    return problem(
        404, "unknown_function", "Unknown function", "No edge function of this name is registered."
    )


@edge_functions_bp.errorhandler(InvalidPath)
def invalid_path(_: InvalidPath) -> Response:
    """A path that could lead elsewhere."""
    detail = "The path may have no dot segments, backslashes or control characters."
    return problem(400, "invalid_path", "Invalid path", detail)


@edge_functions_bp.errorhandler(NoTransport)
def no_transport(_: NoTransport) -> Response:
    """Nothing to call with; a heal may bring it any time."""
    detail = "Neither aiohttp nor requests can be imported, so no function can be called."
    response = problem(503, "no_transport", "No transport", detail)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _edge() -> EdgeClient:
    edge: EdgeClient = current_app.extensions["edge"]
    return edge


def _uncached(body: dict[str, object]) -> Response:
    response = jsonify(body)
    response.headers["Cache-Control"] = "no-store"
    return response


def _overview(edge: EdgeClient) -> dict[str, object]:
    """What every answer about the functions says: how they are called and what is configured."""
    return {
        "transport": edge.transport_name(),
        "fallback_reason": edge.fallback_reason(),
        "configuration": _configuration(edge),
        "total": len(edge.functions),
    }


def _configuration(edge: EdgeClient) -> dict[str, object]:
    registry = edge.registry
    if registry.error is None:
        return {"state": "valid" if registry.configured else "none", "faults": []}
    faults = [{"line": fault.line, "message": fault.message} for fault in registry.error.faults]
    return {"state": "invalid", "faults": faults if details_allowed() else []}


def _shown(function: EdgeFunction) -> dict[str, object]:
    body = function.to_dict()
    if not details_allowed():
        del body["url"], body["health_path"]
    return body


def _answer(invocation: Invocation) -> Response:
    answer = invocation.response
    if answer.error is not None or answer.status not in _FINAL_STATUSES:
        return _failed(answer.error or ErrorKind.PROTOCOL, answer)
    response = Response(answer.body, status=answer.status)
    # A function that names no type gets none: a browser must not guess one on this origin.
    response.headers.pop("Content-Type")
    for name, value in answer.headers:
        if name.lower() in RETURNED_HEADERS and _CLEAN_VALUE.fullmatch(value):
            response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _failed(kind: ErrorKind, answer: EdgeResponse) -> Response:
    """The kind of failure, under the id that the log has its text under."""
    return problem(
        504 if kind is ErrorKind.TIMEOUT else 502,
        f"edge_{kind}",
        "The edge function did not answer",
        EXPLANATIONS[kind],
        function=answer.name,
        id=answer.id,
    )

"""Errors over HTTP: RFC 9457 problem details, which also carry ``error``.

No exception text, path or value of the environment leaves through here: callers get a code and a
fixed sentence, the log gets the text, and both get the same id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from app.access.errors import ChangesDisabled, RateLimited, TokenRequired, TooManyAttempts
from app.edge.errors import (
    BodyBroken,
    BodyTooLarge,
    BodyTooSlow,
    CircuitOpen,
    InvalidPath,
    MethodRefused,
    NoTransport,
    Saturated,
    UnknownFunction,
)
from app.healing.engine import PlanChanged, UnknownFault
from app.healing.kind import NothingToConfirm, OtherCaller
from app.settings.errors import InvalidModuleName
from app.telemetry.context import current_id
from app.utils.auto_fix import AutoFixer
from app.web.problem_table import MEDIA_TYPE, PROBLEMS, Problem, quarantine_problem

logger = logging.getLogger(__name__)

#: Where it is said why something is not available, to whoever may see it.
STATE = "/api/auto-fix/status"
#: Errors of the rooms below, and the codes that they have over HTTP.
ERRORS: Mapping[type[Exception], str] = {
    ChangesDisabled: "changes_disabled",
    TokenRequired: "token_required",
    TooManyAttempts: "too_many_attempts",
    RateLimited: "rate_limited",
    InvalidModuleName: "invalid_module_name",
    UnknownFault: "unknown_fault",
    PlanChanged: "plan_changed",
    NothingToConfirm: "nothing_to_confirm",
    OtherCaller: "other_caller",
    UnknownFunction: "unknown_function",
    InvalidPath: "invalid_path",
    MethodRefused: "method_not_allowed",
    NoTransport: "no_transport",
    CircuitOpen: "circuit_open",
    Saturated: "edge_saturated",
    BodyTooLarge: "content_too_large",
    BodyTooSlow: "request_timeout",
    BodyBroken: "incomplete_body",
}


def problem(
    kind: str | Problem,
    detail: str | None = None,
    /,
    *,
    retry_after: float | None = None,
    **members: object,
) -> Response:
    """A problem details response (RFC 9457) that is not cached.

    Args:
        kind: the code of a problem of the table, or one of its rows.
        detail: one sentence about this occurrence, safe to show; the problem's own without one.
        retry_after: seconds after which to ask again; the problem's own without them.
        members: more members, JSON values.
    """
    row = PROBLEMS[kind] if isinstance(kind, str) else kind
    later = row.retry_after if retry_after is None else retry_after
    response = Response(row.document(detail, **members), row.status, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    if later is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(later)))
    return response


def init_app(app: Flask) -> None:
    """Answer every error of the application as a problem."""
    for kind in ERRORS:
        app.register_error_handler(kind, _domain_problem)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, unexpected_problem)


def _domain_problem(error: Exception) -> Response:
    """What an error that a view lets escape means over HTTP."""
    detail = None
    if isinstance(error, InvalidModuleName):
        detail = f"{error}."
    elif isinstance(error, BodyTooLarge):
        detail = f"The body may have at most {error.limit} bytes."
    elif isinstance(error, MethodRefused):
        detail = f"This function is called with {error.allowed}."
    code = next(code for kind, code in ERRORS.items() if isinstance(error, kind))
    response = problem(code, detail, retry_after=getattr(error, "retry_after", None))
    if isinstance(error, MethodRefused):
        response.headers["Allow"] = error.allowed
    elif isinstance(error, TokenRequired):
        response.headers["WWW-Authenticate"] = 'Bearer realm="auto-fix"'
    return response


def _http_problem(error: HTTPException) -> BaseResponse:
    """The framework's own errors, with their headers and without their HTML."""
    if error.response is not None:
        # What abort() was given, a problem already.
        return error.get_response()
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    code = HTTPStatus(status).name.lower() if status in set(HTTPStatus) else f"http_{status}"
    # The class's sentence: an instance's may quote the request or an exception.
    meaning = type(error).description or "The request cannot be answered."
    response = problem(PROBLEMS.get(code) or Problem(status, code, meaning))
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def unavailable(code: str, detail: str, **members: object) -> Response:
    """503 for what is not there now; its ``state`` leads to what is known of it."""
    return problem(quarantine_problem(code), detail, retry_after=None, state=STATE, **members)


def explained_problem(error: Exception) -> Response | None:
    """503 for an error that comes of a fault of the surroundings; None for any other.

    Such as a variable that is not set, or a database that is gone. What can be mended is.
    """
    fixer: AutoFixer = current_app.extensions["auto_fixer"]
    fault = fixer.explain(error)
    if fault is None:
        return None
    fields = {"method": request.method, "path": request.path}
    fields |= {"kind": fault.kind, "subject": fault.subject, "cause": str(fault.cause)}
    logger.error("request misses what it needs", extra={"fields": fields})
    if fault.fixable:
        fixer.heal_in_background(fault)
    return unavailable(str(fault.cause), "Something that this request needs is not available.")


def unexpected_problem(error: Exception) -> Response:
    """500 for an error that nobody expected; the log has its trace under the id that is shown.

    One that comes of a fault of the surroundings is 503.
    """
    explained = explained_problem(error)
    if explained is not None:
        return explained
    fields = {"method": request.method, "path": request.path}
    logger.error("request failed unexpectedly", exc_info=error, extra={"fields": fields})
    return problem("internal_error", id=current_id())

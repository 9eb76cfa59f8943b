"""Errors over HTTP: RFC 9457 problem details, which also carry ``error``.

No exception text, path or value of the environment leaves through here: callers get a code and a
fixed sentence, the log gets the text, and both get the same id.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from app.telemetry.context import current_id
from app.web.problem_document import MEDIA_TYPE, problem_document

logger = logging.getLogger(__name__)


def problem(status: int, code: str, title: str, detail: str, **extra: object) -> Response:
    """A problem details response (RFC 9457) that is not cached.

    Args:
        status: the HTTP status.
        code: a stable machine-readable word, such as ``module_required``.
        title: what kind of problem this is, the same each time.
        detail: one sentence about this occurrence, safe to show.
        extra: more members, JSON values.
    """
    body = problem_document(status, code, title, detail, **extra)
    response = Response(body, status=status, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Answer every error of the application as a problem."""
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, unexpected_problem)


def _http_problem(error: HTTPException) -> BaseResponse:
    """The framework's own errors, with their headers and without their HTML."""
    if error.response is not None:
        # What abort() was given, a problem already.
        return error.get_response()
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    # The class's sentence: an instance's may quote the request or an exception.
    detail = type(error).description or "The request cannot be answered."
    response = problem(status, _code(status), error.name, detail)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _code(status: int) -> str:
    """``not_found`` for 404."""
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return f"http_{status}"


def unexpected_problem(error: Exception) -> Response:
    """500 for an error that nobody expected; the log has its trace under the id that is shown."""
    fields = {"method": request.method, "path": request.path}
    logger.error("request failed unexpectedly", exc_info=error, extra={"fields": fields})
    return problem(
        500,
        "internal_error",
        "Internal Server Error",
        "The request failed unexpectedly; the log has the reason under this id.",
        id=current_id(),
    )

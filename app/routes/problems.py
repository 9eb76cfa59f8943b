"""Errors over HTTP: RFC 9457 problem details, which also carry ``error``.

No exception text, path or value of the environment leaves through here: callers get a code and a
fixed sentence, the log gets the text, and both get the same id.
"""

from __future__ import annotations

import json
import logging
import uuid
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: A response that says nothing else may load nothing, run nothing and stand in no frame.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}


def problem(status: int, code: str, title: str, detail: str, **extra: object) -> Response:
    """A problem details response (RFC 9457) that is not cached.

    Args:
        status: the HTTP status.
        code: a stable machine-readable word, such as ``module_required``.
        title: what kind of problem this is, the same each time.
        detail: one sentence about this occurrence, safe to show.
        extra: more members, JSON values.
    """
    body = {
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "error": detail,
        **extra,
    }
    response = Response(json.dumps(body) + "\n", status=status, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Answer every error of the application as a problem, and harden every response."""
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Exception, unexpected_problem)
    app.after_request(_harden)


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
    reference = uuid.uuid4().hex
    fields = {"id": reference, "method": request.method, "path": request.path}
    logger.error("request failed unexpectedly", exc_info=error, extra={"fields": fields})
    return problem(
        500,
        "internal_error",
        "Internal Server Error",
        "The request failed unexpectedly; the log has the reason under this id.",
        id=reference,
    )


def _harden(response: Response) -> Response:
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)
    return response

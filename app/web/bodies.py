"""Reading request bodies within bounds."""

from __future__ import annotations

import json
import time

from flask import abort, current_app, request

from app.edge import CallerFault
from app.services import Services
from app.web.caller import CallerStream, caller_fault
from app.web.problems import problem

#: What Flask itself reads of a body at most. Nothing here reads forms; calls of edge functions have
#: the limits of their functions.
REQUEST_LIMITS = {
    "MAX_CONTENT_LENGTH": 1 << 20,
    "MAX_FORM_MEMORY_SIZE": 64 << 10,
    "MAX_FORM_PARTS": 100,
}


def read_body(limit: int) -> bytes:
    """The request's body, which has to arrive within the time that a request has.

    Raises:
        HTTPException: 413 when it is larger than ``limit`` bytes, announced or not; 408 when it
            does not arrive in time; 400 when it breaks off.
    """
    services: Services = current_app.extensions["services"]
    until = time.monotonic() + services.settings.request_timeout
    caller = CallerStream(request, services.edge.deadlines)
    try:
        return caller.whole(limit, until)
    except CallerFault as fault:
        abort(caller_fault(fault))
    finally:
        caller.close()


def read_object(limit: int) -> dict[str, object]:
    """The JSON object that is the request's body; who names no content type means JSON.

    Raises:
        HTTPException: 415 when it is of another type, 413 when it is too large, 400 when it is no
            JSON object.
    """
    if not _may_be_json(request.mimetype):
        _refuse_type()
    try:
        found = json.loads(read_body(limit))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        abort(problem(400, "invalid_json", "Bad Request", "The body must be a JSON object."))
    return found


def _may_be_json(mimetype: str) -> bool:
    """By its suffix too (RFC 6839)."""
    known = mimetype in {"", "application/json"}
    return known or (mimetype.startswith("application/") and mimetype.endswith("+json"))


def _refuse_type() -> None:
    detail = "The body must be application/json."
    refusal = problem(415, "unsupported_media_type", "Unsupported Media Type", detail)
    refusal.headers["Accept"] = "application/json"
    abort(refusal)

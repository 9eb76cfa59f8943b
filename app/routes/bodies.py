"""Reading request bodies within bounds."""

from __future__ import annotations

import json

from flask import abort, request

from app.routes.problems import problem


def read_body(limit: int) -> bytes:
    """The request's body.

    Raises:
        HTTPException: 413 when it is larger than ``limit`` bytes, announced or not.
    """
    if (request.content_length or 0) > limit:
        _refuse(limit)
    body = bytearray()
    while len(body) <= limit and (chunk := request.stream.read(limit + 1 - len(body))):
        body += chunk
    if len(body) > limit:
        _refuse(limit)
    return bytes(body)


def read_object(limit: int) -> dict[str, object]:
    """The JSON object that is the request's body, whatever content type it names.

    Raises:
        HTTPException: 413 when it is too large, 400 when it is no JSON object.
    """
    try:
        found = json.loads(read_body(limit))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        abort(problem(400, "invalid_json", "Bad Request", "The body must be a JSON object."))
    return found


def _refuse(limit: int) -> None:
    detail = f"The body may have at most {limit} bytes."
    abort(problem(413, "content_too_large", "Content Too Large", detail))

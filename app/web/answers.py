"""Answers that are no problem: JSON of now, health, and what stays the same for long."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Response, request

from app.access.permissions import details_allowed
from app.healing.report import Status
from app.health import FRESH_SECONDS, HealthReading
from app.web.json_bodies import encode

#: Makes the body of a reading, with details or without: ``maker(reading, details=…)``.
Maker = Callable[..., object]

_VARY = ("Vary", "Accept, Authorization, Cookie")
_NO_STORE = ("Cache-Control", "no-store")
#: Counted from when the reading was new, which the Age header says (RFC 9111, 4.2.3).
_CACHED = ("Cache-Control", f"private, max-age={FRESH_SECONDS:.0f}")


def json_answer(body: object) -> Response:
    """200 with what holds at this moment, which nobody keeps."""
    return Response(encode(body), content_type="application/json", headers=(_NO_STORE,))


def lasting_answer(body: bytes, mimetype: str) -> Response:
    """200 with what may be kept and is asked for again each time: 304 while it is the same."""
    response = Response(body, mimetype=mimetype, headers={"Cache-Control": "no-cache"})
    response.set_etag(tag_of(body))
    response.make_conditional(request)
    return response


def tag_of(body: bytes) -> str:
    """The ETag of a body, the same in every process."""
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A body ready to be sent; ``etag`` is None when nobody may keep it."""

    body: bytes
    status: int
    etag: str | None


def health_answer(
    reading: HealthReading, makers: Mapping[str, Maker], *, cacheable: bool = False
) -> Response:
    """What the request may see of a reading, in the format that it asks for.

    503 when the service is unhealthy, which nobody may keep. With ``cacheable`` any other answer
    may be kept while it is fresh, and who has it already gets 304.

    Args:
        reading: what is known.
        makers: what makes the body, by media type. Who asks for none of them gets the first (RFC
            9110, 12.5.1).
        cacheable: whether an answer may be kept.
    """
    media_type, *others = makers
    # Looked at first: parsing costs more than all the rest.
    if any(other in request.environ.get("HTTP_ACCEPT", "") for other in others):
        media_type = request.accept_mimetypes.best_match(makers) or media_type
    details = details_allowed()
    key = makers[media_type], details
    rendered: Rendered | None = reading.rendered.get(key)
    if rendered is None:
        body = encode(makers[media_type](reading, details=details)).encode()
        healthy = reading.report.overall_status is not Status.UNHEALTHY
        rendered = reading.rendered[key] = Rendered(
            body,
            HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE,
            tag_of(body) if healthy else None,
        )
    content_type = ("Content-Type", media_type)
    if not cacheable or rendered.etag is None:
        return Response(rendered.body, rendered.status, (content_type, _NO_STORE, _VARY))
    age = ("Age", str(int(reading.age_seconds)))
    headers = (content_type, ("ETag", f'"{rendered.etag}"'), _CACHED, _VARY, age)
    if "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.contains_weak(
        rendered.etag
    ):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(rendered.body, rendered.status, headers)

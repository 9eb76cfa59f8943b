"""What a client gets for a request that never reaches the application."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gunicorn import SERVER, util
from gunicorn.http import errors

from app.telemetry.context import REQUEST_ID_HEADER, request_id
from app.web.headers import SECURITY_HEADERS
from app.web.problem_table import MEDIA_TYPE, PROBLEMS, Problem

if TYPE_CHECKING:
    from app.services import Services

logger = logging.getLogger(__name__)

#: The longest request target that is logged when a request fails unexpectedly.
_SHOWN = 200


class HeadTooSlow(Exception):
    """A request's head did not arrive whole within the time that it has."""


_FAILED = PROBLEMS["internal_error"]
#: By the first class that fits. The texts of gunicorn's own errors quote the request.
_REFUSALS: dict[type[Exception], Problem] = {
    # Names of headers that the application gave: no client's fault, though the classes say so.
    errors.InvalidResponseHeader: _FAILED,
    errors.InvalidResponseHeaderName: _FAILED,
    errors.ConfigurationProblem: _FAILED,
    HeadTooSlow: PROBLEMS["request_timeout"],
    errors.LimitRequestLine: PROBLEMS["uri_too_long"],
    errors.LimitRequestHeaders: PROBLEMS["request_header_fields_too_large"],
    errors.ExpectationFailed: PROBLEMS["expectation_failed"],
    errors.UnsupportedTransferCoding: PROBLEMS["not_implemented"],
    errors.InvalidHTTPVersion: PROBLEMS["http_version_not_supported"],
    errors.ForbiddenProxyRequest: PROBLEMS["forbidden"],
    errors.ParseException: PROBLEMS["bad_request"],
}


class Refusing:
    """A mixin for gunicorn's workers: its own errors become problems too (RFC 9457).

    Each has a request id, in its X-Request-ID and in its line of the log: the caller's where that
    was read and is a plain one, or else a new one.

    Nothing that a client sent, no exception's text and no version is in an answer. A client's fault
    is one line of the log without what was sent, because a malformed header may hold a credential.
    """

    def handle_error(
        self,
        req: Any,  # noqa: ANN401 - gunicorn's own
        client: Any,  # noqa: ANN401
        addr: Any,  # noqa: ANN401
        exc: BaseException,
    ) -> None:
        """Answer in the place of a request that cannot be served; the connection ends with it."""
        refusal, reference = refusal_of(exc), _request_id(req, exc)
        headers = {**SECURITY_HEADERS, REQUEST_ID_HEADER: reference}
        members: dict[str, str] = {}
        if refusal is _FAILED:
            members["id"] = reference
            _log_failure(reference, req, exc)
        else:
            _log_refusal(reference, refusal, addr, exc)
        services: Services | None = getattr(getattr(self, "wsgi", None), "services", None)
        if services is not None:
            services.metrics.refusal(refusal.status)
        # The client may be gone already.
        with contextlib.suppress(OSError):
            util.write_nonblock(client, answer(refusal, headers, **members))


def refusal_of(error: BaseException) -> Problem:
    """What to answer; an error that no client can cause is a 500."""
    if isinstance(error, errors.InvalidHTTPVersion) and isinstance(error.version, str):
        # It is no HTTP version at all.
        return PROBLEMS["bad_request"]
    return next((r for kind, r in _REFUSALS.items() if isinstance(error, kind)), _FAILED)


def answer(refusal: Problem, more: Mapping[str, str], **members: str) -> bytes:
    """The whole response, with ``more`` headers and more ``members`` of the problem."""
    body = refusal.document(None, **members).encode()
    headers = {
        "Server": SERVER,
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **more,
    }
    phrase = HTTPStatus(refusal.status).phrase
    lines = [f"HTTP/1.1 {refusal.status} {phrase}", *map(": ".join, headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _request_id(req: Any, error: BaseException) -> str:  # noqa: ANN401
    # Some of gunicorn's errors have the request, some its first line, most of them neither.
    headers = getattr(req or getattr(error, "req", None), "headers", ())
    given = [value for name, value in headers if name == REQUEST_ID_HEADER.upper()]
    return request_id(given[0] if len(given) == 1 else None)


def _log_refusal(reference: str, refusal: Problem, addr: Any, error: BaseException) -> None:  # noqa: ANN401
    fields = {
        "request_id": reference,
        "status": refusal.status,
        "reason": type(error).__name__,
        # A peer over a Unix socket has no address.
        "peer": addr[0] if addr else "",
    }
    logger.warning("request refused", extra={"fields": fields})


def _log_failure(reference: str, req: Any, error: BaseException) -> None:  # noqa: ANN401
    fields = {
        "request_id": reference,
        "method": getattr(req, "method", None),
        "path": (getattr(req, "path", None) or "")[:_SHOWN],
    }
    logger.error("request failed unexpectedly", exc_info=error, extra={"fields": fields})

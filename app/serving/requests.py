"""How every worker class reads requests, and what a client gets for one that is refused.

Requests are read more strictly than gunicorn reads them. gunicorn's own errors become problems
(RFC 9457), like those of the application.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gunicorn import SERVER, util
from gunicorn.http import errors
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker

from app.telemetry.context import REQUEST_ID_HEADER, request_id
from app.web.headers import SECURITY_HEADERS
from app.web.problem_table import MEDIA_TYPE, PROBLEMS, Problem

if TYPE_CHECKING:
    from app.services import Services

logger = logging.getLogger(__name__)

#: The longest request target that is logged when a request fails unexpectedly.
_LONGEST_PATH = 200
#: RFC 3986 section 3.2: a name or an address, and a port.
_HOST = re.compile(r"[\w.~%!$&'()*+,;=:\[\]-]*", re.ASCII)


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


class Strict(Worker):  # type: ignore[misc] # gunicorn ships no type hints
    """A mixin for gunicorn's workers: requests are read strictly, and refused with a problem.

    Each refusal has a request id, in its X-Request-ID and in its line of the log: the caller's
    where that was read and is a plain one, or else a new one.

    Nothing that a client sent, no exception's text and no version is in an answer. A client's fault
    is one line of the log without what was sent, because a malformed header may hold a credential.
    """

    def init_process(self) -> None:
        """Prepare the worker's process."""
        # gunicorn lets no worker choose its parser. This process is the worker's own.
        RequestParser.mesg_class = StrictRequest
        super().init_process()

    def handle_error(
        self,
        req: Any,  # noqa: ANN401 - gunicorn's own
        client: Any,  # noqa: ANN401
        addr: Any,  # noqa: ANN401
        exc: BaseException,
    ) -> None:
        """Answer in the place of a request that cannot be served; the connection ends with it."""
        refusal, members = refusal_of(exc), {}
        # Some of gunicorn's errors have the request, some its first line, most of them neither.
        read = getattr(req or getattr(exc, "req", None), "headers", ())
        given = [value for name, value in read if name == REQUEST_ID_HEADER.upper()]
        reference = request_id(given[0] if len(given) == 1 else None)
        if refusal is _FAILED:
            members["id"] = reference
            fields = {
                "request_id": reference,
                "method": getattr(req, "method", None),
                "path": (getattr(req, "path", None) or "")[:_LONGEST_PATH],
            }
            logger.error("request failed unexpectedly", exc_info=exc, extra={"fields": fields})
        else:
            fields = {
                "request_id": reference,
                "status": refusal.status,
                "reason": type(exc).__name__,
                # A peer over a Unix socket has no address.
                "peer": addr[0] if addr else "",
            }
            logger.warning("request refused", extra={"fields": fields})
        services: Services | None = getattr(getattr(self, "wsgi", None), "services", None)
        if services is not None:
            services.metrics.refusal(refusal.status)
        headers = {**SECURITY_HEADERS, REQUEST_ID_HEADER: reference}
        # The client may be gone already.
        with contextlib.suppress(OSError):
            util.write_nonblock(client, answer(refusal, headers, **members))


class StrictRequest(Request):  # type: ignore[misc]
    """A request after which the connection goes on only when the next one's start is known."""

    body: Any

    def set_body_reader(self) -> None:
        """Choose how the body is read.

        Raises:
            InvalidHeader: the host is missing or cannot be one (RFC 9112 section 3.2).
        """
        hosts = [value for name, value in self.headers if name == "HOST"]
        if not all(map(_HOST.fullmatch, hosts)) or (not hosts and self.version > (1, 0)):
            raise errors.InvalidHeader("HOST", req=self)
        super().set_body_reader()
        if type(self.body.reader) is LengthReader:
            self.body = Body(WholeReader(self.unreader, self.body.reader.length))

    def should_close(self) -> bool:
        """Whether no other request can follow on the connection.

        A body that nobody read is not waited for: a thread could be held with it.
        """
        if super().should_close():
            return True
        if self.body is None or self.body.failed:
            return self.body is not None
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            return reader.parser is not None
        return bool(reader.length > self.unreader.buf.getbuffer().nbytes)


class WholeReader(LengthReader):  # type: ignore[misc]
    """Reads a body of known length, and takes no shorter one for it."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes.

        Raises:
            NoMoreData: the connection ended before the body did.
        """
        wanted = min(size, self.length)
        part: bytes = super().read(size)
        if len(part) < wanted:
            raise errors.NoMoreData
        return part


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

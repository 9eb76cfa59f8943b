"""How every worker class reads requests, and what a client gets for one that is refused.

Requests are read more strictly than gunicorn reads them. gunicorn's own errors become problems
(RFC 9457), like those of the application.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import socket
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

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
    from types import FrameType

    from app.services import Services

logger = logging.getLogger(__name__)

#: The longest request target that is logged when a request fails unexpectedly.
_LONGEST_PATH = 200
#: Seconds for which a stopping worker still accepts connections: at most, and after a request.
DRAIN_SECONDS, QUIET_SECONDS = 2.0, 0.5
#: Seconds between two looks of a stopping worker at the clock.
LOOK_SECONDS = 0.1
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

    On SIGTERM a worker is drained. It says that it is not ready, and serves on, each connection for
    one more request, for a quarter of its graceful timeout (``DRAIN_SECONDS`` at most) or until
    nobody has asked for ``QUIET_SECONDS``. Only then it stops listening. So whoever sends it
    requests learns of its end from an answer, and not from a reset.
    """

    cfg: Any
    alive: bool
    nr: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args, **kwargs)
        #: When SIGTERM came.
        self.stopped_at: float | None = None
        self._last_request = (0, 0.0)

    def init_process(self) -> None:
        """Prepare the worker's process."""
        # gunicorn lets no worker choose its parser. This process is the worker's own.
        RequestParser.mesg_class = StrictRequest
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a worker that does not serve yet ends."""
        if not self.booted:
            super().handle_exit(sig, frame)
        elif self.stopped_at is None:
            self.stopped_at = time.monotonic()

    def notify(self) -> None:
        """Give a sign of life, as in each round of its work, and stop when drained."""
        super().notify()
        if self.stopped_at is None or not self.alive:
            return
        now = time.monotonic()
        if not StrictRequest.are_last:
            StrictRequest.are_last = True
            self.wsgi.drain()
            self._last_request = self.nr, now
        if self.nr != self._last_request[0]:
            self._last_request = self.nr, now
        drained = now - self.stopped_at
        longest = min(self.cfg.graceful_timeout / 4, DRAIN_SECONDS)
        if drained >= longest or now - self._last_request[1] >= QUIET_SECONDS:
            # The master counts from the signal on, and kills what is left.
            self.cfg.set("graceful_timeout", max(1, int(self.cfg.graceful_timeout - drained)))
            self.alive = False

    def round_seconds(self, longest: float) -> float:
        """How long a round may wait for something to do."""
        return longest if self.stopped_at is None else min(longest, LOOK_SECONDS)

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
    headers: list[tuple[str, str]]
    method: str
    path: str
    query: str
    uri: str
    _expected_100_continue: bool
    version: tuple[int, int]
    #: Whether each connection is closed after its next request, in this whole process.
    are_last: ClassVar[bool] = False
    #: Whether the connection is closed after this one for that reason.
    is_last: bool | None = None

    def set_body_reader(self) -> None:
        """Choose how the body is read, when the header is.

        Raises:
            InvalidHeader: the host is missing or cannot be one (RFC 9112 section 3.2).
            InvalidRequestLine: the target has a fragment, or is another scheme's.
            UnsupportedTransferCoding: the body is encoded as nobody here decodes it.
        """
        # Who knows a later version understands this one (RFC 9110 section 2.5).
        self.version = min(self.version, (1, 1))
        hosts = [value for name, value in self.headers if name == "HOST"]
        if not hosts and self.version > (1, 0):
            raise errors.InvalidHeader("HOST", req=self)
        if "#" in self.uri:
            raise errors.InvalidRequestLine(self.uri)
        if self.method != "CONNECT" and not self.uri.startswith(("/", "*")):
            hosts.append(self._read_absolute_target())
        if not all(map(_HOST.fullmatch, hosts)):
            raise errors.InvalidHeader("HOST", req=self)
        # Nothing is upgraded to here (RFC 9110 section 7.8); Werkzeug would refuse a WebSocket.
        self.headers = [one for one in self.headers if one[0] != "UPGRADE"]
        super().set_body_reader()
        codings = [value for name, value in self.headers if name == "TRANSFER-ENCODING"]
        if any(value.strip().lower() != "chunked" for value in codings):
            raise errors.UnsupportedTransferCoding(", ".join(codings))
        if type(self.body.reader) is LengthReader:
            self.body = Body(WholeReader(self.unreader, self.body.reader.length))
        if self._expected_100_continue:
            # gunicorn would send it before anybody has decided to read the body.
            self._expected_100_continue = False
            self.body = ExpectedBody(self.body.reader, self.unreader)

    def _read_absolute_target(self) -> str:
        """Take the host from the target, and from no header (RFC 9112 section 3.2.2)."""
        scheme, _, rest = self.uri.partition("://")
        host = re.split("[/?]", rest, maxsplit=1)[0]
        if scheme.lower() not in {"http", "https"} or not host:
            raise errors.InvalidRequestLine(self.uri)
        self.headers = [one for one in self.headers if one[0] != "HOST"] + [("HOST", host)]
        # RFC 9110 section 4.2.3, and for OPTIONS RFC 9112 section 3.2.4.
        everything = self.method == "OPTIONS" and not self.query
        self.path = self.path or ("*" if everything else "/")
        return host

    def should_close(self) -> bool:
        """Whether no other request can follow on the connection.

        A body that nobody read is not waited for: a thread could be held with it.
        """
        # Asked first when the answer's header is sent, and what that said holds.
        if self.is_last is None:
            self.is_last = StrictRequest.are_last
        if self.is_last or super().should_close():
            return True
        if self.body is None or self.body.failed:
            return self.body is not None
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            return reader.parser is not None
        return bool(reader.length > self.unreader.buf.getbuffer().nbytes)


class ExpectedBody(Body):  # type: ignore[misc]
    """A body that the client sends when it is told to go on: when somebody reads it."""

    def __init__(self, reader: Any, unreader: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(reader)
        self._unreader, self._awaited = unreader, True

    def _read_reader(self, size: int) -> bytes:
        # Who has sent some of it already does not wait.
        if self._awaited and not self._unreader.buf.getvalue():
            self._unreader.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._awaited = False
        part: bytes = super()._read_reader(size)
        return part


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


class ClosedListener(NamedTuple):
    """What is still asked of a listener that listens no longer."""

    name: Any

    def getsockname(self) -> Any:  # noqa: ANN401 - the socket's own
        """Where it listened."""
        return self.name


def close_listener(listener: socket.socket) -> list[tuple[ClosedListener, socket.socket, Any]]:
    """Stop listening, and return the connections that had come: closing alone resets them.

    Each is what a worker's ``handle`` takes: the listener, the connection, the client's address.
    """
    closed, family = ClosedListener(listener.getsockname()), listener.family
    listener.settimeout(0)
    descriptor = listener.detach()
    # No other thread runs in between, as it would with Python's own: nobody connects meanwhile.
    libc, accepted = ctypes.PyDLL(None), []
    while (one := libc.accept(descriptor, None, None)) >= 0:
        accepted.append(one)
    libc.close(descriptor)
    clients = [socket.socket(family, socket.SOCK_STREAM, fileno=one) for one in accepted]
    connections = []
    for client in clients:
        client.settimeout(None)
        # A client that has gone again has no address.
        with contextlib.suppress(OSError):
            connections.append((closed, client, client.getpeername()))
    return connections


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

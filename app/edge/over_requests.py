"""Edge calls through requests: threads over one shared pool of connections.

The library's adapter is used on its own. What a session would add is not wanted here: cookies of
one caller for the next, redirects, credentials from the environment.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from http.client import HTTPException

import requests
from requests import exceptions as requests_errors
from urllib3 import exceptions as urllib3_errors

from app.edge.adapter import Guard, GuardedAdapter
from app.edge.deadlines import Deadlines
from app.edge.errors import CallerFault, ErrorKind
from app.edge.exchange import (
    CHUNK_BYTES,
    GRACE_SECONDS,
    Body,
    CallFailed,
    Collector,
    EdgeRequest,
    EdgeResponse,
    Reply,
    failed,
    proxy_for,
    told,
)

#: Threads for health checks, and for calls. A thread is only made when it is needed.
CHECK_THREADS, CALL_THREADS = 200, 512


class RequestsTransport:
    """Sends through requests. The first threads start with the first call."""

    name = "requests"

    def __init__(self) -> None:
        self._adapter = GuardedAdapter()
        self._deadlines = Deadlines()
        self._calls = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="edge-requests")
        self._checks = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="edge-requests-check")
        trusted = ssl.get_default_verify_paths()
        # The certificates that aiohttp trusts as well.
        self._verify = trusted.cafile or trusted.capath or True

    def open(self, request: EdgeRequest) -> Reply:
        """Call, and come back with the answer or with its beginning."""
        until = time.monotonic() + request.timeout
        call = self._calls.submit(self._open, request, until)
        try:
            # A thread that is held where no deadline reaches, in a name lookup, is left behind.
            return call.result(request.timeout + GRACE_SECONDS)
        except (TimeoutError, CancelledError) as error:
            call.cancel()
            call.add_done_callback(_discard)
            raise told(request, error, ErrorKind.TIMEOUT, request.timeout) from error

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""
        if not batch:
            return []
        calls = [self._checks.submit(self._check, request) for request in batch]
        rounds = 1 + len(batch) // CHECK_THREADS
        patience = rounds * max(request.timeout for request in batch) + GRACE_SECONDS
        until = time.monotonic() + patience
        return [_result(call, request, until) for call, request in zip(calls, batch, strict=True)]

    def close(self) -> None:
        """Cut the calls in flight, which ends their threads, and close the connections."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._checks.shutdown(wait=False, cancel_futures=True)
        self._adapter.close()
        self._deadlines.close()

    def _check(self, request: EdgeRequest) -> EdgeResponse:
        started = time.monotonic()
        try:
            reply = self._open(request, started + request.timeout)
        except CallFailed as failure:
            return failed(request, failure, time.monotonic() - started)
        reply.close()
        seconds = time.monotonic() - started
        return EdgeResponse(name=request.name, id=request.id, seconds=seconds, status=reply.status)

    def _open(self, request: EdgeRequest, until: float) -> Reply:
        call = _Call(request, until, self._deadlines)
        try:
            return self._exchange(call)
        except Exception as error:
            raise call.failure(error) from error

    def _exchange(self, call: _Call) -> Reply:
        request = call.request
        proxy = proxy_for(request.url)
        with self._adapter.guarded(call.guard):
            response = self._adapter.send(
                _prepared(request),
                stream=True,
                timeout=max(0.001, call.until - time.monotonic()),
                verify=self._verify,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        call.response = response
        _check_headers(response)
        collector = Collector(request, response.status_code, response.headers)
        while collector.holds:
            chunk = call.read()
            collector.held += collector.count(chunk)
            if not chunk:
                call.close()
                return _reply(response, collector, None, None)
        return _reply(response, collector, call.rest(collector), call.close)


class _Call:
    """One call under way: its deadline, its connection, its answer."""

    def __init__(self, request: EdgeRequest, until: float, deadlines: Deadlines) -> None:
        self.request = request
        self.until = until
        self.guard = Guard()
        self.response: requests.Response | None = None
        self._started = time.monotonic()
        self._watch = deadlines.watch(until, self.guard.cut)

    def read(self) -> bytes:
        """Some more of the answer; nothing at its end."""
        assert self.response is not None  # noqa: S101 - it is there once the head is
        read: Callable[..., bytes] = self.response.raw.read1
        chunk = read(CHUNK_BYTES, decode_content=False)
        # A connection that was cut at the deadline can look like an answer's proper end.
        if self._watch.expired or time.monotonic() > self.until:
            raise CallFailed(ErrorKind.TIMEOUT, self.response.status_code)
        return chunk

    def rest(self, collector: Collector) -> Iterator[bytes]:
        """What follows, read as it is asked for."""
        try:
            while chunk := collector.count(self.read()):
                yield chunk
        except Exception as error:
            raise self.failure(error) from error

    def close(self) -> None:
        """Give the connection back."""
        self._watch.cancel()
        if self.response is not None:
            self.response.close()

    def failure(self, error: Exception) -> Exception:
        """What the error amounts to."""
        self.close()
        if isinstance(error, CallerFault):
            return error
        kind = ErrorKind.TIMEOUT if self._watch.expired else _kind(error)
        return told(self.request, error, kind, time.monotonic() - self._started)


def _prepared(request: EdgeRequest) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    body = request.body
    data = body if isinstance(body, bytes | None) else _Upload(body)
    prepared.prepare(
        method=request.method, url=request.url, headers=request.all_headers(), data=data
    )
    return prepared


class _Upload:
    """A caller's body as the library reads one."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __len__(self) -> int:
        """Its bytes; 0 when they are not known, and then it is sent in chunks."""
        return self._body.length or 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._body.read():
            yield chunk


def _check_headers(response: requests.Response) -> None:
    """Refuse a head that cannot be read, which the library lets through.

    Raises:
        CallFailed: for what aiohttp would refuse.
    """
    original = getattr(response.raw, "_original_response", None)
    defects = original is not None and original.msg.defects
    lengths = response.raw.headers.get("Content-Length", "0")
    if defects or not lengths.isdecimal():
        raise CallFailed(ErrorKind.PROTOCOL, response.status_code)


def _reply(
    response: requests.Response,
    collector: Collector,
    rest: Iterator[bytes] | None,
    close: Callable[[], None] | None,
) -> Reply:
    headers = tuple(response.raw.headers.items())
    return Reply(response.status_code, headers, bytes(collector.held), rest, close)


def _result(call: Future[EdgeResponse], request: EdgeRequest, until: float) -> EdgeResponse:
    """The call's response, or a timeout when its thread is held where no deadline reaches."""
    try:
        return call.result(max(0.0, until - time.monotonic()))
    except (TimeoutError, CancelledError) as error:
        call.cancel()
        late = told(request, error, ErrorKind.TIMEOUT, request.timeout)
        return failed(request, late, request.timeout)


def _discard(call: Future[Reply]) -> None:
    """Close the answer that nobody waits for any more."""
    if not call.cancelled() and call.exception() is None:
        call.result().close()


#: From the particular to the general: several of these errors are more than one of them.
_KINDS: tuple[tuple[tuple[type[Exception], ...], ErrorKind], ...] = (
    ((requests_errors.Timeout, urllib3_errors.TimeoutError, TimeoutError), ErrorKind.TIMEOUT),
    ((requests_errors.SSLError, urllib3_errors.SSLError, ssl.SSLError), ErrorKind.TLS),
    ((requests_errors.ProxyError,), ErrorKind.CONNECT),
    ((requests_errors.ChunkedEncodingError,), ErrorKind.PROTOCOL),
    ((urllib3_errors.HTTPError, HTTPException), ErrorKind.PROTOCOL),
    ((requests_errors.RequestException,), ErrorKind.PROTOCOL),
    ((OSError,), ErrorKind.CONNECT),
)


def _kind(error: Exception) -> ErrorKind:
    if isinstance(error, CallFailed):
        return error.kind
    if type(error) is requests_errors.ConnectionError:
        # One class for "no connection" and "connection broken": what it wraps tells them apart.
        refused = isinstance(error.args[0] if error.args else None, urllib3_errors.MaxRetryError)
        return ErrorKind.CONNECT if refused else ErrorKind.PROTOCOL
    return next((kind for known, kind in _KINDS if isinstance(error, known)), ErrorKind.INTERNAL)


TRANSPORT = RequestsTransport

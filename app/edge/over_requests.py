"""Edge calls through requests: a pool of threads, each with a session of its own."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy

import requests
from requests import exceptions as requests_errors
from urllib3 import exceptions as urllib3_errors

from app.edge.errors import ErrorKind
from app.edge.transports import (
    CHUNK_BYTES,
    DEFAULT_HEADERS,
    MAX_BODY_BYTES,
    CallFailed,
    EdgeRequest,
    EdgeResponse,
    check_head,
    failed,
    patience,
    proxy_for,
)

#: Two hundred functions take two rounds; a thread is only made when it is needed.
MAX_THREADS = 100


class RequestsTransport:
    """Sends through requests. The first threads start with the first call."""

    name = "requests"

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="edge-requests")
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""
        if not batch:
            return []
        calls = [self._pool.submit(self._send, request) for request in batch]
        deadline = time.monotonic() + patience(batch, MAX_THREADS)
        return [
            _result(call, request, deadline) for call, request in zip(calls, batch, strict=True)
        ]

    def close(self) -> None:
        """Stop the threads as their calls end, and close the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for session in self._sessions:
            session.close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _new_session()
            self._sessions.append(session)
        return session

    def _send(self, request: EdgeRequest) -> EdgeResponse:
        started = time.monotonic()
        try:
            return _exchange(self._session(), request, started)
        except Exception as error:  # noqa: BLE001 - one call's failure is never another's
            return failed(request, error, _kind(error), time.monotonic() - started)


def _new_session() -> requests.Session:
    session = requests.Session()
    # One caller's cookies are not another's, and the environment's .netrc is nobody's here.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = False
    session.headers.clear()
    # The certificates that aiohttp trusts as well.
    trusted = ssl.get_default_verify_paths()
    session.verify = trusted.cafile or trusted.capath or True
    return session


def _result(call: Future[EdgeResponse], request: EdgeRequest, deadline: float) -> EdgeResponse:
    """The call's response, or a timeout when its thread is still held by a dripping function."""
    left = max(0.0, deadline - time.monotonic())
    try:
        return call.result(left)
    except (TimeoutError, CancelledError) as error:
        call.cancel()
        return failed(request, error, ErrorKind.TIMEOUT, request.timeout)


def _exchange(session: requests.Session, request: EdgeRequest, started: float) -> EdgeResponse:
    proxy = proxy_for(request.url)
    with session.request(
        request.method,
        request.url,
        headers={**DEFAULT_HEADERS, **request.headers},
        data=request.body,
        timeout=request.timeout,
        allow_redirects=False,
        stream=True,
        proxies={"http": proxy, "https": proxy} if proxy else None,
    ) as response:
        check_head(response.status_code, response.headers.get("Content-Length"))
        body = _read(response, started + request.timeout)
        return EdgeResponse(
            name=request.name,
            id=request.id,
            seconds=time.monotonic() - started,
            status=response.status_code,
            headers=tuple(response.raw.headers.items()),
            body=body,
        )


def _read(response: requests.Response, deadline: float) -> bytes:
    """The body. The library's timeout is for each read; the deadline is for all of them."""
    body = bytearray()
    read: Callable[..., bytes] = response.raw.read1
    while chunk := read(CHUNK_BYTES, decode_content=False):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise CallFailed(ErrorKind.TOO_LARGE, response.status_code)
        if time.monotonic() > deadline:
            raise CallFailed(ErrorKind.TIMEOUT, response.status_code)
    return bytes(body)


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

"""Edge calls through requests: threads over one shared pool of connections.

The library's adapter is used on its own. What a session would add is not wanted here: cookies of
one caller for the next, redirects, credentials from the environment. Its timeout is for each read,
so a function that drips would hold a call for ever: a call's connection is cut at its deadline from
another thread.

Under an eventlet worker the threads are green: monkey patching has made threads, locks, queues and
sockets cooperative, so what waits here lets other requests go on. An event loop in a thread of its
own is what such a process cannot have.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import requests
from requests import exceptions as requests_errors
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.edge.errors import CallerFault, CallFailed, ErrorKind
from app.edge.protection import Deadlines
from app.edge.transports import (
    CHUNK_BYTES,
    GRACE_SECONDS,
    CallerBody,
    Collector,
    EdgeRequest,
    Outcome,
    Reply,
    call_failed,
    monkey_patched,
    proxy_for,
)

#: Threads for health checks, and for calls. A thread is only made when it is needed.
CHECK_THREADS, CALL_THREADS = 200, 512
#: Hosts whose idle connections are kept, and how many for each.
HOSTS, CONNECTIONS = 512, 256
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


class RequestsTransport:
    """Sends through requests. The first threads start with the first call."""

    def __init__(self) -> None:
        self.name = "requests-eventlet" if monkey_patched() else "requests"
        self._adapter = _Adapter(pool_connections=HOSTS, pool_maxsize=CONNECTIONS)
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

            def discard(late: Future[Reply]) -> None:
                if not late.cancelled() and late.exception() is None:
                    late.result().close()

            call.cancel()
            call.add_done_callback(discard)
            raise call_failed(request, error, ErrorKind.TIMEOUT, request.timeout) from error

    def send(self, batch: Sequence[EdgeRequest]) -> list[Outcome]:
        """Send one or more concurrently; the outcomes come in the order of the requests."""
        checks = [self._checks.submit(self._check, request) for request in batch]
        rounds = 1 + len(batch) // CHECK_THREADS
        until = time.monotonic() + rounds * max(r.timeout for r in batch) + GRACE_SECONDS
        outcomes = []
        for check, request in zip(checks, batch, strict=True):
            try:
                outcomes.append(check.result(max(0.0, until - time.monotonic())))
            except (TimeoutError, CancelledError) as error:
                # Its thread is held where no deadline reaches.
                check.cancel()
                late = call_failed(request, error, ErrorKind.TIMEOUT, request.timeout)
                outcomes.append(Outcome(request.timeout, None, late.kind))
        return outcomes

    def close(self) -> None:
        """Cut the calls in flight, which ends their threads, and close the connections."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._checks.shutdown(wait=False, cancel_futures=True)
        self._adapter.close()
        self._deadlines.close()

    def _check(self, request: EdgeRequest) -> Outcome:
        started = time.monotonic()
        try:
            reply = self._open(request, started + request.timeout)
        except CallFailed as failure:
            return Outcome(time.monotonic() - started, failure.status, failure.kind)
        reply.close()
        return Outcome(time.monotonic() - started, reply.status)

    def _open(self, request: EdgeRequest, until: float) -> Reply:
        call = _Call(request, until, self._deadlines)
        try:
            return call.exchange(self._adapter, verify=self._verify)
        except Exception as error:
            raise call.failed(error) from error


class _Call:
    """One call under way: its deadline, its connection, its answer."""

    def __init__(self, request: EdgeRequest, until: float, deadlines: Deadlines) -> None:
        self.request = request
        self.until = until
        self.connection: HTTPConnection | None = None
        self._response: requests.Response | None = None
        self._started = time.monotonic()
        self._watch = deadlines.watch(until, self.cut)

    def exchange(self, adapter: HTTPAdapter, *, verify: bool | str) -> Reply:
        """Send it, and read the answer as far as it is held back."""
        request, proxy, body = self.request, proxy_for(self.request.url), self.request.body
        prepared = requests.PreparedRequest()
        prepared.prepare(
            method=request.method,
            url=request.url,
            headers=request.all_headers(),
            data=body if isinstance(body, bytes | None) else _Upload(body),
        )
        _current.call = self
        try:
            self._response = response = adapter.send(
                prepared,
                stream=True,
                timeout=max(0.001, self.until - time.monotonic()),
                verify=verify,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
        finally:
            _current.call = None
        # The library lets heads through that cannot be read, and that aiohttp would refuse.
        original = getattr(response.raw, "_original_response", None)
        defects = original is not None and original.msg.defects
        if defects or not response.raw.headers.get("Content-Length", "0").isdecimal():
            raise CallFailed(ErrorKind.PROTOCOL, response.status_code)
        collector = Collector(request, response.status_code, response.headers)
        chunks = self.chunks(response)
        while collector.holds:
            collector.add(next(chunks, b""))
        headers = tuple(response.raw.headers.items())
        reply = Reply(response.status_code, headers, bytes(collector.held))
        if collector.whole:
            self.close()
        else:
            reply.rest, reply.release = self.rest(chunks, collector), self.close
        return reply

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The answer's body, as it comes."""
        while True:
            chunk = response.raw.read1(CHUNK_BYTES, decode_content=False)
            # A connection that was cut at the deadline can look like an answer's proper end.
            if self._watch.expired or time.monotonic() > self.until:
                raise CallFailed(ErrorKind.TIMEOUT, response.status_code)
            if not chunk:
                return
            yield chunk

    def rest(self, chunks: Iterator[bytes], collector: Collector) -> Iterator[bytes]:
        """What follows, counted, as it is asked for."""
        try:
            yield from map(collector.count, chunks)
        except Exception as error:
            raise self.failed(error) from error

    def cut(self) -> None:
        """End whatever the connection is waiting for."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        self._watch.cancel()
        if self._response is not None:
            self._response.close()

    def failed(self, error: Exception) -> Exception:
        """What the error amounts to; the connection is given back."""
        self.close()
        if isinstance(error, CallerFault):
            return error
        if self._watch.expired:
            kind = ErrorKind.TIMEOUT
        elif isinstance(error, CallFailed):
            kind = error.kind
        elif type(error) is requests_errors.ConnectionError:
            # One class for "no connection" and "connection broken": what it wraps tells them apart.
            cause = error.args[0] if error.args else None
            refused = isinstance(cause, urllib3_errors.MaxRetryError)
            kind = ErrorKind.CONNECT if refused else ErrorKind.PROTOCOL
        else:
            kinds = (kind for known, kind in _KINDS if isinstance(error, known))
            kind = next(kinds, ErrorKind.INTERNAL)
        return call_failed(self.request, error, kind, time.monotonic() - self._started)


class _Upload:
    """A caller's body as the library reads one."""

    def __init__(self, body: CallerBody) -> None:
        self._body = body

    def __len__(self) -> int:
        """Its bytes; 0 when they are not known, and then it is sent in chunks."""
        return self._body.length or 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._body.read():
            yield chunk


#: Its ``call`` is the one that this thread is sending.
_current = threading.local()


class _Connection(HTTPConnection):
    """A connection that lets the call of its thread know that it is in use."""

    def connect(self) -> None:
        _current.call.connection = self
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        _current.call.connection = self
        super().request(*args, **kwargs)


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """One pool of such connections for any number of threads, with and without a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed on
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
        return manager


TRANSPORT = RequestsTransport

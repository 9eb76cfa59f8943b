"""Edge calls through aiohttp: one event-loop thread with one shared session in each process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from app.edge.errors import ErrorKind
from app.edge.exchange import (
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
from app.edge.loop_thread import LoopThread

T = TypeVar("T")

#: Calls of one batch in flight at once. A call's time begins when it gets its place.
MAX_IN_FLIGHT = 512
#: Connections at once: a batch and a worker's whole share of calls beside it.
MAX_CONNECTIONS = 1024
#: Seconds that an address is remembered, and an idle connection kept.
DNS_SECONDS, IDLE_SECONDS = 60, 30.0
#: Chunks of a caller's body that wait to be sent.
_WAITING_CHUNKS = 2


class AiohttpTransport:
    """Sends through aiohttp. The thread starts with the first call."""

    name = "aiohttp"

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        #: Calls whose answers are being passed on.
        self._read_on: set[_Call] = set()
        self._loop = LoopThread("edge-aiohttp", self._close_session)

    def open(self, request: EdgeRequest) -> Reply:
        """Call, and come back with the answer or with its beginning."""
        call = _Call(request, time.monotonic() + request.timeout)
        begun = self._loop.run(self._open(call))
        try:
            if call.feed is not None:
                self._pump(call.feed, call.until)
            answer = _result(begun, call)
        except BaseException:
            begun.cancel()
            self._end_soon(call)
            raise
        return Reply(
            answer.response.status,
            tuple(answer.response.headers.items()),
            bytes(answer.collector.held),
            None if answer.whole else self._rest(call, answer),
            None if answer.whole else lambda: self._end_soon(call),
        )

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""
        if not batch:
            return []
        sent = self._loop.run(self._gather(batch))
        patience = (1 + len(batch) // MAX_IN_FLIGHT) * max(r.timeout for r in batch)
        try:
            return sent.result(patience + GRACE_SECONDS)
        except (TimeoutError, CancelledError):
            # The loop is stopping, or starved.
            sent.cancel()
            late = CallFailed(ErrorKind.TIMEOUT)
            return [failed(request, late, request.timeout) for request in batch]

    def close(self) -> None:
        """Stop the loop thread; calls in flight are given up."""
        self._loop.close()

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        for call in tuple(self._read_on):
            self._end(call)
        if session is not None:
            await session.close()

    def _shared_session(self) -> aiohttp.ClientSession:
        """The session, made in the loop that uses it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    ttl_dns_cache=DNS_SECONDS,
                    keepalive_timeout=IDLE_SECONDS,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_Request,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
            )
        return self._session

    async def _gather(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        places = asyncio.Semaphore(MAX_IN_FLIGHT)
        return await asyncio.gather(*(self._check(places, request) for request in batch))

    async def _check(self, places: asyncio.Semaphore, request: EdgeRequest) -> EdgeResponse:
        async with places:
            started = time.monotonic()
            call = _Call(request, started + request.timeout)
            try:
                answer = await self._open(call)
            except CallFailed as failure:
                return failed(request, failure, time.monotonic() - started)
            self._end(call)
            return EdgeResponse(
                name=request.name,
                id=request.id,
                seconds=time.monotonic() - started,
                status=answer.response.status,
            )

    async def _open(self, call: _Call) -> _Answer:
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, call.until - started)):
                answer = await self._exchange(call)
        except BaseException as error:
            call.abort()
            if not isinstance(error, Exception):
                raise
            seconds = time.monotonic() - started
            raise told(call.request, error, _kind(error), seconds) from error
        if not answer.whole:
            self._read_on.add(call)
        elif call.feed is not None:
            if not call.feed.sent:
                # The answer came before all of the body was sent: the connection is of no more use.
                call.abort()
            call.feed.close()
        return answer

    async def _exchange(self, call: _Call) -> _Answer:
        _CALL.set(call)
        request = call.request
        call.response = response = await self._shared_session().request(
            request.method,
            request.url,
            headers=request.all_headers(),
            skip_auto_headers=("Content-Type",),
            data=request.body if call.feed is None else call.feed.chunks(),
            allow_redirects=False,
            proxy=proxy_for(request.url),
        )
        collector = Collector(request, response.status, response.headers)
        while collector.holds:
            chunk = await response.content.readany()
            collector.held += collector.count(chunk)
            if not chunk:
                return _Answer(response, collector, whole=True)
        return _Answer(response, collector, whole=False)

    def _end(self, call: _Call) -> None:
        self._read_on.discard(call)
        call.abort()

    def _end_soon(self, call: _Call) -> None:
        self._loop.call(lambda: self._end(call))

    def _pump(self, feed: _Feed, until: float) -> None:
        """Hand the caller's body to the loop from the caller's own thread."""
        while not feed.closed:
            chunk = feed.body.read()
            put = self._loop.run(feed.put(chunk))
            with contextlib.suppress(TimeoutError, CancelledError):
                put.result(max(0.0, until - time.monotonic()))
            if not chunk or not put.done() or put.cancelled():
                break

    def _rest(self, call: _Call, answer: _Answer) -> Iterator[bytes]:
        """What follows, read as it is asked for."""
        started = time.monotonic()
        while True:
            read = self._loop.run(_read(answer.response, call.until))
            try:
                chunk = answer.collector.count(_result(read, call))
            except Exception as error:
                self._end_soon(call)
                seconds = time.monotonic() - started
                raise told(call.request, error, _kind(error), seconds) from error
            if not chunk:
                return
            yield chunk


class _Call:
    """One call under way: its deadline, what it sends, the transport it is on, its answer."""

    def __init__(self, request: EdgeRequest, until: float) -> None:
        self.request = request
        self.until = until
        body = request.body
        self.feed = None if body is None or isinstance(body, bytes) else _Feed(body)
        self.transport: asyncio.Transport | None = None
        self.response: aiohttp.ClientResponse | None = None

    def abort(self) -> None:
        """End its connection at once, unless it has been given back in good order.

        aiohttp closes a connection, and asyncio then writes first what waits to be written. A
        function that has stopped reading would keep the socket and its buffer for as long as it
        likes.
        """
        if self.feed is not None:
            self.feed.close()
        ours = self.response is None or self.response.connection is not None
        if self.response is not None:
            self.response.close()
        if self.transport is not None and ours:
            self.transport.abort()


#: The call that a task makes.
_CALL: ContextVar[_Call] = ContextVar("_CALL")


class _Request(aiohttp.ClientRequest):
    """A request that tells its call which transport it goes out on."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Send it."""
        _CALL.get().transport = conn.transport
        return await super().send(conn)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What ``_open`` brings: a response, and what of its body has been read."""

    response: aiohttp.ClientResponse
    collector: Collector
    whole: bool


class _Feed:
    """A body on its way from a caller's thread into the loop."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.closed = self.sent = False
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_WAITING_CHUNKS)

    async def put(self, chunk: bytes) -> None:
        """Wait for room, and add a chunk; an empty one ends the body."""
        if not self.closed:
            await self._chunks.put(chunk)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks, for the one that sends them."""
        while chunk := await self._chunks.get():
            yield chunk
        self.sent = True

    def close(self) -> None:
        """Nobody takes more of it: let go of whoever waits for room."""
        self.closed = True
        while not self._chunks.empty():
            self._chunks.get_nowait()


async def _read(response: aiohttp.ClientResponse, until: float) -> bytes:
    async with asyncio.timeout(max(0.0, until - time.monotonic())):
        return await response.content.readany()


def _result(begun: Future[T], call: _Call) -> T:
    """What the loop brings, or a timeout when it is stopping or starved."""
    try:
        return begun.result(max(0.0, call.until - time.monotonic()) + GRACE_SECONDS)
    except CancelledError as error:
        raise told(call.request, TimeoutError("cancelled"), ErrorKind.TIMEOUT, 0.0) from error
    except TimeoutError as error:
        begun.cancel()
        raise told(call.request, error, ErrorKind.TIMEOUT, call.request.timeout) from error


#: From the particular to the general: several of aiohttp's errors are more than one of these.
_KINDS: tuple[tuple[type[Exception], ErrorKind], ...] = (
    (TimeoutError, ErrorKind.TIMEOUT),
    (aiohttp.ClientSSLError, ErrorKind.TLS),
    (aiohttp.ClientConnectorError, ErrorKind.CONNECT),
    (aiohttp.ClientHttpProxyError, ErrorKind.CONNECT),
    (aiohttp.ClientError, ErrorKind.PROTOCOL),
    (OSError, ErrorKind.CONNECT),
)


def _kind(error: Exception) -> ErrorKind:
    if isinstance(error, CallFailed):
        return error.kind
    return next((kind for known, kind in _KINDS if isinstance(error, known)), ErrorKind.INTERNAL)


TRANSPORT = AiohttpTransport

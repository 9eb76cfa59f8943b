"""Edge calls through aiohttp: one event-loop thread with one shared session in each process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
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
        self._loop = LoopThread("edge-aiohttp", self._close_session)

    def open(self, request: EdgeRequest) -> Reply:
        """Call, and come back with the answer or with its beginning."""
        until = time.monotonic() + request.timeout
        body = request.body
        feed = None if body is None or isinstance(body, bytes) else _Feed(body)
        call = self._loop.run(self._open(request, feed, until))
        try:
            if feed is not None:
                self._pump(feed, until)
            answer = _result(call, request, until)
        except BaseException:
            call.cancel()
            raise
        rest = None if answer.whole else self._rest(request, answer, until)
        return Reply(
            answer.response.status,
            tuple(answer.response.headers.items()),
            bytes(answer.collector.held),
            rest,
            None if answer.whole else lambda: self._loop.call(answer.response.close),
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
            try:
                answer = await self._open(request, None, started + request.timeout)
            except CallFailed as failure:
                return failed(request, failure, time.monotonic() - started)
            answer.response.close()
            return EdgeResponse(
                name=request.name,
                id=request.id,
                seconds=time.monotonic() - started,
                status=answer.response.status,
            )

    async def _open(self, request: EdgeRequest, feed: _Feed | None, until: float) -> _Answer:
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, until - started)):
                answer = await self._exchange(request, feed)
        except BaseException as error:
            if feed is not None:
                feed.close()
            if not isinstance(error, Exception):
                raise
            raise told(request, error, _kind(error), time.monotonic() - started) from error
        if feed is not None and answer.whole:
            if not feed.sent:
                # The answer came before all of the body was sent: the connection is of no more use.
                answer.response.close()
            feed.close()
        return answer

    async def _exchange(self, request: EdgeRequest, feed: _Feed | None) -> _Answer:
        response = await self._shared_session().request(
            request.method,
            request.url,
            headers=request.all_headers(),
            skip_auto_headers=("Content-Type",),
            data=request.body if feed is None else feed.chunks(),
            allow_redirects=False,
            proxy=proxy_for(request.url),
        )
        try:
            collector = Collector(request, response.status, response.headers)
            while collector.holds:
                chunk = await response.content.readany()
                collector.held += collector.count(chunk)
                if not chunk:
                    return _Answer(response, collector, whole=True)
        except BaseException:
            response.close()
            raise
        return _Answer(response, collector, whole=False)

    def _pump(self, feed: _Feed, until: float) -> None:
        """Hand the caller's body to the loop from the caller's own thread."""
        while not feed.closed:
            chunk = feed.body.read()
            put = self._loop.run(feed.put(chunk))
            with contextlib.suppress(TimeoutError, CancelledError):
                put.result(max(0.0, until - time.monotonic()))
            if not chunk or not put.done():
                break

    def _rest(self, request: EdgeRequest, answer: _Answer, until: float) -> Iterator[bytes]:
        """What follows, read as it is asked for."""
        started = time.monotonic()
        while True:
            read = self._loop.run(_read(answer, until))
            try:
                chunk = answer.collector.count(_result(read, request, until))
            except Exception as error:
                self._loop.call(answer.response.close)
                kind = _kind(error)
                raise told(request, error, kind, time.monotonic() - started) from error
            if not chunk:
                return
            yield chunk


class _Answer:
    """What ``_open`` brings: a response, and what of its body has been read."""

    __slots__ = ("collector", "response", "whole")

    def __init__(
        self, response: aiohttp.ClientResponse, collector: Collector, *, whole: bool
    ) -> None:
        self.response = response
        self.collector = collector
        self.whole = whole


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


async def _read(answer: _Answer, until: float) -> bytes:
    async with asyncio.timeout(max(0.0, until - time.monotonic())):
        return await answer.response.content.readany()


def _result(call: Future[T], request: EdgeRequest, until: float) -> T:
    """What the loop brings, or a timeout when it is stopping or starved."""
    try:
        return call.result(max(0.0, until - time.monotonic()) + GRACE_SECONDS)
    except CancelledError as error:
        raise told(request, TimeoutError("cancelled"), ErrorKind.TIMEOUT, 0.0) from error
    except TimeoutError as error:
        call.cancel()
        raise told(request, error, ErrorKind.TIMEOUT, request.timeout) from error


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

"""Edge calls through aiohttp: one event-loop thread with one shared session in each process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

import aiohttp

from app.edge.errors import CallFailed, ErrorKind
from app.edge.transports import (
    GRACE_SECONDS,
    CallerBody,
    Collector,
    EdgeRequest,
    Outcome,
    Reply,
    call_failed,
    proxy_for,
)

T = TypeVar("T")

#: Calls of one batch in flight at once. A call's time begins when it gets its turn.
MAX_IN_FLIGHT = 512
#: Connections at once: a batch and a worker's whole share of calls beside it.
MAX_CONNECTIONS = 1024
#: Seconds that an address is remembered, and an idle connection kept.
DNS_SECONDS, IDLE_SECONDS = 60, 30.0
#: Chunks of a caller's body that wait to be sent.
WAITING_CHUNKS = 2
#: Names are looked up in these threads; one that is slow to resolve must not hold up the others.
RESOLVERS = 64
JOIN_SECONDS = 5.0
#: From the particular to the general: several of aiohttp's errors are more than one of these.
_KINDS: tuple[tuple[type[Exception], ErrorKind], ...] = (
    (TimeoutError, ErrorKind.TIMEOUT),
    (CancelledError, ErrorKind.TIMEOUT),
    (aiohttp.ClientSSLError, ErrorKind.TLS),
    (aiohttp.ClientConnectorError, ErrorKind.CONNECT),
    (aiohttp.ClientHttpProxyError, ErrorKind.CONNECT),
    (aiohttp.ClientError, ErrorKind.PROTOCOL),
    (OSError, ErrorKind.CONNECT),
)


class AiohttpTransport:
    """Sends through aiohttp. The thread starts with the first call."""

    name = "aiohttp"

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        #: Calls whose answers are being passed on.
        self._read_on: set[_Call] = set()
        self._loop = _LoopThread("edge-aiohttp", self._end_all)

    def open(self, request: EdgeRequest) -> Reply:
        """Call, and come back with the answer or with its beginning."""
        call = _Call(request, time.monotonic() + request.timeout)
        opened = self._loop.run(self._open(call))
        try:
            if call.feed is not None:
                call.feed.fill(self._loop, call.until)
            response, collector = call.wait_for(opened)
        except BaseException:
            opened.cancel()
            self._loop.call(lambda: self._end(call))
            raise
        headers = tuple(response.headers.items())
        reply = Reply(response.status, headers, bytes(collector.held))
        if not collector.whole:
            reply.rest = self._rest(call, response, collector)
            reply.release = lambda: self._loop.call(lambda: self._end(call))
        return reply

    def send(self, batch: Sequence[EdgeRequest]) -> list[Outcome]:
        """Send one or more concurrently; the outcomes come in the order of the requests."""

        async def send_all() -> list[Outcome]:
            turns = asyncio.Semaphore(MAX_IN_FLIGHT)
            return await asyncio.gather(*(self._check(turns, request) for request in batch))

        sent = self._loop.run(send_all())
        rounds = 1 + len(batch) // MAX_IN_FLIGHT
        try:
            return sent.result(rounds * max(r.timeout for r in batch) + GRACE_SECONDS)
        except (TimeoutError, CancelledError):
            # The loop is stopping, or starved.
            sent.cancel()
            return [Outcome(request.timeout, None, ErrorKind.TIMEOUT) for request in batch]

    def close(self) -> None:
        """Stop the loop thread; calls in flight are given up."""
        self._loop.close()

    async def _check(self, turns: asyncio.Semaphore, request: EdgeRequest) -> Outcome:
        async with turns:
            started = time.monotonic()
            call = _Call(request, started + request.timeout)
            try:
                response, _ = await self._open(call)
            except CallFailed as failure:
                return Outcome(time.monotonic() - started, failure.status, failure.kind)
            self._end(call)
            return Outcome(time.monotonic() - started, response.status)

    async def _open(self, call: _Call) -> _Answer:
        if self._session is None:
            # Made here, in the loop that uses it.
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
        try:
            async with asyncio.timeout(max(0.0, call.until - time.monotonic())):
                answer = await call.exchange(self._session)
        except BaseException as error:
            call.abort()
            if not isinstance(error, Exception):
                raise
            raise call.failed(error) from error
        if not answer[1].whole:
            self._read_on.add(call)
        elif call.feed is not None and not call.feed.sent:
            # The answer came before all of the body was sent: the connection is of no more use.
            call.abort()
        return answer

    def _rest(
        self, call: _Call, response: aiohttp.ClientResponse, collector: Collector
    ) -> Iterator[bytes]:
        """What follows, read as it is asked for."""

        async def read() -> bytes:
            async with asyncio.timeout(max(0.0, call.until - time.monotonic())):
                return await response.content.readany()

        try:
            while chunk := collector.count(call.wait_for(self._loop.run(read()))):
                yield chunk
        except Exception as error:
            self._loop.call(lambda: self._end(call))
            raise call.failed(error) from error

    def _end(self, call: _Call) -> None:
        self._read_on.discard(call)
        call.abort()

    async def _end_all(self) -> None:
        session, self._session = self._session, None
        for call in tuple(self._read_on):
            self._end(call)
        if session is not None:
            await session.close()


class _Call:
    """One call under way: its deadline, what it sends, the transport it is on, its answer."""

    def __init__(self, request: EdgeRequest, until: float) -> None:
        self.request = request
        self.until = until
        body = request.body
        self.feed = None if body is None or isinstance(body, bytes) else _Feed(body)
        self.transport: asyncio.Transport | None = None
        self.response: aiohttp.ClientResponse | None = None

    async def exchange(self, session: aiohttp.ClientSession) -> _Answer:
        """Send it, and read the answer as far as it is held back."""
        _CALL.set(self)
        request = self.request
        self.response = response = await session.request(
            request.method,
            request.url,
            headers=request.all_headers(),
            skip_auto_headers=("Content-Type",),
            data=request.body if self.feed is None else self.feed.chunks(),
            allow_redirects=False,
            proxy=proxy_for(request.url),
        )
        collector = Collector(request, response.status, response.headers)
        while collector.holds:
            collector.add(await response.content.readany())
        return response, collector

    def wait_for(self, result: Future[T]) -> T:
        """What the loop brings, or a timeout when it is stopping or starved."""
        try:
            return result.result(max(0.0, self.until - time.monotonic()) + GRACE_SECONDS)
        except (CancelledError, TimeoutError) as error:
            result.cancel()
            raise self.failed(error) from error

    def failed(self, error: Exception) -> CallFailed:
        """The failure that the error amounts to."""
        kinds = (kind for known, kind in _KINDS if isinstance(error, known))
        kind = error.kind if isinstance(error, CallFailed) else next(kinds, ErrorKind.INTERNAL)
        seconds = time.monotonic() - self.until + self.request.timeout
        return call_failed(self.request, error, kind, seconds)

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


#: A response, and what of its body has been read.
_Answer = tuple[aiohttp.ClientResponse, Collector]
#: The call that a task makes.
_CALL: ContextVar[_Call] = ContextVar("_CALL")


class _Request(aiohttp.ClientRequest):
    """A request that lets its call know which transport it goes out on."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Send it."""
        _CALL.get().transport = conn.transport
        return await super().send(conn)


class _Feed:
    """A body on its way from a caller's thread into the loop."""

    def __init__(self, body: CallerBody) -> None:
        self.closed = self.sent = False
        self._body = body
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(WAITING_CHUNKS)

    def fill(self, loop: _LoopThread, until: float) -> None:
        """Hand the body to the loop from the caller's own thread."""
        while not self.closed:
            chunk = self._body.read()
            added = loop.run(self._chunks.put(chunk))
            with contextlib.suppress(TimeoutError, CancelledError):
                added.result(max(0.0, until - time.monotonic()))
            if not chunk or not added.done() or added.cancelled():
                break

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


class _LoopThread:
    """An event loop in a thread of its own, which begins with the first use.

    Args:
        name: the thread's name.
        at_end: awaited in the loop before it ends, when every task has been cancelled.
    """

    def __init__(self, name: str, at_end: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin to run it; after ``close`` it is cancelled at once."""
        with self._lock:
            if not self._closed:
                if self._loop is None:
                    self._loop = loop = asyncio.new_event_loop()
                    names = ThreadPoolExecutor(RESOLVERS, thread_name_prefix=f"{self._name}-names")
                    loop.set_default_executor(names)
                    self._thread = threading.Thread(
                        target=self._serve, args=(loop,), name=self._name, daemon=True
                    )
                    self._thread.start()
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        never: Future[T] = Future()
        never.cancel()
        return never

    def call(self, function: Callable[[], object]) -> None:
        """Have it called soon, unless the loop has ended and everything with it."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Cancel what runs, and end the thread for good."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(JOIN_SECONDS)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._at_end()

        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(end())
        finally:
            loop.close()


TRANSPORT = AiohttpTransport

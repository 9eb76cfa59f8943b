"""Edge calls through aiohttp: one event-loop thread with one shared session in each process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError

import aiohttp

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

#: Calls in flight at once. A call's time begins when it gets its place, not while it queues.
MAX_IN_FLIGHT = 512
_JOIN_SECONDS = 5.0


class AiohttpTransport:
    """Sends through aiohttp. The thread starts with the first call."""

    name = "aiohttp"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)

    def send(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        """Send all of them concurrently; the responses come in the order of the requests."""
        if not batch:
            return []
        sent = asyncio.run_coroutine_threadsafe(self._gather(batch), self._running_loop())
        try:
            return sent.result(patience(batch, MAX_IN_FLIGHT))
        except (TimeoutError, CancelledError) as error:
            # The loop is stopping, or starved.
            sent.cancel()
            return [failed(request, error, ErrorKind.TIMEOUT, request.timeout) for request in batch]

    def close(self) -> None:
        """Stop the loop thread; calls in flight are given up."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_JOIN_SECONDS)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="edge-aiohttp", daemon=True
                )
                self._thread.start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._wind_up())
        finally:
            loop.close()

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _gather(self, batch: Sequence[EdgeRequest]) -> list[EdgeResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The semaphore bounds what is in flight; waiting inside the connector would
                # count against a call's timeout.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
            )
        session = self._session
        return await asyncio.gather(*(self._send(session, request) for request in batch))

    async def _send(self, session: aiohttp.ClientSession, request: EdgeRequest) -> EdgeResponse:
        async with self._places:
            started = time.monotonic()
            try:
                async with asyncio.timeout(request.timeout):
                    return await _exchange(session, request, started)
            except Exception as error:  # noqa: BLE001 - one call's failure is never another's
                return failed(request, error, _kind(error), time.monotonic() - started)


async def _exchange(
    session: aiohttp.ClientSession, request: EdgeRequest, started: float
) -> EdgeResponse:
    async with session.request(
        request.method,
        request.url,
        headers={**DEFAULT_HEADERS, **request.headers},
        skip_auto_headers=("Content-Type",),
        data=request.body,
        allow_redirects=False,
        proxy=proxy_for(request.url),
    ) as response:
        check_head(response.status, response.headers.get("Content-Length"))
        body = await _read(response)
        return EdgeResponse(
            name=request.name,
            id=request.id,
            seconds=time.monotonic() - started,
            status=response.status,
            headers=tuple(response.headers.items()),
            body=body,
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise CallFailed(ErrorKind.TOO_LARGE, response.status)
    return bytes(body)


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

"""An event loop in a thread of its own, which begins with the first use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

#: Names are looked up in these threads; one that is slow to resolve must not hold up the others.
RESOLVERS = 64
_JOIN_SECONDS = 5.0


class LoopThread:
    """Runs coroutines for the threads of one process.

    Args:
        name: the thread's name.
        wind_up: awaited in the loop before it ends, when every task has been cancelled.
    """

    def __init__(self, name: str, wind_up: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._wind_up = wind_up
        self._lock = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin to run it; after ``close`` it is cancelled at once."""
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._running())
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
            self._thread.join(_JOIN_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(
                ThreadPoolExecutor(RESOLVERS, thread_name_prefix=f"{self._name}-names")
            )
            self._thread = threading.Thread(
                target=self._serve, args=(self._loop,), name=self._name, daemon=True
            )
            self._thread.start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._end())
        finally:
            loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._wind_up()

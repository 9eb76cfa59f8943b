"""Remote functions that cost next to nothing: one event loop in a process of its own.

``/fast`` answers with a small JSON at once, ``/slow/<milliseconds>`` later, ``/dead`` never;
``/count`` says how many requests there were before it, other counts left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

from tests.support.processes import ROOT, stop

BODY = b'{"ok": true, "items": [1, 2, 3], "note": "a small answer"}'
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Functions(asyncio.Protocol):
    """One connection. Requests have a Content-Length or no body."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._received = rest[size:]
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        if path == "/count":
            self._send(str(Functions.requests).encode())
            return
        Functions.requests += 1
        if path.startswith("/slow/"):
            delay = int(path.split("/")[2]) / 1000
            asyncio.get_running_loop().call_later(delay, self._send, BODY)
        elif not path.startswith("/dead"):
            self._send(BODY)

    def _send(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        if not self._transport.is_closing():
            self._transport.write(head % len(body) + body)


@contextlib.contextmanager
def fast_functions() -> Iterator[str]:
    """The URL of such functions, which run until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        stop(process)
        assert process.stdout is not None
        process.stdout.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Functions, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())

"""A package index that is there, and answers nobody for as long as it is told to."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class DrippingIndex:
    """An index that takes connections and sends a header that never ends.

    Something always arrives, so that no timeout of a socket ends the exchange.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/simple/"

    def __enter__(self) -> Self:
        """It has begun already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every exchange."""
        self._released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def release(self) -> None:
        """Answer whoever waits, and everybody from now on."""
        self._released.set()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            self._threads.append(threading.Thread(target=self._drip, args=(connection,)))
            self._threads[-1].start()

    def _drip(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not self._released.wait(0.2):
                    connection.sendall(b"x")
                connection.sendall(b"\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                return

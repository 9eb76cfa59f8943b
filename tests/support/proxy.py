"""A TCP proxy of the tests, which does to a connection what networks and servers do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Self

from tests.support.sockets import free_port

#: Zero seconds of lingering: closing sends a reset.
RESET = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What the proxy does instead of passing on."""

    NONE = auto()
    #: Takes connections and says nothing, on those that are open neither.
    HANG = auto()
    #: Resets each connection as soon as the server answers.
    RESET = auto()
    #: Passes on one byte at a time.
    DRIP = auto()
    #: Answers as another protocol does.
    LIE = auto()
    #: Passes on what a client says, and never that a transaction was committed.
    SWALLOW_COMMIT = auto()


class Proxy:
    """Passes connections on to a port of 127.0.0.1; refuses them while it is closed."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.fault = Fault.NONE
        self.accepted = 0
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()

    def listen(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no connections any more, and reset those that are open."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        with self._mutex:
            connections, self._open = self._open, set()
        for connection in connections:
            self._end(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.fault is Fault.LIE:
                with suppress(OSError):
                    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 10)
            except OSError:
                self._end(client)
                continue
            with self._mutex:
                self._open |= {client, server}
            for arguments in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:  # noqa: FBT001
        with suppress(OSError, ValueError):
            while data := source.recv(1 << 16):
                while self.fault is Fault.HANG and source in self._open:
                    time.sleep(0.02)
                if answers and self.fault is Fault.RESET:
                    break
                if answers and self.fault is Fault.SWALLOW_COMMIT and b"COMMIT\0" in data:
                    break
                if answers and self.fault is Fault.DRIP:
                    for n in range(len(data)):
                        time.sleep(0.005)
                        sink.sendall(data[n : n + 1])
                else:
                    sink.sendall(data)
        with self._mutex:
            self._open -= {source, sink}
        self._end(source)
        self._end(sink)

    @staticmethod
    def _end(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            # Wakes the thread that reads it, which closing alone would not.
            connection.shutdown(socket.SHUT_RD)
        connection.close()

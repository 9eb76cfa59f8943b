"""The connections of this machine, as the kernel lists them."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

#: TCP_ESTABLISHED, in the kernel's own numbering (include/net/tcp_states.h).
_ESTABLISHED = "01"


def connections_to(port: int) -> int:
    """How many connections to this port of 127.0.0.1 the near end has not ended."""
    peer = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:])
    return sum(row[2] == peer and row[3] == _ESTABLISHED for row in rows)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, of those that the kernel gives to no client."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


def is_open(port: int) -> bool:
    """Whether somebody takes connections on a port of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False

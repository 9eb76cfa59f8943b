"""A real gunicorn of this project with edge functions, and callers that mean it badly."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.canaries import inspect_raw
from tests.support.processes import Server, serve

INVOKE = "/api/edge-functions/{}/invoke{}"


class Answer(NamedTuple):
    """A status line's number and all bytes of an answer, and how long it took."""

    status: int
    raw: bytes
    seconds: float


@contextlib.contextmanager
def served(directory: Path, registry: str, **environ: str) -> Iterator[Server]:
    """A server with these functions, in one worker of a few threads unless said otherwise."""
    file = directory / "functions.toml"
    file.write_text(registry)
    settings = {
        "AUTO_FIX_HOME": str(directory / "home"),
        "AUTO_FIX_MODE": "report",
        "EDGE_FUNCTIONS_FILE": str(file),
        "WEB_CONCURRENCY": "1",
        **environ,
    }
    with serve(directory / "log", settings) as server:
        yield server


def function(name: str, url: str, **keys: object) -> str:
    """One table of the registry; its values are numbers, flags or plain texts."""
    lines = [f'[[function]]\nname = "{name}"\nurl = "{url}"']
    for key, value in keys.items():
        text = f'"{value}"' if isinstance(value, str) else str(value).lower()
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def raw(server: Server, *pieces: bytes, pause: float = 0.0, timeout: float = 20) -> Answer:
    """Send bytes as they are, piece by piece, and take what comes until the server closes.

    Pieces that the server no longer takes are not sent.
    """
    port = int(server.url.rpartition(":")[2])
    started = time.monotonic()
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
    inspect_raw(bytes(answer))
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    return Answer(status, bytes(answer), time.monotonic() - started)


def head(method: str, path: str, *fields: str) -> bytes:
    """A request's head."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def resident_kib(pid: int) -> int:
    """The memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(_rss, [pid, *map(int, children)]))


def _rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

"""A small HTTP server on loopback whose paths behave well or badly, as remote functions do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, cast

MEBIBYTE = 1024 * 1024
#: Longer than any timeout of the tests; nobody waits for it to pass.
FOREVER = 60


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class EdgeServer:
    """The running server: its URL, what it has seen, and the gates that hold its answers.

    ``/together`` answers once as many requests as ``parties`` says are in flight at once;
    ``/flaky`` answers 503 as often as ``failures`` says; ``/events`` sends its second event, and
    ``/gated`` its answer, when ``gate`` is set.
    """

    server: _Server
    parties: int = 1
    failures: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The root, without a closing slash."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.seen]

    def expect(self, parties: int) -> None:
        """Let ``/together`` wait for so many requests."""
        self.parties = parties
        self.server.barrier = threading.Barrier(parties)

    def __enter__(self) -> EdgeServer:
        """Start serving."""
        self.server.edge = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of whatever hangs, and stop."""
        self.server.stopping.set()
        self.gate.set()
        self.server.barrier.abort()
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    edge: EdgeServer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stopping = threading.Event()
        self.barrier = threading.Barrier(1)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A caller that gave up is what some tests are about: nothing to print."""


def edge_server() -> EdgeServer:
    """A server on a free port, to be used in a ``with`` statement."""
    return EdgeServer(_Server())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.path == "/early":
            self._early()
            return
        try:
            body = self._read_body()
        except ValueError:
            # The caller broke off: there is no request to answer.
            self.close_connection = True
            return
        seen = Seen(self.command, self.path, dict(self.headers.items()), body)
        self._edge.seen.append(seen)
        behave = self._behaviours.get(self.path.partition("?")[0], _Handler._echo)
        behave(self, seen)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            whole = self.rfile.read(length := int(self.headers.get("Content-Length") or 0))
            if len(whole) < length:
                raise ValueError("the body broke off")
            return whole
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def do_PUT(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._edge.seen.append(Seen(self.command, self.path, dict(self.headers.items()), b""))
        self.send_response(500 if self.path == "/failing" else 200)
        if self.path == "/large-chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", "100000000")
        self.end_headers()

    @property
    def _edge(self) -> EdgeServer:
        return self._server.edge

    @property
    def _server(self) -> _Server:
        return cast(_Server, self.server)

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _echo(self, seen: Seen) -> None:
        body = {
            "method": seen.method,
            "path": seen.path,
            "headers": seen.headers,
            "body": seen.body.decode("latin-1"),
        }
        self._send(200, json.dumps(body).encode(), Content_Type="application/json")

    def _health(self, _: Seen) -> None:
        self._send(200, b"ok", Content_Type="text/plain")

    def _failing(self, _: Seen) -> None:
        self._send(500, b"broken", Content_Type="text/plain", Server_Secret="x")  # noqa: S106

    def _together(self, _: Seen) -> None:
        self._server.barrier.wait(FOREVER)
        self._send(200, b"together")

    def _hang(self, _: Seen) -> None:
        self._server.stopping.wait(FOREVER)
        self.close_connection = True

    def _redirect(self, _: Seen) -> None:
        self._send(302, Location=f"{self._edge.url}/target")

    def _cookie(self, _: Seen) -> None:
        self._send(200, b"", Set_Cookie="session=somebody; Path=/")

    def _page(self, _: Seen) -> None:
        self._send(200, b"<script>alert(1)</script>", Content_Type="text/html")

    def _oversized(self, _: Seen) -> None:
        self._send(200, b"x" * (MEBIBYTE + 1))

    def _endless(self, _: Seen) -> None:
        """Chunks until the caller has had enough."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not self._server.stopping.is_set():
            self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    def _drip(self, _: Seen) -> None:
        """A byte every twentieth of a second, for ever."""
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self._server.stopping.wait(0.05):
            self.wfile.write(b"x")

    def _drip_head(self, _: Seen) -> None:
        """A header that never ends, a byte at a time."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not self._server.stopping.wait(0.05):
            self.wfile.write(b"x")

    def _late_body(self, _: Seen) -> None:
        """A head at once, and no body."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self._server.stopping.wait(FOREVER)

    def _count(self, seen: Seen) -> None:
        self._send(200, str(len(seen.body)).encode(), Content_Type="text/plain")

    def _early(self) -> None:
        """An answer before the body was read."""
        self._send(413, b"too much")
        self.close_connection = True

    def _large(self, _: Seen) -> None:
        self._send(200, b"x" * 3 * MEBIBYTE, Content_Type="text/plain")

    def _large_chunked(self, _: Seen) -> None:
        self._chunks(b"x" * 0x10000 for _ in range(48))

    def _large_cut(self, _: Seen) -> None:
        """Half of a large body."""
        self.send_response(200)
        self.send_header("Content-Length", str(4 * MEBIBYTE))
        self.end_headers()
        self.wfile.write(b"x" * 2 * MEBIBYTE)
        self.close_connection = True

    def _chunks(self, chunks: Iterable[bytes], kind: str = "text/plain") -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Content-Type", kind)
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, _: Seen) -> None:
        def events() -> Iterator[bytes]:
            yield b"data: 1\n\n"
            self._edge.gate.wait(FOREVER)
            yield b"data: 2\n\n"

        self._chunks(events(), "text/event-stream")

    def _gated(self, _: Seen) -> None:
        self._edge.gate.wait(FOREVER)
        self._send(200, b"through")

    def _flaky(self, _: Seen) -> None:
        self._edge.failures -= 1
        self._send(503 if self._edge.failures >= 0 else 200, b"flaky")

    def _metadata(self, _: Seen) -> None:
        self._send(307, Location="http://169.254.169.254/latest/meta-data/")

    def _raw(self, text: bytes) -> None:
        self.wfile.write(text)
        self.close_connection = True

    def _bad_header(self, _: Seen) -> None:
        self._raw(b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 2\r\n\r\nok")

    def _lists(self, _: Seen) -> None:
        """Fields in several lines, and one that may have one only."""
        fields = (
            b"Cache-Control: private\r\nVary: Accept\r\ncache-control: max-age=600\r\n"
            b'Age: 500\r\nVary: Accept-Language\r\nETag: "a"\r\nETag: "b"\r\n'
        )
        self._raw(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")

    def _too_much(self, _: Seen) -> None:
        """More bytes than promised."""
        self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more")

    def _no_length(self, _: Seen) -> None:
        self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nok")

    def _split(self, _: Seen) -> None:
        """A header value with a bare carriage return and a control character."""
        self._raw(b"HTTP/1.1 200 OK\r\nETag: a\x01b\r\nContent-Length: 2\r\n\r\nok")

    def _no_content(self, _: Seen) -> None:
        self.send_response(204)
        self.end_headers()

    def _not_modified(self, _: Seen) -> None:
        """With the length of what has not changed (RFC 9110, 8.6)."""
        self.send_response(304)
        self.send_header("Content-Length", "100000000")
        self.end_headers()

    def _switching(self, _: Seen) -> None:
        """Another protocol, on a connection that stays."""
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        )
        self._server.stopping.wait(FOREVER)
        self.close_connection = True

    def _odd_status(self, _: Seen) -> None:
        self._raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok")

    def _bad_json(self, _: Seen) -> None:
        self._send(200, b'{"a": ', Content_Type="application/json")

    def _cut(self, _: Seen) -> None:
        """Fewer bytes than promised."""
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x")
        self.close_connection = True

    def _cut_at_once(self, _: Seen) -> None:
        """The head of a large answer, and nothing of it."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True

    def _garbage(self, _: Seen) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.close_connection = True

    def _silent_close(self, _: Seen) -> None:
        self.close_connection = True

    _behaviours: ClassVar[dict[str, Callable[[_Handler, Seen], None]]] = {
        "/health": _health,
        "/failing": _failing,
        "/together": _together,
        "/hang": _hang,
        "/redirect": _redirect,
        "/cookie": _cookie,
        "/page": _page,
        "/oversized": _oversized,
        "/endless": _endless,
        "/drip": _drip,
        "/cut": _cut,
        "/garbage": _garbage,
        "/silent-close": _silent_close,
        "/drip-head": _drip_head,
        "/late-body": _late_body,
        "/count": _count,
        "/large": _large,
        "/large-chunked": _large_chunked,
        "/large-cut": _large_cut,
        "/cut-at-once": _cut_at_once,
        "/events": _events,
        "/gated": _gated,
        "/flaky": _flaky,
        "/metadata": _metadata,
        "/bad-header": _bad_header,
        "/lists": _lists,
        "/too-much": _too_much,
        "/no-length": _no_length,
        "/split": _split,
        "/no-content": _no_content,
        "/not-modified": _not_modified,
        "/switching": _switching,
        "/odd-status": _odd_status,
        "/bad-json": _bad_json,
    }

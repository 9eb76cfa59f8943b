"""Clients that misbehave below Flask, over raw sockets against the real gunicorn."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.serving.house import House
from tests.support.canaries import EXCEPTION, TOKEN, inspect_raw
from tests.support.exposition import scrape
from tests.support.processes import (
    ROOT,
    STALL,
    Server,
    base_environ,
    http_get,
    serve,
    stop,
    wait_until,
)
from tests.support.sockets import connections_to

HOST = b" HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"
LIVE = b"GET /livez" + HOST + b"\r\n"
#: A change, by somebody who may.
FIX = b"POST /api/auto-fix/fix" + HOST + f"Authorization: Bearer {TOKEN}\r\n".encode()
FIX += b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
#: Longer than any test: what waits for it shows that nothing else does.
FOREVER = "600"

MALFORMED = {
    "no request": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "one word": (b"GET\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\n\n", 400),
    "bare line feed in the fields": (b"GET /" + HOST + b"A: b\nC: d\r\n", 400),
    "lower case": (b"get /" + HOST + b"\r\n", 400),
    "long method": (b"A" * 30 + b" /" + HOST + b"\r\n", 400),
    "no version": (b"GET / JUNK/1.1\r\n\r\n", 400),
    "version 2": (b"GET / HTTP/2.0\r\n\r\n", 505),
    "version 9": (b"GET / HTTP/9.9\r\n\r\n", 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "raw bytes in the path": (b"GET /\xff" + HOST + b"\r\n", 400),
    "raw bytes in the query": (b"GET /livez?a=\xff" + HOST + b"\r\n", 400),
    "asterisk": (b"GET *" + HOST + b"\r\n", 400),
    "no path": (b"GET livez" + HOST + b"\r\n", 400),
    "broken address": (b"GET http://[/livez" + HOST + b"\r\n", 400),
    "long path": (b"GET /" + b"a" * 9000 + HOST + b"\r\n", 414),
    "endless path": (b"GET /" + b"a" * 50_000, 414),
    "large field": (b"GET /" + HOST + b"A: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many fields": (b"GET /" + HOST + b"A: b\r\n" * 150 + b"\r\n", 431),
    "many large fields": (b"GET /" + HOST + (b"A: " + b"a" * 8000 + b"\r\n") * 8 + b"\r\n", 431),
    "endless fields": (b"GET /" + HOST + b"A: b\r\n" * 10_000, 431),
    "space after a name": (b"GET /" + HOST + b"A : b\r\n\r\n", 400),
    "folded line": (b"GET /" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "zero byte": (b"GET /" + HOST + b"A: b\0c\r\n\r\n", 400),
    "no colon": (b"GET /" + HOST + f"Authorization Bearer {TOKEN}\r\n\r\n".encode(), 400),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /livez" + HOST + b"Host: y\r\n\r\n", 400),
    "no such host": (b"GET /livez HTTP/1.1\r\nHost: <script>\r\n\r\n", 400),
    "impossible expectation": (b"GET /livez" + HOST + b"Expect: magic\r\n\r\n", 417),
    "fragment": (b"GET /livez#top" + HOST + b"\r\n", 400),
    "fragment of an address": (b"GET http://x/livez#" + HOST + b"\r\n", 400),
    "another scheme": (b"GET ftp://x/livez" + HOST + b"\r\n", 400),
    "address without a host": (b"GET http:///livez" + HOST + b"\r\n", 400),
    "address with a user": (b"GET http://me@x/livez" + HOST + b"\r\n", 400),
    "encoded in chunks": (FIX + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "unknown coding": (FIX + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
}
SMUGGLED = {
    "length and chunks": FIX + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n",
    "two lengths": FIX + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "the same length twice": FIX + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "list of lengths": FIX + b"Content-Length: 5, 5\r\n\r\nabcde",
    "negative length": FIX + b"Content-Length: -1\r\n\r\n",
    "length with a sign": FIX + b"Content-Length: +5\r\n\r\nabcde",
    "length in another script": FIX + b"Content-Length: \xb2\r\n\r\nab",
    "identity": FIX + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked twice": FIX + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in the middle": FIX + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "not chunked at all": FIX + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked for HTTP/1.0": FIX.replace(b"/1.1", b"/1.0") + CHUNKED + b"0\r\n\r\n",
    "space before the colon": FIX + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "vertical tab": FIX + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "no chunk": FIX + CHUNKED + b"zz\r\n\r\n",
    "chunk without an end": FIX + CHUNKED + b"5\r\nabcdeXX\r\n",
}
ANSWERED = {
    "unknown path": (b"GET /nowhere", 404),
    "unknown path, HEAD": (b"HEAD /nowhere", 404),
    "unknown path, invented method": (b"BREW /nowhere", 404),
    "wrong method": (b"DELETE /api/auto-fix/health", 405),
    "wrong method, HEAD": (b"HEAD /api/auto-fix/fix", 405),
    "TRACE": (b"TRACE /", 405),
    "invented method": (b"BREW /livez", 405),
    "OPTIONS": (b"OPTIONS /livez", 200),
    "OPTIONS of everything": (b"OPTIONS *", 204),
    "OPTIONS of everything, by address": (b"OPTIONS http://x", 204),
    "OPTIONS of a file": (b"OPTIONS /*", 404),
    "CONNECT": (b"CONNECT example.com:443", 404),
    "whole address": (b"GET http://other.example.com/livez", 200),
    "whole address without a path": (b"GET http://other.example.com", 200),
    "whole address with a query alone": (b"GET HTTP://other.example.com?a=b", 200),
    "whole address of another kind": (b"GET https://other.example.com/livez", 200),
    "two slashes before a path": (b"GET //livez", 404),
    "encoded slash before a path": (b"GET /%2flivez", 404),
    "zero byte": (b"GET /%00", 404),
    "no UTF-8": (b"GET /%ff%fe", 404),
    "no UTF-8 for a name": (b"GET /api/edge-functions/%ff/invoke", 404),
    "dots": (b"GET /../../etc/passwd", 404),
    "encoded dots": (b"GET /static/%2e%2e/%2e%2e/config.py", 404),
    "zero byte in a file": (b"GET /static/style.css%00", 404),
    "long path": (b"GET /" + b"a/" * 4000, 404),
    "long name": (b"GET /static/" + b"a" * 5000, 404),
    "long query": (b"GET /livez?" + b"a=1&" * 1500, 200),
    "two slashes": (b"GET //nowhere//x", 404),
}
BODIES = {
    "no JSON": (b"Content-Length: 1\r\n\r\n{", 400),
    "no UTF-8": (b"Content-Length: 2\r\n\r\n\xff\xfe", 400),
    "deep": (b"Content-Length: 9000\r\n\r\n" + b"[" * 9000, 400),
    "nothing": (b"\r\n", 400),
    "too large": (b"Content-Length: 99999\r\n\r\n", 413),
    "absurdly large": (b"Content-Length: 99999999999999999999\r\n\r\n", 413),
    "too large in chunks": (CHUNKED + b"8000\r\n" + b" " * 0x8000 + b"\r\n", 413),
}


class Client:
    """A connection that sends what it likes."""

    def __init__(self, server: Server, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Client:
        """Send; what the server no longer takes is not sent."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
        return self

    def until(self, end: bytes) -> bytes:
        """What comes up to ``end``."""
        received, searched = bytearray(), 0
        while received.find(end, searched) < 0 and (chunk := self.socket.recv(65536)):
            searched = max(0, len(received) - len(end))
            received += chunk
        return bytes(received)

    def all(self) -> bytes:
        """What comes until the server closes."""
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while chunk := self.socket.recv(65536):
                received += chunk
        inspect_raw(bytes(received))
        return bytes(received)


def exchange(server: Server, data: bytes) -> bytes:
    """Send, and take everything until the server closes."""
    with Client(server) as client:
        return client.send(data).all()


def status_of(received: bytes) -> int:
    """The first status."""
    return int(received.split(b" ", 2)[1])


def assert_problem(received: bytes, status: int, *, closed: bool = True) -> None:
    """One response, a problem, and nothing of what was sent in it."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert status_of(received) == status
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nContent-Type: application/problem+json" in head
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    assert (b"\r\nConnection: close" in head) is closed
    assert b"Server: gunicorn\r\n" in head or b"Server:" not in head
    if body:
        assert json.loads(body)["status"] == status
        assert f"Content-Length: {len(body)}".encode() in head


def settings(directory: Path, **environ: str) -> dict[str, str]:
    """Those of a server with one worker, which gives a request one second to arrive."""
    return {
        "AUTO_FIX_HOME": str(directory / "home"),
        "AUTO_FIX_MODE": "report",
        "AUTO_FIX_TOKEN": TOKEN,
        "WEB_CONCURRENCY": "1",
        "THREADS": "2",
        "REQUEST_TIMEOUT": "1",
        **environ,
    }


@contextlib.contextmanager
def hostel(directory: Path, *arguments: str, **environ: str) -> Iterator[Server]:
    """A server that nobody may bring down, or make log an error."""
    with serve(directory / "log", settings(directory, **environ), arguments=arguments) as server:
        yield server
        if server.process.poll() is None:
            assert server.get("/livez").status == 200
            assert server.log_text.count("Booting worker") == 1
        assert "Traceback" not in server.log_text
        assert " ERROR " not in server.log_text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all clients whose misbehaviour takes no more than a moment."""
    with hostel(tmp_path_factory.mktemp("hostel")) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_served(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a client did, the next one is served."""
    yield
    if "server" in request.fixturenames:
        assert request.getfixturevalue("server").get("/livez").status == 200


class TestMalformed:
    """What is no request at all is answered by gunicorn, and yet as a problem."""

    @pytest.mark.parametrize("name", MALFORMED)
    def test_refused(self, server: Server, name: str) -> None:
        """It gets the right status, and the connection ends."""
        request, status = MALFORMED[name]
        assert_problem(exchange(server, request), status)

    @pytest.mark.parametrize("name", SMUGGLED)
    def test_smuggling(self, server: Server, name: str) -> None:
        """A body whose end is in doubt ends the connection: what follows is no request."""
        assert_problem(exchange(server, SMUGGLED[name] + LIVE), 400)

    def test_logged(self, server: Server) -> None:
        """It is one short line with the peer and without what was sent."""
        before = len(server.log_text)
        exchange(server, MALFORMED["no colon"][0])
        wait_until(lambda: "InvalidHeader" in server.log_text[before:])
        (line,) = [line for line in server.log_text[before:].splitlines() if "refused" in line]
        assert "WARNING" in line
        assert "peer=127.0.0.1" in line
        assert len(line) < 200
        assert TOKEN not in server.log_text

    @pytest.mark.parametrize("name", ["one word", "large field", "no host"])
    def test_named(self, server: Server, name: str) -> None:
        """Each has an id of its own, in its answer and in its line of the log."""
        first, second = (_fields(exchange(server, MALFORMED[name][0])) for _ in range(2))
        assert first["x-request-id"] != second["x-request-id"]
        for answer in (first, second):
            line = rf"request refused .*request_id={answer['x-request-id']}\b"
            wait_until(partial(_says, server, line))

    @pytest.mark.parametrize(("given", "used"), [("mine-1", True), ("no <id>", False)])
    def test_named_by_the_caller(self, server: Server, given: str, *, used: bool) -> None:
        """The caller's own id is used when it is a plain one and was read."""
        named = MALFORMED["no such host"][0].replace(b"\r\n\r\n", b"\r\nX-Request-ID: %b\r\n\r\n")
        answer = _fields(exchange(server, named % given.encode()))
        assert (answer["x-request-id"] == given) is used

    def test_headers(self, server: Server) -> None:
        """It has the headers that an error of the application has."""
        refused = _fields(exchange(server, MALFORMED["one word"][0]))
        answered = _fields(exchange(server, b"GET /nowhere" + HOST + CLOSE))
        assert "permissions-policy" in refused
        own = ("content-length", "date", "x-request-id")
        assert {k: v for k, v in refused.items() if k not in {*own, "cache-control"}} == {
            k: v for k, v in answered.items() if k not in {*own, "cache-control"}
        }

    @pytest.mark.parametrize("name", ["bare line feeds", "large field", "version 2"])
    def test_counted(self, server: Server, name: str) -> None:
        """Each is counted by its status, apart from the requests that the application answered."""
        sent, status = MALFORMED[name]
        refused, answered = _counted(server, status)
        exchange(server, sent)
        wait_until(lambda: _counted(server, status) == (refused + 1, answered))


def _says(server: Server, pattern: str) -> bool:
    """Whether a line of the log is like this."""
    return re.search(pattern, server.log_text) is not None


def _are_open(server: Server, count: int) -> bool:
    """Whether so many clients at once can each ask twice on their connections."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(count)]
        answers = [client.send(LIVE).until(b"\r\n\r\n") for client in clients]
        answers += [client.send(LIVE).until(b"\r\n\r\n") for client in clients]
    return all(answers)


def _fields(received: bytes) -> dict[str, str]:
    """The header fields of the first answer, by their names in lower case."""
    lines = received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def _counted(server: Server, status: int) -> tuple[float, float]:
    """The requests of a status that the server refused, and that the application answered."""
    found, labels = scrape(server), {"status": str(status)}
    series = ("http_requests_refused_total", "http_requests_total")
    return found.total(series[0], **labels), found.total(series[1], **labels)


class TestAnswered:
    """What is a request is answered by the application."""

    @pytest.mark.parametrize("name", ANSWERED)
    def test_address_and_method(self, server: Server, name: str) -> None:
        """Odd methods and addresses get the right status, an error as a problem."""
        line, status = ANSWERED[name]
        received = exchange(server, line + HOST + CLOSE)
        if status >= 400:
            assert_problem(received, status)
        assert status_of(received) == status

    @pytest.mark.parametrize("name", BODIES)
    def test_body(self, server: Server, name: str) -> None:
        """A body that is of no use gets the right status, whether it was read or not."""
        body, status = BODIES[name]
        assert_problem(exchange(server, FIX + b"Connection: close\r\n" + body), status)

    def test_body_that_nobody_reads(self, server: Server) -> None:
        """One that is here is passed over; one that is still to come ends the connection.

        A small one is waited for, without a thread.
        """
        unread = b"POST /nowhere" + HOST + b"Content-Length: 3\r\n\r\n"
        answers = exchange(server, unread + b"abc" + LIVE.replace(b"\r\n\r\n", b"\r\n" + CLOSE))
        assert answers.count(b"HTTP/1.1 ") == 2
        assert answers.endswith(b"alive\n")
        assert_problem(exchange(server, unread), 408)
        assert_problem(exchange(server, unread.replace(b" 3", b" 20000")), 404)
        assert_problem(exchange(server, b"POST /nowhere" + HOST + CHUNKED), 404)

    @pytest.mark.parametrize("length", [b"2", b"20000"])
    def test_expectation_in_vain(self, server: Server, length: bytes) -> None:
        """A client whose body nobody will read is not asked for it."""
        expecting = b"Expect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n"
        assert_problem(exchange(server, b"POST /nowhere" + HOST + expecting), 404)
        too_large = b"Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n"
        assert_problem(exchange(server, FIX + too_large), 413)

    def test_later_version(self, server: Server) -> None:
        """It is answered in the version that is spoken here."""
        later = exchange(server, b"GET /livez HTTP/1.2\r\nHost: x\r\n" + CLOSE)
        assert later.startswith(b"HTTP/1.1 200 ")
        assert exchange(server, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")

    @pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.2, odd/1"])
    def test_upgrade(self, server: Server, protocol: bytes) -> None:
        """An upgrade to what is not spoken here is passed over."""
        wanted = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"
        for fields in (wanted, b"Connection: upgrade\r\n"):
            asked = b"GET /livez" + HOST + fields + b"Upgrade: " + protocol + b"\r\n\r\n"
            with Client(server) as client:
                answered = client.send(asked).until(b"alive\n")
            assert answered.startswith(b"HTTP/1.1 200 ")

    def test_host_of_an_address(self, house: House) -> None:
        """The host of a whole address counts, and not the header."""
        code = "from flask import Blueprint, request\nbp = Blueprint('host', __name__)\n"
        code += "@bp.get('')\ndef host():\n    return request.host + request.path\n"
        house.add("host", code)
        with house.serve(workers=1) as server:
            received = exchange(server, b"GET http://there:81/host" + HOST + CLOSE)
            assert received.endswith(b"\r\n\r\nthere:81/host")

    def test_allowed_methods_of_everything(self, server: Server) -> None:
        """They are those of the service."""
        assert _fields(exchange(server, b"OPTIONS *" + HOST + CLOSE))["allow"]

    def test_expectation(self, server: Server) -> None:
        """A client that waits for 100 gets it, and then its answer."""
        with Client(server) as client:
            client.send(FIX + b"Expect: 100-continue\r\nContent-Length: 2\r\n" + CLOSE)
            assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert_problem(client.send(b"[]").all(), 400)


class TestPipelined:
    """Requests that do not wait for answers."""

    def test_after_an_error(self, server: Server) -> None:
        """An error of the application leaves the connection in use."""
        received = exchange(server, b"GET /nowhere" + HOST + b"\r\n" + LIVE + b"GET\r\n\r\n" + LIVE)
        statuses = [part.split(b" ")[0] for part in received.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"404", b"200", b"400"]

    def test_in_pieces(self, server: Server) -> None:
        """The beginning of a request behind another waits for its rest."""
        with Client(server) as client:
            client.send(LIVE + LIVE[:20])
            client.until(b"alive\n")
            assert client.send(LIVE[20:]).until(b"alive\n").endswith(b"alive\n")
            client.send(LIVE + LIVE[:20]).until(b"alive\n")
            assert_problem(client.all(), 408)

    def test_byte_by_byte(self, server: Server) -> None:
        """However a request is cut, it is the same request."""
        with Client(server) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"GET /livez" + HOST + CLOSE:
                client.send(bytes([byte]))
            assert client.all().endswith(b"alive\n")


class TestSlow:
    """Nobody holds a thread by being slow."""

    @pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n", b"GET /" + HOST + b"A: "])
    def test_head(self, server: Server, sent: bytes) -> None:
        """A head that does not become whole in time gets 408."""
        assert_problem(exchange(server, sent), 408)

    def test_head_of_the_next_request(self, server: Server) -> None:
        """So does the head of a later request on the connection."""
        with Client(server) as client:
            client.send(LIVE).until(b"alive\n")
            assert_problem(client.send(b"GET /").all(), 408)

    def test_nothing(self, server: Server) -> None:
        """A connection that asks for nothing ends without an answer."""
        assert exchange(server, b"") == b""

    @pytest.mark.parametrize("body", [b"Content-Length: 9\r\n\r\n{", CHUNKED + b"5\r\nab"])
    def test_body(self, server: Server, body: bytes) -> None:
        """A body that does not come in time gets 408, and the connection ends."""
        assert_problem(exchange(server, FIX + body), 408)

    def test_body_that_breaks_off(self, server: Server) -> None:
        """A client that says that it has sent all when it has not gets 400."""
        with Client(server) as client:
            client.send(FIX + b"Content-Length: 9\r\n\r\n{")
            client.socket.shutdown(socket.SHUT_WR)
            assert_problem(client.all(), 400)

    def test_many(self, tmp_path: Path) -> None:
        """More clients than threads drip, and others are served all the while."""
        with hostel(tmp_path, REQUEST_TIMEOUT=FOREVER) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server)) for _ in range(50)]
            for client in clients:
                client.send(b"GET /")
            for number in range(100):
                clients[number % 50].send(b"a")
                assert server.get("/livez").status == 200

    def test_many_bodies(self, tmp_path: Path) -> None:
        """Many clients that may do so drip small bodies, and others are served."""
        with hostel(tmp_path, REQUEST_TIMEOUT=FOREVER) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server)) for _ in range(300)]
            for client in clients:
                client.send(FIX + b"Content-Length: 16384\r\n" + CLOSE + b"{")
            for number in range(100):
                clients[number].send(b" ")
                assert http_get(server.url + "/livez", timeout=STALL).status == 200
            whole = clients[0].send(b" " * 16380).send(b"\r\n").all()
            assert_problem(whole, 400)

    def test_small_body_in_pieces(self, server: Server) -> None:
        """However a body is cut, it is the same body, and the next request is behind it."""
        whole = (
            FIX + b"Content-Length: 2\r\n\r\n[]" + FIX + b"Content-Length: 2\r\n" + CLOSE + b"{}"
        )
        with Client(server) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(whole), 7):
                client.send(whole[start : start + 7])
            received = client.all()
        assert received.count(b"HTTP/1.1 400 ") == 2

    def test_more_than_there_may_be(self, tmp_path: Path) -> None:
        """With all connections taken by silent clients, one of them makes room."""
        few = ("--worker-connections", "20")
        with (
            hostel(tmp_path, *few, REQUEST_TIMEOUT=FOREVER) as server,
            contextlib.ExitStack() as stack,
        ):
            for sent in (b"", b"GET /", LIVE):
                for _ in range(20):
                    stack.enter_context(Client(server)).send(sent)
                assert server.get("/livez").status == 200

    def test_more_than_there_are_descriptors(self, tmp_path: Path) -> None:
        """With no descriptor left some connections are given up, and the worker goes on."""
        # Whatever else opens a file meanwhile may log an error.
        given = settings(tmp_path, REQUEST_TIMEOUT=FOREVER)
        with serve(tmp_path / "log", given) as server, contextlib.ExitStack() as stack:
            pid = server.process.pid
            (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            used = max(int(f.name) for f in Path(f"/proc/{worker}/fd").iterdir())
            _, most = resource.prlimit(int(worker), resource.RLIMIT_NOFILE)
            resource.prlimit(int(worker), resource.RLIMIT_NOFILE, (used + 10, most))
            for _ in range(30):
                stack.enter_context(Client(server)).send(b"GET /")
            assert server.get("/livez").status == 200
            assert "no descriptors left" in server.log_text
            assert server.log_text.count("Booting worker") == 1

    def test_descriptors_that_come_back(self, tmp_path: Path) -> None:
        """When there are enough again, as many connections are open as before."""
        given = settings(tmp_path, THREADS="1", REQUEST_TIMEOUT="1")
        with serve(tmp_path / "log", given) as server, contextlib.ExitStack() as stack:
            pid = server.process.pid
            (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            used = max(int(f.name) for f in Path(f"/proc/{worker}/fd").iterdir())
            before = resource.prlimit(int(worker), resource.RLIMIT_NOFILE)
            resource.prlimit(int(worker), resource.RLIMIT_NOFILE, (used + 4, before[1]))
            for _ in range(20):
                stack.enter_context(Client(server)).send(LIVE)
            wait_until(lambda: "no descriptors left" in server.log_text)
            resource.prlimit(int(worker), resource.RLIMIT_NOFILE, before)
            wait_until(lambda: _are_open(server, 20))

    @pytest.mark.parametrize("kind", ["gthread", "eventlet"])
    def test_answer_that_is_not_taken(self, house: House, kind: str) -> None:
        """A client that does not read gives the only thread back, and is disconnected."""
        code = "from flask import Blueprint\nbp = Blueprint('big', __name__)\n"
        code += "@bp.get('')\ndef big():\n    return 'x' * 64_000_000\n"
        house.add("big", code)
        given = {"THREADS": "1", "REQUEST_TIMEOUT": "1", "WORKER_CLASS": kind}
        with house.serve(workers=1, **given) as server:
            with Client(server, receive_buffer=4096) as client:
                client.send(b"GET /big" + HOST + b"\r\n").until(b"\r\n\r\n")
                assert server.get("/livez").status == 200
                wait_until(lambda: "answer not taken" in server.log_text)
                assert len(client.all()) < 64_000_000
            assert "Traceback" not in server.log_text

    def test_connection_that_is_not_closed(self, server: Server) -> None:
        """Clients that keep a connection that the server has ended hold nobody up."""
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                client = stack.enter_context(Client(server))
                client.send(b"GET /livez" + HOST + CLOSE).all()
            assert http_get(server.url + "/livez", timeout=20).status == 200


class TestUntaken:
    """Nobody holds a thread by not reading, as long as answers are of the usual size."""

    def test_many(self, house: House) -> None:
        """More clients than threads do not read; others are served, and they too once they read."""
        with (
            _answering(house, THREADS="1", REQUEST_TIMEOUT=FOREVER) as server,
            contextlib.ExitStack() as stack,
        ):
            clients = [_unread(server, stack) for _ in range(8)]
            for _ in range(20):
                assert http_get(server.url + "/livez", timeout=STALL).status == 200
            for client in clients[:2]:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                assert list(_bodies(client.all())) == [_numbered(n) for n in range(MANY)]
            assert http_get(server.url + "/livez", timeout=STALL).status == 200

    def test_in_vain(self, house: House) -> None:
        """A client that never reads is disconnected, and what it did not take is dropped."""
        with (
            _answering(house, THREADS="2", REQUEST_TIMEOUT="1") as server,
            contextlib.ExitStack() as stack,
        ):
            clients = [_unread(server, stack) for _ in range(4)]
            wait_until(lambda: server.log_text.count("answer not taken") == 4)
            port = int(server.url.rpartition(":")[2])
            wait_until(lambda: connections_to(port) == 0)
            assert len(list(_bodies(clients[0].all()))) < MANY
            assert server.get("/livez").status == 200
            assert "Traceback" not in server.log_text

    def test_more_than_there_may_be(self, house: House) -> None:
        """With all connections taken by such clients, one of them makes room."""
        few = ("--worker-connections", "10")
        with (
            _answering(house, *few, THREADS="2", REQUEST_TIMEOUT=FOREVER) as server,
            contextlib.ExitStack() as stack,
        ):
            for _ in range(20):
                _unread(server, stack)
            for _ in range(5):
                assert http_get(server.url + "/livez", timeout=STALL).status == 200
            assert "Traceback" not in server.log_text

    def test_while_the_answer_is_made(self, house: House) -> None:
        """What was unsent of a streamed answer reaches the client before the next part is there."""
        with (
            _answering(house, THREADS="2", REQUEST_TIMEOUT=FOREVER) as server,
            Client(server, receive_buffer=4096) as client,
        ):
            client.send(b"GET /much/stream" + HOST + CLOSE)
            assert client.until(b"first").endswith(b"first\r\n")
            assert server.get("/much/go").status == 200
            assert b"second" in client.until(b"second")

    def test_refused_behind_it(self, house: House) -> None:
        """What is no request gets its refusal when the answers before it are taken."""
        with (
            _answering(house, THREADS="2", REQUEST_TIMEOUT=FOREVER) as server,
            Client(server, receive_buffer=4096) as client,
        ):
            client.send(b"GET /much/1" + HOST + b"\r\nGET\r\n\r\n")
            assert client.all().count(b"HTTP/1.1 400 ") == 1


#: Requests that a client sends without reading: their answers are more than the kernel takes.
MANY = 60


def _numbered(number: int) -> bytes:
    """A view's answer, which is like no other one."""
    return str(number).encode() * 150_000


@contextlib.contextmanager
def _answering(house: House, *arguments: str, **environ: str) -> Iterator[Server]:
    """A worker with long answers, one of them in parts."""
    code = """
import threading
from flask import Blueprint
bp, gone_on = Blueprint("much", __name__), threading.Event()
@bp.get("/<int:number>")
def numbered(number):
    return str(number) * 150_000
@bp.get("/stream")
def stream():
    def parts():
        yield b"x" * 5_000_000 + b"first"
        gone_on.wait(60)
        yield b"second"
    return parts()
@bp.get("/go")
def go():
    gone_on.set()
    return ""
"""
    house.add("much", code)
    with house.serve(*arguments, workers=1, **environ) as server:
        yield server


def _unread(server: Server, stack: contextlib.ExitStack) -> Client:
    """A client that asks for much and reads none of it yet."""
    client = stack.enter_context(Client(server, receive_buffer=2048))
    asked = [f"GET /much/{number}".encode() + HOST for number in range(MANY)]
    return client.send(b"\r\n".join(asked) + CLOSE)


def _nothing_moves(server: Server) -> bool:
    """Whether some answers were made, and no others for a second."""
    before = server.log_text.count("/much/")
    time.sleep(1)
    return 0 < before == server.log_text.count("/much/")


def _bodies(received: bytes) -> Iterator[bytes]:
    """The bodies of pipelined answers that are whole."""
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(received) >= length:
            yield received[:length]
        received = received[length:]


class TestStop:
    """A server that stops while clients are slow."""

    def test_dripping(self, tmp_path: Path) -> None:
        """They do not keep it."""
        with hostel(tmp_path, REQUEST_TIMEOUT=FOREVER) as server, contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(Client(server)).send(b"GET /")
            assert server.get("/livez").status == 200
            assert stop(server.process) == 0

    def test_half_a_request(self, tmp_path: Path) -> None:
        """A request that is on its way when the server gets the signal to stop is answered."""
        with hostel(tmp_path) as server, Client(server) as client:
            client.send(LIVE).until(b"alive\n")
            client.send(LIVE[:20])
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Handling signal: term" in server.log_text)
            received = client.send(LIVE[20:]).all()
            assert received.endswith(b"alive\n")
            assert b"Connection: close" in received
            assert stop(server.process) == 0

    def test_answers_that_are_not_taken(self, house: House) -> None:
        """Who reads after all gets the whole answer; who does not holds nobody up."""
        with (
            _answering(house, THREADS="2", REQUEST_TIMEOUT=FOREVER) as server,
            contextlib.ExitStack() as stack,
        ):
            reading, _ = (_unread(server, stack) for _ in range(2))
            wait_until(lambda: _nothing_moves(server))
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Handling signal: term" in server.log_text)
            found = list(_bodies(reading.all()))
            assert found == [_numbered(n) for n in range(len(found))]
            assert found
            assert stop(server.process) == 0
            assert "answer not taken" in server.log_text
            assert "Traceback" not in server.log_text


@pytest.fixture(scope="module", params=[("sync", "1"), ("sync", "2"), ("eventlet", "2")])
def other(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with another worker class."""
    kind, threads = request.param
    with hostel(tmp_path_factory.mktemp("hostel"), WORKER_CLASS=kind, THREADS=threads) as running:
        yield running


class TestOtherWorkers:
    """What the workers beside gthread do."""

    @pytest.mark.parametrize(
        "name",
        [
            "one word",
            "version 2",
            "long path",
            "many fields",
            "no host",
            "two hosts",
            "no such host",
            "fragment",
            "another scheme",
            "encoded in chunks",
        ],
    )
    def test_malformed(self, other: Server, name: str) -> None:
        """They refuse with problems too."""
        request, status = MALFORMED[name]
        assert_problem(exchange(other, request), status)

    @pytest.mark.parametrize("name", ["two lengths", "chunked twice", "length and chunks"])
    def test_smuggling(self, other: Server, name: str) -> None:
        """They take no second request for the rest of a doubtful first one."""
        assert_problem(exchange(other, SMUGGLED[name] + LIVE), 400)

    @pytest.mark.parametrize("expecting", [b"", b"Expect: 100-continue\r\n"])
    def test_body_that_nobody_reads(self, other: Server, expecting: bytes) -> None:
        """They do not wait for it, and ask for none."""
        unread = b"POST /nowhere" + HOST + expecting + b"Content-Length: 20000\r\n\r\n"
        assert_problem(exchange(other, unread), 404)

    @pytest.mark.parametrize(
        "name",
        ["OPTIONS of everything", "whole address without a path", "two slashes before a path"],
    )
    def test_target(self, other: Server, name: str) -> None:
        """They read targets likewise."""
        line, status = ANSWERED[name]
        assert status_of(exchange(other, line + HOST + CLOSE)) == status

    def test_expectation(self, other: Server) -> None:
        """A client that waits for 100 gets it when its body is read."""
        with Client(other) as client:
            client.send(FIX + b"Expect: 100-continue\r\nContent-Length: 2\r\n" + CLOSE)
            assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert_problem(client.send(b"[]").all(), 400)

    def test_body_that_breaks_off(self, other: Server) -> None:
        """They take no part of it for the whole."""
        with Client(other) as client:
            client.send(FIX + b"Content-Length: 9\r\n\r\n{}")
            client.socket.shutdown(socket.SHUT_WR)
            assert_problem(client.all(), 400)


def test_a_view_that_exits_does_not_take_the_worker_along(house: House) -> None:
    """Its client gets a 500 that says nothing, and the log has the reason."""
    code = "import sys\nfrom flask import Blueprint\nbp = Blueprint('exits', __name__)\n"
    code += f"@bp.get('')\ndef exits():\n    sys.exit({EXCEPTION!r})\n"
    house.add("exits", code)
    with house.serve(workers=1) as server:
        received = exchange(server, b"GET /exits" + HOST + b"\r\n")
        assert_problem(received, 500)
        reference = json.loads(received.partition(b"\r\n\r\n")[2])["id"]
        assert _fields(received)["x-request-id"] == reference
        wait_until(partial(_says, server, f'request failed unexpectedly.*"{reference}"'))
        assert server.get("/livez").status == 200
        assert server.log_text.count("Booting worker") == 1
        assert EXCEPTION in server.log_text


def test_a_slow_head_does_not_kill_a_synchronous_worker(tmp_path: Path) -> None:
    """It gets 408, and the worker goes on."""
    with hostel(tmp_path, WORKER_CLASS="sync", THREADS="1") as server:
        assert_problem(exchange(server, b"GET /" + HOST + b"A: "), 408)


def test_encryption_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """The poller could not read it, so the server does not start."""
    (tmp_path / "pem").touch()
    command = [sys.executable, "-m", "deploy.serve", "--certfile", str(tmp_path / "pem")]
    environ = base_environ(AUTO_FIX_HOME=str(tmp_path / "home"), PORT="1")
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "TLS and HTTP/2 end at the proxy" in done.stderr
    assert "Traceback" not in done.stderr

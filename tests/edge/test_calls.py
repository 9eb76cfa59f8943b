"""One suite for every transport: aiohttp, requests, and requests on green threads.

``tests/edge/test_eventlet.py`` runs it once more in a process that eventlet has patched.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.edge.client import EdgeClient
from app.edge.errors import (
    BodyBroken,
    BodyTooLarge,
    CallFailed,
    ErrorKind,
    InvalidPath,
    MethodRefused,
    UnknownFunction,
)
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.health import HealthState
from app.edge.protection import BreakerState
from app.edge.transports import CallerBody
from tests.edge.conftest import LOADERS, PATIENT, SHORT, Clients, until
from tests.support.edge_server import MEBIBYTE, EdgeServer
from tests.support.sockets import connections_to


class TestInvoke:
    """One call, the same over every transport."""

    def test_get(self, client: EdgeClient, transport: str) -> None:
        """A call brings back status, body and headers, and says what carried it."""
        invocation = client.invoke("f", path="a/b", query="x=1&y=%20")
        seen = json.loads(invocation.body)
        assert (invocation.status, invocation.error) == (200, None)
        assert (seen["method"], seen["path"]) == ("GET", "/a/b?x=1&y=%20")
        assert ("Content-Type", "application/json") in invocation.headers
        assert invocation.choice.transport.name == transport

    def test_post(self, client: EdgeClient) -> None:
        """The body and its type reach the function unchanged."""
        headers = [("content-type", "text/plain")]
        response = client.invoke("f", method="POST", body=b"\x00\xff", headers=headers)
        seen = json.loads(response.body)
        assert (seen["method"], seen["body"]) == ("POST", "\x00\xff")
        assert seen["headers"]["Content-Type"] == "text/plain"

    def test_post_without_type(self, client: EdgeClient) -> None:
        """No content type is made up for a body that came without one."""
        response = client.invoke("f", method="POST", body=b"x")
        assert "Content-Type" not in json.loads(response.body)["headers"]

    def test_only_allowed_headers_pass(self, client: EdgeClient, server: EdgeServer) -> None:
        """Credentials, cookies, hop-by-hop headers and Host stay with the service."""
        headers = [
            ("Authorization", "Bearer canary"),
            ("Cookie", "canary=1"),
            ("Host", "canary.example.com"),
            ("Connection", "close, canary"),
            ("Transfer-Encoding", "canary"),
            ("X-Forwarded-For", "canary"),
            ("X-Request-ID", "abc"),
            ("Traceparent", "forged\r\nX-Canary: 1"),
        ]
        seen = json.loads(client.invoke("f", headers=headers).body)["headers"]
        assert "canary" not in json.dumps(seen).lower()
        assert seen["X-Request-ID"] == "abc"
        assert seen["Host"] == server.url.removeprefix("http://")
        assert "python" not in seen["User-Agent"].lower()

    def test_failing_function(self, client: EdgeClient) -> None:
        """A function's own error status is its answer."""
        response = client.invoke("f", path="failing")
        assert (response.status, response.body, response.error) == (500, b"broken", None)

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("redirect", ErrorKind.REDIRECT),
            ("oversized", ErrorKind.TOO_LARGE),
            ("endless", ErrorKind.TOO_LARGE),
            ("cut", ErrorKind.PROTOCOL),
            ("garbage", ErrorKind.PROTOCOL),
            ("silent-close", ErrorKind.PROTOCOL),
            ("metadata", ErrorKind.REDIRECT),
            ("bad-header", ErrorKind.PROTOCOL),
            ("split", ErrorKind.PROTOCOL),
            ("no-length", ErrorKind.PROTOCOL),
            ("odd-status", ErrorKind.PROTOCOL),
            ("switching", ErrorKind.PROTOCOL),
        ],
    )
    def test_bad_answers(self, client: EdgeClient, path: str, kind: ErrorKind) -> None:
        """An answer that cannot be used ends in its error kind and no body."""
        response = client.invoke("f", path=path)
        assert (response.error, response.body) == (kind, b"")

    def test_other_protocols(self, client: EdgeClient, server: EdgeServer) -> None:
        """A function that switches protocols keeps no connection, called or checked."""
        function = replace(client.functions[0], health_path="/switching")
        registry = EdgeRegistry(functions=(function,), configured=True)
        client._registered = lambda: registry
        for _ in range(4):
            invocation = client.invoke("f", path="switching")
            assert (invocation.status, invocation.error) == (101, ErrorKind.PROTOCOL)
        (checked,) = client.check_all()
        assert (checked.healthy, checked.error) == (False, ErrorKind.PROTOCOL)
        until(lambda: connections_to(server.server.server_port) == 0)

    @pytest.mark.parametrize("path", ["hang", "drip", "drip-head", "late-body"])
    def test_timeout(self, client: EdgeClient, path: str) -> None:
        """A function that hangs or drips is given up after its timeout."""
        response = client.invoke("hasty", path=path)
        assert response.error is ErrorKind.TIMEOUT
        assert SHORT * 0.9 <= response.seconds < PATIENT / 2

    def test_redirect_is_not_followed(self, client: EdgeClient, server: EdgeServer) -> None:
        """Where a redirect points to is never called."""
        client.invoke("f", path="redirect")
        assert server.paths() == ["/redirect"]

    def test_nobody_there(self, clients: Clients, transport: str) -> None:
        """A function whose server is down is a connection error."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        function = EdgeFunction(name="f", url=f"http://127.0.0.1:{port}", timeout=PATIENT)
        response = clients(function, load=LOADERS[transport]).invoke("f")
        assert (response.error, response.status) == (ErrorKind.CONNECT, None)

    def test_no_such_host(self, clients: Clients, transport: str) -> None:
        """A host name that does not exist is a connection error or a timeout."""
        function = EdgeFunction(name="f", url="http://nobody.invalid", timeout=PATIENT)
        response = clients(function, load=LOADERS[transport]).invoke("f")
        assert response.error in {ErrorKind.CONNECT, ErrorKind.TIMEOUT}

    def test_not_tls(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """A server that speaks no TLS on an https URL is a TLS error."""
        url = server.url.replace("http:", "https:")
        function = EdgeFunction(name="f", url=url, timeout=PATIENT)
        response = clients(function, load=LOADERS[transport]).invoke("f")
        assert response.error is ErrorKind.TLS

    def test_cookies_are_not_kept(self, client: EdgeClient) -> None:
        """A cookie set for one caller is not sent for the next."""
        client.invoke("f", path="cookie")
        seen = json.loads(client.invoke("f").body)
        assert "Cookie" not in seen["headers"]

    def test_unknown_name(self, client: EdgeClient, server: EdgeServer) -> None:
        """A name that is not registered calls nobody."""
        with pytest.raises(UnknownFunction):
            client.invoke("http://127.0.0.1")
        assert server.seen == []

    @pytest.mark.parametrize(
        "path", ["..", "../x", "a/../../b", "./x", "a\\..\\b", "a\r\nHost: x", "\x00", "a/.."]
    )
    def test_path_that_could_leave(self, client: EdgeClient, server: EdgeServer, path: str) -> None:
        """Dot segments, backslashes and control characters are refused before any call."""
        with pytest.raises(InvalidPath):
            client.invoke("f", path=path)
        assert server.seen == []

    @pytest.mark.parametrize(
        ("path", "sent"),
        [
            ("%2e%2e/x", "/%252e%252e/x"),
            ("a b/ü", "/a%20b/%C3%BC"),
            ("x?y=1#z", "/x%3Fy=1%23z"),
            ("a//other.example.com", "/a//other.example.com"),
            ("@other.example.com", "/@other.example.com"),
        ],
    )
    def test_path_is_encoded_once(
        self, client: EdgeClient, server: EdgeServer, path: str, sent: str
    ) -> None:
        """Whatever else a path holds stays a path of the registered function."""
        client.invoke("f", path=path)
        assert server.paths() == [sent]


class TestCheckAll:
    """The health check of all functions."""

    def test_results(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """Healthy, failing, hanging and redirecting functions are told apart, in file order."""
        paths = ["/health", "/failing", "/hang", "/redirect"]
        functions = [
            EdgeFunction(
                name=path[1:],
                url=server.url,
                health_path=path,
                timeout=SHORT if path == "/hang" else PATIENT,
            )
            for path in paths
        ]
        client = clients(*functions, load=LOADERS[transport])
        results = [(r.name, r.healthy, r.status, r.error) for r in client.check_all()]
        assert results == [
            ("health", True, 200, None),
            ("failing", False, 500, None),
            ("hang", False, None, ErrorKind.TIMEOUT),
            ("redirect", False, 302, ErrorKind.REDIRECT),
        ]

    def test_concurrent(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """Fifty functions that each wait for the others to be called are all healthy."""
        server.expect(50)
        functions = [
            EdgeFunction(name=f"f{n}", url=server.url, health_path="/together", timeout=PATIENT)
            for n in range(50)
        ]
        client = clients(*functions, load=LOADERS[transport])
        assert all(result.healthy for result in client.check_all())

    def test_more_than_the_threads(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """Three hundred functions are all checked."""
        functions = [
            EdgeFunction(name=f"f{n}", url=server.url, timeout=PATIENT) for n in range(300)
        ]
        results = clients(*functions, load=LOADERS[transport]).check_all()
        assert [result.name for result in results if result.healthy] == [f.name for f in functions]

    def test_callers_share_a_run(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """A second caller during a run gets its result without another call to the function."""
        server.expect(2)
        function = EdgeFunction(name="f", url=server.url, health_path="/together", timeout=PATIENT)
        client = clients(function, load=LOADERS[transport])
        callers = [threading.Thread(target=client.check_all) for _ in range(5)]
        for caller in callers:
            caller.start()
        until(lambda: len(server.seen) == 1)
        client.invoke("f", path="together")
        for caller in callers:
            caller.join(PATIENT)
        assert server.paths().count("/together") == 2

    def test_no_functions(self, clients: Clients, transport: str) -> None:
        """With nothing registered there is nothing to check."""
        assert clients(load=LOADERS[transport]).check_all() == []


def _body(data: bytes, length: int | None = None, step: int = 50_000) -> CallerBody:
    """A caller's body that comes in steps."""
    rest = bytearray(data)

    def read(size: int, _until: float) -> bytes:
        chunk = bytes(rest[: min(size, step)])
        del rest[: len(chunk)]
        return chunk

    return CallerBody(length, read)


#: What a function sends that then reads no more: nothing, a whole answer, the beginning of one.
DEAF_ANSWERS = [
    b"",
    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
]


class Deaf:
    """A function that takes one connection, answers perhaps, and reads nothing more."""

    def __init__(self, listener: socket.socket, answer: bytes) -> None:
        self._listener, self._answer = listener, answer
        self.port: int = listener.getsockname()[1]
        self.reading = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Deaf:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            self.reading.set()
            connection.sendall(self._answer)
            self._stop.wait(3 * PATIENT)


@pytest.fixture(params=DEAF_ANSWERS, ids=["silent", "answers", "begins an answer"])
def deaf(request: pytest.FixtureRequest) -> Iterator[Deaf]:
    """Each of them in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Deaf(listener, request.param) as made:
        yield made


class TestBodies:
    """Bodies pass in both directions as they come, within limits."""

    @pytest.fixture
    def wide(self, clients: Clients, server: EdgeServer, transport: str) -> EdgeClient:
        """A client of a function that may have large bodies, and of one that may not."""
        large = 64 * MEBIBYTE
        return clients(
            EdgeFunction(
                name="f", url=server.url, timeout=PATIENT, max_request=large, max_response=large
            ),
            EdgeFunction(name="s", url=server.url, timeout=PATIENT, stream=True),
            EdgeFunction(name="narrow", url=server.url, timeout=PATIENT, max_request=100_000),
            EdgeFunction(name="hasty", url=server.url, timeout=SHORT, max_request=large),
            load=LOADERS[transport],
        )

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 * MEBIBYTE])
    def test_upload(self, wide: EdgeClient, size: int, *, announced: bool) -> None:
        """Every byte arrives, whether the length is known beforehand or not."""
        body = _body(b"x" * size, size if announced else None)
        invocation = wide.invoke("f", method="POST", path="count", body=body)
        assert (invocation.status, invocation.body) == (200, str(size).encode())

    def test_announced_length_is_sent(self, wide: EdgeClient, server: EdgeServer) -> None:
        """A large body keeps its Content-Length; one without is sent in chunks."""
        wide.invoke("f", method="POST", path="count", body=_body(b"x" * 200_000, 200_000))
        wide.invoke("f", method="POST", path="count", body=_body(b"x" * 3 * MEBIBYTE))
        first, second = (request.headers for request in server.seen)
        assert first["Content-Length"] == "200000"
        assert "Transfer-Encoding" not in first
        assert (second.get("Content-Length"), second["Transfer-Encoding"]) == (None, "chunked")

    @pytest.mark.parametrize("length", [100_001, None])
    def test_upload_too_large(
        self, wide: EdgeClient, server: EdgeServer, length: int | None
    ) -> None:
        """A body beyond the limit is refused before any call, whether it says so or not."""
        with pytest.raises(BodyTooLarge):
            wide.invoke("narrow", method="POST", body=_body(b"x" * 100_001, length))
        assert server.seen == []
        assert wide.guarded()["narrow"].limit.in_flight == 0

    def test_gigabyte(self, wide: EdgeClient, server: EdgeServer) -> None:
        """A caller that sends without end is stopped at the limit."""
        sent = []

        def read(size: int, _until: float) -> bytes:
            sent.append(size)
            return b"x" * size

        with pytest.raises(BodyTooLarge):
            wide.invoke("f", method="POST", path="count", body=CallerBody(None, read))
        assert sum(sent) <= 66 * MEBIBYTE
        assert server.seen == []

    def test_caller_breaks_off(self, wide: EdgeClient, server: EdgeServer) -> None:
        """A caller that goes away in the middle costs its call alone."""
        chunks = iter([b"x" * 60_000] * 30)

        def read(_size: int, _until: float) -> bytes:
            try:
                return next(chunks)
            except StopIteration:
                raise BodyBroken from None

        for length in (10 * MEBIBYTE, None):
            with pytest.raises(BodyBroken):
                wide.invoke("f", method="POST", path="count", body=CallerBody(length, read))
        assert server.paths() == []
        guarded = wide.guarded()["f"]
        assert (guarded.limit.in_flight, guarded.breaker.state) == (0, BreakerState.CLOSED)

    def test_answer_before_the_body_was_read(self, wide: EdgeClient) -> None:
        """A function that refuses a large body early ends the call early."""
        body = _body(b"x" * 32 * MEBIBYTE, 32 * MEBIBYTE)
        invocation = wide.invoke("f", method="POST", path="early", body=body)
        assert (invocation.status, invocation.error) in {(413, None), (None, ErrorKind.PROTOCOL)}
        assert invocation.seconds < PATIENT

    def test_function_that_takes_no_more(self, wide: EdgeClient, deaf: Deaf) -> None:
        """A function that stops reading is given up at the deadline, with its connection."""
        started = time.monotonic()
        self._upload(wide, deaf, "hasty")
        assert time.monotonic() - started < PATIENT / 2
        until(lambda: connections_to(deaf.port) == 0)

    def test_client_that_is_closed_meanwhile(self, wide: EdgeClient, deaf: Deaf) -> None:
        """Closing the client ends a call to a function that reads nothing."""
        caller = threading.Thread(target=self._upload, args=(wide, deaf, "f"))
        caller.start()
        deaf.reading.wait(PATIENT)
        started = time.monotonic()
        wide.close()
        caller.join(PATIENT)
        assert time.monotonic() - started < PATIENT / 2
        assert connections_to(deaf.port) == 0

    @staticmethod
    def _upload(client: EdgeClient, deaf: Deaf, name: str) -> None:
        """Send more than a connection takes, and take what comes for an answer."""
        function = replace(
            next(f for f in client.functions if f.name == name), url=f"http://127.0.0.1:{deaf.port}"
        )
        registry = EdgeRegistry(functions=(function,), configured=True)
        client._registered = lambda: registry
        body = _body(b"x" * 32 * MEBIBYTE, 32 * MEBIBYTE)
        invocation = client.invoke(name, method="POST", body=body)
        with contextlib.suppress(CallFailed):
            list(invocation.chunks())
        invocation.close()

    @pytest.mark.parametrize("path", ["large", "large-chunked"])
    def test_download(self, wide: EdgeClient, path: str) -> None:
        """A long answer is passed on as it comes, and its slot is kept until it is closed."""
        invocation = wide.invoke("f", path=path)
        assert not invocation.whole
        assert wide.guarded()["f"].limit.in_flight == 1
        assert sum(map(len, invocation.chunks())) == 3 * MEBIBYTE
        invocation.close()
        assert wide.guarded()["f"].limit.in_flight == 0
        assert wide.invoke("f", path="health").status == 200

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("HEAD", "x", 200),
            ("HEAD", "large-chunked", 200),
            ("HEAD", "failing", 500),
            ("GET", "no-content", 204),
            ("GET", "not-modified", 304),
        ],
    )
    @pytest.mark.parametrize("name", ["f", "s"])
    def test_no_body(
        self, wide: EdgeClient, name: str, method: str, path: str, status: int
    ) -> None:
        """An answer that has no body is whole at once, and counts as what it is."""
        invocation = wide.invoke(name, method=method, path=path)
        assert (invocation.status, invocation.whole, invocation.body) == (status, True, b"")
        assert wide.guarded()[name].limit.in_flight == 0
        found = wide.statistics.of(name, shared=wide.statistics.shared(now=True))
        assert found.outcomes == {"server_error" if status == 500 else "ok": 1}
        assert wide.invoke(name, path="health").status == 200

    def test_stream(self, wide: EdgeClient, server: EdgeServer) -> None:
        """An event stream is passed on event by event."""
        invocation = wide.invoke("f", path="events")
        chunks = invocation.chunks()
        assert next(chunks) == b"data: 1\n\n"
        server.gate.set()
        assert b"".join(chunks) == b"data: 2\n\n"
        invocation.close()

    @pytest.mark.parametrize(
        ("name", "path", "kind"),
        [
            ("f", "large-cut", ErrorKind.PROTOCOL),
            ("s", "endless", ErrorKind.TOO_LARGE),
            ("s", "cut", ErrorKind.PROTOCOL),
        ],
    )
    def test_answer_that_breaks_off(
        self, wide: EdgeClient, name: str, path: str, kind: ErrorKind
    ) -> None:
        """What is wrong with an answer that has begun ends it with an error."""
        invocation = wide.invoke(name, path=path)
        with pytest.raises(CallFailed) as caught:
            list(invocation.chunks())
        invocation.close()
        assert caught.value.kind is kind
        assert wide.guarded()[name].limit.in_flight == 0

    def test_stream_past_its_time(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """A stream that does not end ends with the call's time."""
        function = EdgeFunction(name="f", url=server.url, timeout=SHORT, stream=True)
        invocation = clients(function, load=LOADERS[transport]).invoke("f", path="drip")
        started = time.monotonic()
        with pytest.raises(CallFailed) as caught:
            list(invocation.chunks())
        assert caught.value.kind is ErrorKind.TIMEOUT
        assert time.monotonic() - started < PATIENT / 2

    def test_reader_that_goes_away(self, wide: EdgeClient) -> None:
        """An answer that nobody reads to its end gives its slot and connection back."""
        for _ in range(10):
            invocation = wide.invoke("f", path="large")
            next(invocation.chunks())
            invocation.close()
        assert wide.guarded()["f"].limit.in_flight == 0

    def test_invalid_json(self, wide: EdgeClient) -> None:
        """What the bytes of an answer mean is the caller's business."""
        invocation = wide.invoke("f", path="bad-json")
        assert (invocation.status, invocation.body) == (200, b'{"a": ')

    def test_more_than_promised(self, wide: EdgeClient, server: EdgeServer) -> None:
        """More bytes than promised are cut off, or the answer is refused; they never get through.

        Which of them depends on whether they came in the same packet.
        """
        invocation = wide.invoke("f", path="too-much")
        assert (invocation.error, invocation.body) in {(None, b"ok"), (ErrorKind.PROTOCOL, b"")}
        # The server hangs up after it; a call that came sooner would find out only by failing.
        until(lambda: connections_to(server.server.server_port) == 0)
        assert wide.invoke("f", path="health").body == b"ok"


class TestContract:
    """What the registry says of a function holds for its calls."""

    def _client(self, clients: Clients, transport: str, function: EdgeFunction) -> EdgeClient:
        return clients(function, load=LOADERS[transport])

    def test_registered_headers(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """Registered fields are sent with calls and health checks, and win over a caller's."""
        fields = (("Authorization", "Bearer ours"), ("accept", "text/x"))
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, headers=fields)
        client = self._client(clients, transport, function)
        client.invoke("f", headers=[("Authorization", "theirs"), ("Accept", "text/y")])
        client.check_all()
        for seen in server.seen:
            lower = {name.lower(): value for name, value in seen.headers.items()}
            assert (lower["authorization"], lower["accept"]) == ("Bearer ours", "text/x")

    @pytest.mark.parametrize(("method", "given"), [("PUT", "POST"), ("HEAD", "GET")])
    def test_method(
        self, clients: Clients, server: EdgeServer, transport: str, method: str, given: str
    ) -> None:
        """A function with a method of its own is called with it; a GET never becomes a PUT."""
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, method=method)
        client = self._client(clients, transport, function)
        assert client.invoke("f", method=given).status == 200
        with pytest.raises(MethodRefused) as caught:
            client.invoke("f", method="GET" if given == "POST" else "POST")
        assert caught.value.allowed == given

    @pytest.mark.parametrize("method", ["GET", "HEAD", None])
    def test_head(
        self, clients: Clients, server: EdgeServer, transport: str, method: str | None
    ) -> None:
        """A caller's HEAD stays one wherever its GET would be sent."""
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, method=method)
        assert self._client(clients, transport, function).invoke("f", method="HEAD").status == 200
        assert [seen.method for seen in server.seen] == ["HEAD"]

    def test_head_of_what_is_posted(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """A function that is called with POST is not called for a HEAD."""
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, method="PUT")
        with pytest.raises(MethodRefused):
            self._client(clients, transport, function).invoke("f", method="HEAD")
        assert server.seen == []

    @pytest.mark.parametrize(
        ("method", "failures", "status", "calls"),
        [("GET", 2, 200, 3), ("GET", 9, 503, 3), ("POST", 2, 503, 1)],
    )
    def test_retries(
        self,
        clients: Clients,
        server: EdgeServer,
        transport: str,
        method: str,
        failures: int,
        status: int,
        calls: int,
    ) -> None:
        """What may be repeated is, as often as registered; anything else is called once."""
        server.failures = failures
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, retries=2)
        client = self._client(clients, transport, function)
        assert client.invoke("f", method=method, path="flaky").status == status
        assert len(server.seen) == calls

    def test_retries_end_with_the_time(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """No repetition begins for which the call's time does not last."""
        server.failures = 9
        # Less than the pauses between six calls take together, however they are spread.
        function = EdgeFunction(name="f", url=server.url, timeout=0.2, retries=5)
        self._client(clients, transport, function).invoke("f", path="flaky")
        left = [float(request.headers["X-Request-Timeout"]) for request in server.seen]
        assert len(left) < 6
        assert left == sorted(left, reverse=True)
        assert all(0 < seconds <= 0.2 for seconds in left)

    def test_retries_of_what_cannot_be_reached(self, clients: Clients, transport: str) -> None:
        """They end in the kind of the last failure, and before the call's time is over."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        function = EdgeFunction(name="f", url=url, timeout=PATIENT, retries=3)
        invocation = self._client(clients, transport, function).invoke("f")
        assert invocation.error is ErrorKind.CONNECT
        assert invocation.seconds < PATIENT

    def test_patience(self, client: EdgeClient, server: EdgeServer) -> None:
        """A caller with less time than the function has gets its answer in that, and says so."""
        invocation = client.invoke("f", path="hang", patience=2.0)
        assert invocation.error is ErrorKind.TIMEOUT
        assert invocation.seconds < PATIENT / 2
        until(lambda: len(server.seen) == 1)
        assert 0 < float(server.seen[0].headers["X-Request-Timeout"]) <= 2.0
        client.invoke("hasty", patience=1000)
        until(lambda: len(server.seen) == 2)
        assert 0 < float(server.seen[1].headers["X-Request-Timeout"]) <= SHORT

    def test_trace(self, client: EdgeClient, server: EdgeServer) -> None:
        """A caller's trace goes on under a new span; without one a trace begins."""
        trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        client.invoke(
            "f", headers=[("traceparent", f"00-{trace}-{span}-01"), ("tracestate", "a=1")]
        )
        client.invoke("f")
        first, second = (request.headers for request in server.seen)
        version, same, fresh, flags = first["Traceparent"].split("-")
        assert (version, same, flags, first["Tracestate"]) == ("00", trace, "01", "a=1")
        assert fresh != span
        assert second["Traceparent"].split("-")[1] != trace
        assert "Tracestate" not in second

    def test_request_id(self, client: EdgeClient, server: EdgeServer) -> None:
        """A call has an id: the caller's, or a new one."""
        assert client.invoke("f", headers=[("x-request-id", "abc-1")]).id == "abc-1"
        made = client.invoke("f", headers=[("x-request-id", "a b")]).id
        assert [request.headers["X-Request-ID"] for request in server.seen] == ["abc-1", made]
        assert len(made) == 32

    def test_health_status(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """What counts as healthy is what the registry says."""
        function = EdgeFunction(
            name="f",
            url=server.url,
            timeout=PATIENT,
            health_path="/failing",
            health_status=(500,),
        )
        (result,) = self._client(clients, transport, function).check_all()
        assert (result.healthy, result.state) == (True, HealthState.HEALTHY)

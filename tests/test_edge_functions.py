"""Edge functions: the registry file, and calls to real servers over every transport."""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.edge import (
    EdgeClient,
    EdgeFunction,
    EdgeRegistry,
    ErrorKind,
    InvalidPath,
    NoTransport,
    Priority,
    RegistryError,
    UnknownFunction,
    load_registry,
    parse_registry,
)
from app.healing.report import Check
from tests.support.edge_server import EdgeServer, edge_server

ROOT = Path(__file__).resolve().parent.parent
#: Seconds: enough for an answer from loopback on a busy machine.
PATIENT = 20.0
#: Seconds: what a function that never answers is given.
SHORT = 0.3


def _faults(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(RegistryError) as caught:
        parse_registry(text)
    return [(fault.line, fault.message) for fault in caught.value.faults]


def _table(**values: object) -> str:
    """A table that is right but for the given values, its keys on lines 2 and following."""
    merged = {"name": "orders", "url": "https://orders.example.com", **values}
    return "[[function]]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in merged.items()
    )


class TestRegistry:
    """The file that says what may be called."""

    def test_the_example_is_valid(self) -> None:
        """The shipped example registers functions, and only under reserved names."""
        registry = load_registry(ROOT / "edge-functions.example.toml")
        assert registry.error is None
        assert registry.functions
        assert all(".example.com" in function.url for function in registry.functions)

    def test_everything_given(self) -> None:
        """Every key of a table reaches its field."""
        given = {
            "name": "orders",
            "url": "https://orders.example.com/v1",
            "category": "commerce",
            "priority": "high",
            "description": "Takes orders.",
            "health_path": "/alive",
            "timeout": 2,
        }
        (function,) = parse_registry(_table(**given))
        assert function.to_dict() == {**given, "priority": Priority.HIGH, "timeout": 2.0}

    def test_defaults(self) -> None:
        """A name and a URL are enough; a closing slash of the URL is not kept."""
        (function,) = parse_registry(_table(url="http://127.0.0.1:8787/"))
        assert function == EdgeFunction(name="orders", url="http://127.0.0.1:8787")

    def test_no_file_named(self) -> None:
        """With no file configured there are no functions and nothing is wrong."""
        assert load_registry(None) == EdgeRegistry()

    def test_empty_file(self) -> None:
        """An empty file registers nothing and is right."""
        assert parse_registry("") == ()

    @pytest.mark.parametrize(
        "value",
        [
            "ftp://orders.example.com",
            "orders.example.com",
            "https://",
            "https://user:canary@orders.example.com",
            "https://orders.example.com?key=canary",
            "https://orders.example.com#x",
            "https://orders.example.com/../admin",
            "https://orders.example.com/a b",
            "https://orders.example.com:99999",
            "https://orders.example.com:0",
            "https://[::1",
            "https://ord\\ers.example.com",
            "https://orders.example.com\nX-Forged: 1",
            "file:///etc/passwd",
            7,
            ["https://orders.example.com"],
        ],
    )
    def test_wrong_url(self, value: object) -> None:
        """A URL that is not plain http or https is named by line, and is not shown."""
        ((line, message),) = _faults(_table(url=value))
        assert line == 3
        assert message.startswith('function "orders": url must be an http or https URL')
        assert "canary" not in message

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("name", ""),
            ("name", "a/b"),
            ("name", "-x"),
            ("name", "x" * 65),
            ("name", "nämé"),
            ("name", "a\nb"),
            ("name", 1),
            ("priority", "urgent"),
            ("priority", ["high"]),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", 121),
            ("timeout", True),
            ("timeout", "5"),
            ("health_path", "health"),
            ("health_path", "/a/../b"),
            ("health_path", "/a b"),
            ("description", "x" * 1001),
            ("description", "a\x00b"),
            ("category", 3),
        ],
    )
    def test_wrong_value(self, key: str, value: object) -> None:
        """A wrong value is named with its key, its line, and what was expected."""
        text = _table(**{key: value})
        ((line, message),) = _faults(text)
        assert text.splitlines()[(line or 0) - 1].startswith(key)
        assert f"{key} must be " in message
        assert message.isprintable()

    @pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
    def test_timeout_that_is_no_time(self, value: str) -> None:
        """TOML's special floats are no timeouts."""
        ((line, _),) = _faults(_table() + f"timeout = {value}\n")
        assert line == 4

    def test_all_faults_at_once(self) -> None:
        """Every fault of every table is told, each with its own line."""
        text = (
            "# our functions\n"
            "\n"
            "[[function]]\n"
            "name = 'a'\n"
            "url = 'ftp://a.example.com'\n"
            "\n"
            "[[function]]\n"
            "description = '''\n"
            'url = "not a key but text"\n'
            "[[function]]\n"
            "'''\n"
            "name = 'b'\n"
            "\n"
            "[[function]]  # the third\n"
            "name = 'a'\n"
            "url = 'https://c.example.com'\n"
            "tiemout = 3\n"
        )
        assert [line for line, _ in _faults(text)] == [5, 7, 15, 17]

    def test_duplicate_names_both_lines(self) -> None:
        """A name that is taken is told with the line of the one that has it."""
        ((line, message),) = _faults(_table() + _table())
        assert line == 5
        assert message == 'the name "orders" is taken by the function of line 1'

    def test_unknown_top_level_key(self) -> None:
        """A misspelt table is a fault, not silence."""
        ((line, message),) = _faults("\n[[functions]]\nname = 'a'\n")
        assert (line, message) == (2, 'unknown key "functions"')

    @pytest.mark.parametrize("text", ["function = 3", "[function]\nname = 'a'", "function = [1]"])
    def test_not_an_array_of_tables(self, text: str) -> None:
        """Another shape than an array of tables is told with its line."""
        ((line, _),) = _faults(text)
        assert line == 1

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("[[function]]\nname = \n", 2),
            ("[[function]]\nname = 'a'\nname = 'b'\n", 3),
            ("[[function]]\n\nname = 'a", 3),
            ("[[function\n", 1),
        ],
    )
    def test_broken_syntax(self, text: str, line: int) -> None:
        """What is not TOML is told with its line."""
        ((found, message),) = _faults(text)
        assert found == line
        assert message.startswith("this is not valid TOML")

    def test_nested_too_deeply(self) -> None:
        """A text that would exhaust the parser is a fault like another."""
        ((_, message),) = _faults("a = " + "[" * 100_000)
        assert "TOML" in message

    def test_long_key_is_cut(self) -> None:
        """A key of ten kilobytes makes a short sentence."""
        ((_, message),) = _faults(_table() + f"{'k' * 10_000} = 1\n")
        assert len(message) < 200

    def test_many_faults_are_cut(self) -> None:
        """A thousand faults are told as the first twenty and a number."""
        faults = _faults("[[function]]\n" * 1000)
        assert len(faults) == 21
        assert "more faults" in faults[-1][1]

    def test_two_thousand_functions(self) -> None:
        """A large registry is read in file order."""
        text = "".join(_table(name=f"f{n}") for n in range(2000))
        assert [function.name for function in parse_registry(text)][1999] == "f1999"


class TestRegistryFile:
    """Files that cannot be used never keep the service from booting."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Where the file is expected."""
        return tmp_path / "functions.toml"

    def _rejected(self, file: Path) -> RegistryError:
        registry = load_registry(file)
        assert registry.functions == ()
        assert registry.configured
        assert registry.error is not None
        return registry.error

    def test_missing(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A missing file is told at WARNING and in the result, without its path in the sentence."""
        error = self._rejected(file)
        assert "does not exist" in str(error)
        assert str(file) not in str(error)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING

    def test_broken(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A broken file is told with its line, in the log as well."""
        file.write_text("[[function]]\nname = 'a'\nurl = 'nonsense'\n")
        assert str(self._rejected(file)).startswith("line 3: ")
        assert [vars(record)["fields"]["line"] for record in caplog.records] == [3]

    def test_directory(self, tmp_path: Path) -> None:
        """A directory is no registry."""
        assert "no regular file" in str(self._rejected(tmp_path))

    def test_endless_device(self) -> None:
        """A device that never ends is not read."""
        assert "no regular file" in str(self._rejected(Path(os.devnull).with_name("zero")))

    def test_not_utf8(self, file: Path) -> None:
        """Text in another encoding is told with its line."""
        file.write_bytes(b"# fine\n# caf\xe9\n")
        assert str(self._rejected(file)) == "line 2: the text is not UTF-8"

    def test_too_large(self, file: Path) -> None:
        """A file of nine megabytes is refused."""
        file.write_bytes(b"#" * (9 * 1024 * 1024))
        assert "larger than" in str(self._rejected(file))

    def test_relative_path(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path counts from the directory that the service was started in."""
        file.write_text(_table())
        monkeypatch.chdir(file.parent)
        assert len(load_registry(Path(file.name)).functions) == 1


def _without(*missing: str) -> Callable[[str], ModuleType | None]:
    """An importer on a machine where some libraries are missing."""
    return lambda name: None if name in missing else importlib.import_module(name)


TRANSPORTS = {"aiohttp": _without(), "requests": _without("aiohttp")}


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport in turn."""
    name: str = request.param
    return name


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    """A real server with well and badly behaved paths."""
    with edge_server() as running:
        yield running


class Clients:
    """Makes clients and closes them."""

    def __init__(self) -> None:
        self.made: list[EdgeClient] = []

    def __call__(
        self,
        *functions: EdgeFunction,
        importer: Callable[[str], ModuleType | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> EdgeClient:
        """A client of these functions."""
        registry = EdgeRegistry(functions=functions, configured=True)
        self.made.append(EdgeClient(registry, importer, clock=clock))
        return self.made[-1]


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Clients that are closed at the end."""
    made = Clients()
    yield made
    for client in made.made:
        client.close()


@pytest.fixture
def client(clients: Clients, server: EdgeServer, transport: str) -> EdgeClient:
    """A client of two functions on the real server: a patient one and an impatient one."""
    return clients(
        EdgeFunction(name="f", url=server.url, timeout=PATIENT),
        EdgeFunction(name="hasty", url=server.url, timeout=SHORT),
        importer=TRANSPORTS[transport],
    )


class TestInvoke:
    """One call, the same over every transport."""

    def test_get(self, client: EdgeClient, transport: str) -> None:
        """A call brings back status, body and headers, and says what carried it."""
        invocation = client.invoke("f", path="a/b", query="x=1&y=%20")
        response = invocation.response
        seen = json.loads(response.body)
        assert (response.status, response.error) == (200, None)
        assert (seen["method"], seen["path"]) == ("GET", "/a/b?x=1&y=%20")
        assert ("Content-Type", "application/json") in response.headers
        assert invocation.choice.transport.name == transport

    def test_post(self, client: EdgeClient) -> None:
        """The body and its type reach the function unchanged."""
        headers = [("content-type", "text/plain")]
        response = client.invoke("f", method="POST", body=b"\x00\xff", headers=headers).response
        seen = json.loads(response.body)
        assert (seen["method"], seen["body"]) == ("POST", "\x00\xff")
        assert seen["headers"]["Content-Type"] == "text/plain"

    def test_post_without_type(self, client: EdgeClient) -> None:
        """No content type is made up for a body that came without one."""
        response = client.invoke("f", method="POST", body=b"x").response
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
        seen = json.loads(client.invoke("f", headers=headers).response.body)["headers"]
        assert "canary" not in json.dumps(seen).lower()
        assert seen["X-Request-ID"] == "abc"
        assert seen["Host"] == server.url.removeprefix("http://")
        assert "python" not in seen["User-Agent"].lower()

    def test_failing_function(self, client: EdgeClient) -> None:
        """A function's own error status is its answer."""
        response = client.invoke("f", path="failing").response
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
        ],
    )
    def test_bad_answers(self, client: EdgeClient, path: str, kind: ErrorKind) -> None:
        """An answer that cannot be used ends in its error kind and no body."""
        response = client.invoke("f", path=path).response
        assert (response.error, response.body) == (kind, b"")

    @pytest.mark.parametrize("path", ["hang", "drip"])
    def test_timeout(self, client: EdgeClient, path: str) -> None:
        """A function that hangs or drips is given up after its timeout."""
        response = client.invoke("hasty", path=path).response
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
        response = clients(function, importer=TRANSPORTS[transport]).invoke("f").response
        assert (response.error, response.status) == (ErrorKind.CONNECT, None)

    def test_no_such_host(self, clients: Clients, transport: str) -> None:
        """A host name that does not exist is a connection error or a timeout."""
        function = EdgeFunction(name="f", url="http://nobody.invalid", timeout=PATIENT)
        response = clients(function, importer=TRANSPORTS[transport]).invoke("f").response
        assert response.error in {ErrorKind.CONNECT, ErrorKind.TIMEOUT}

    def test_not_tls(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """A server that speaks no TLS on an https URL is a TLS error."""
        url = server.url.replace("http:", "https:")
        function = EdgeFunction(name="f", url=url, timeout=PATIENT)
        response = clients(function, importer=TRANSPORTS[transport]).invoke("f").response
        assert response.error is ErrorKind.TLS

    def test_cookies_are_not_kept(self, client: EdgeClient) -> None:
        """A cookie set for one caller is not sent for the next."""
        client.invoke("f", path="cookie")
        seen = json.loads(client.invoke("f").response.body)
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
        client = clients(*functions, importer=TRANSPORTS[transport])
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
        client = clients(*functions, importer=TRANSPORTS[transport])
        assert all(result.healthy for result in client.check_all())

    def test_more_than_the_threads(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """Three hundred functions are all checked."""
        functions = [
            EdgeFunction(name=f"f{n}", url=server.url, timeout=PATIENT) for n in range(300)
        ]
        results = clients(*functions, importer=TRANSPORTS[transport]).check_all()
        assert [result.name for result in results if result.healthy] == [f.name for f in functions]

    def test_callers_share_a_run(
        self, clients: Clients, server: EdgeServer, transport: str
    ) -> None:
        """A second caller during a run gets its result without another call to the function."""
        server.expect(2)
        function = EdgeFunction(name="f", url=server.url, health_path="/together", timeout=PATIENT)
        client = clients(function, importer=TRANSPORTS[transport])
        callers = [threading.Thread(target=client.check_all) for _ in range(5)]
        for caller in callers:
            caller.start()
        _until(lambda: len(server.seen) == 1)
        client.invoke("f", path="together")
        for caller in callers:
            caller.join(PATIENT)
        assert server.paths().count("/together") == 2

    def test_no_functions(self, clients: Clients, transport: str) -> None:
        """With nothing registered there is nothing to check."""
        assert clients(importer=TRANSPORTS[transport]).check_all() == []


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


class TestChoice:
    """Which transport is used, chosen at each call."""

    def test_heal_changes_the_transport(
        self, clients: Clients, server: EdgeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The same client moves from requests to aiohttp when aiohttp becomes importable."""
        missing = {"aiohttp"}

        def importer(name: str) -> ModuleType | None:
            return None if name in missing else importlib.import_module(name)

        client = clients(
            EdgeFunction(name="f", url=server.url, timeout=PATIENT),
            importer=importer,
        )
        assert client.invoke("f").choice.fallback_reason == "aiohttp_unavailable"
        assert (client.transport_name(), client.fallback_reason()) == (
            "requests",
            "aiohttp_unavailable",
        )
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        missing.clear()
        assert client.invoke("f").choice.fallback_reason is None
        assert (client.transport_name(), client.fallback_reason()) == ("aiohttp", None)

    def test_none(self, clients: Clients, server: EdgeServer) -> None:
        """With neither library a call is refused clearly, and the client still answers."""
        client = clients(
            EdgeFunction(name="f", url=server.url), importer=_without("aiohttp", "requests")
        )
        for call in (lambda: client.invoke("f"), client.check_all):
            with pytest.raises(NoTransport):
                call()
        assert (client.transport_name(), client.fallback_reason()) == (None, "no_transport")

    def test_close_and_call_again(self, client: EdgeClient) -> None:
        """A closed client gives its threads back, and a later call starts anew."""
        client.invoke("f")
        client.close()
        _until(lambda: not [t for t in threading.enumerate() if t.name.startswith("edge-")])
        assert client.invoke("f").response.status == 200

    def test_close_while_calling(self, client: EdgeClient, server: EdgeServer) -> None:
        """A call that is in flight when the client closes still ends."""
        ended = threading.Event()

        def call() -> None:
            client.invoke("hasty", path="hang")
            ended.set()

        threading.Thread(target=call).start()
        _until(lambda: bool(server.seen))
        client.close()
        assert ended.wait(PATIENT)

    # A fork beside threads is what is tested; Python 3.12 and later warn of it.
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork(self, client: EdgeClient) -> None:
        """A process that was forked after a call makes its own threads and connections."""
        client.invoke("f")
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if client.invoke("f").response.status == 200 else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


class TestHealth:
    """What edge functions add to the service's health."""

    def _checks(self, client: EdgeClient) -> dict[str, Check]:
        return {check.name: check for check in client.checks()}

    def test_nothing_configured(self) -> None:
        """With no file configured the check is fine."""
        client = EdgeClient(EdgeRegistry(), _without())
        (check,) = client.checks()
        assert (check.name, check.ok, check.critical) == ("edge_functions", True, False)

    def test_broken_file(self, tmp_path: Path) -> None:
        """A broken file is a failed check that says the line, and never a critical one."""
        file = tmp_path / "functions.toml"
        file.write_text("[[function]]\nname = 'a'\n")
        (check,) = EdgeClient(load_registry(file), _without()).checks()
        assert (check.ok, check.critical, check.reason) == (False, False, "registry_invalid")
        assert "line 1" in (check.advice or "")
        assert str(tmp_path) not in (check.advice or "")

    def test_fallback(self) -> None:
        """Running on requests is reported as a fallback."""
        (check,) = EdgeClient(EdgeRegistry(), _without("aiohttp")).checks()
        assert (check.ok, check.reason, check.fallback) == (
            False,
            "fallback_transport",
            "requests",
        )

    def test_outage(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """A failed health check degrades the service for five minutes, without another call."""
        now = [0.0]
        client = clients(
            EdgeFunction(name="down", url=server.url, health_path="/failing", timeout=PATIENT),
            EdgeFunction(name="up", url=server.url, timeout=PATIENT),
            importer=TRANSPORTS[transport],
            clock=lambda: now[0],
        )
        assert "edge_function_down" not in self._checks(client)
        client.check_all()
        calls = len(server.seen)
        check = self._checks(client)["edge_function_down"]
        assert (check.ok, check.critical, check.reason) == (False, False, "unexpected_status")
        assert "edge_function_up" not in self._checks(client)
        now[0] = 301.0
        assert "edge_function_down" not in self._checks(client)
        assert len(server.seen) == calls


def test_importing_the_package_imports_no_library() -> None:
    """Importing app.edge needs, and loads, nothing but the standard library."""
    program = (
        "import sys, app.edge;"
        "print({'aiohttp', 'requests', 'urllib3', 'yarl', 'flask'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"

"""What heals of dependencies come from: an installer, an index, a wheelhouse."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.healing.report import Check
from app.kinds.dependency.installer.tools import Tools
from app.kinds.dependency.source import source_checks
from app.settings.declarations import HealingSettings
from tests.conftest import World

CREDENTIALS = "someone:canary-password"


def _only(checks: Iterable[Check], name: str = "package_source") -> Check:
    (check,) = (check for check in checks if check.name == name)
    return check


def _names(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks]


class TestInstaller:
    """What fixes are installed with."""

    def test_found(self, world: World) -> None:
        """The installer of this environment is found."""
        assert _only(source_checks(world.settings, Tools(("uv",), os.environ)), "installer").ok

    def test_missing(self, world: World) -> None:
        """Without one nothing can be healed."""
        settings = replace(world.settings, tools=())
        check = _only(source_checks(settings, Tools(settings.tools, os.environ)), "installer")
        assert (check.ok, check.reason, check.critical) == (False, "installer_missing", False)


class _Answers(BaseHTTPRequestHandler):
    """Answers everything with one status and keeps what it was asked."""

    def do_HEAD(self) -> None:
        """The status, and where to go for redirects."""
        server = self.server
        assert isinstance(server, Answering)
        server.seen.append((self.path, dict(self.headers)))
        self.send_response(server.status)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it
        """Say nothing."""


class Answering(ThreadingHTTPServer):
    """An index that answers with ``status``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = 200
        self.seen: list[tuple[str, Mapping[str, str]]] = []

    @property
    def environ(self) -> dict[str, str]:
        """Names it, with credentials."""
        address = f"http://{CREDENTIALS}@127.0.0.1:{self.server_address[1]}/simple/?token=canary"
        return {"UV_DEFAULT_INDEX": address}


@pytest.fixture
def index() -> Iterator[Answering]:
    """A running one."""
    with Answering() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> HealingSettings:
    """Settings without a wheelhouse, with uv."""
    return HealingSettings(home=tmp_path / "home", tools=("uv",))


class TestIndex:
    """Where wheels come from."""

    @pytest.mark.parametrize("status", [200, 204, 301, 302, 401, 403, 404, 405, 429, 501])
    def test_answers(self, settings: HealingSettings, index: Answering, status: int) -> None:
        """An index that answers is there, also when it refuses or sends elsewhere."""
        index.status = status
        check = _only(source_checks(settings, Tools(settings.tools, index.environ)))
        assert (check.name, check.kind, check.ok) == ("package_source", "index", True)
        assert [path for path, _ in index.seen] == ["/simple/"]

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_fails(self, settings: HealingSettings, index: Answering, status: int) -> None:
        """One that is broken is a failed check; that is never critical."""
        index.status = status
        check = _only(source_checks(settings, Tools(settings.tools, index.environ)))
        assert (check.ok, check.reason, check.critical) == (False, "index_failing", False)

    def test_credentials_stay_here(self, settings: HealingSettings, index: Answering) -> None:
        """Neither the index nor anybody who reads health is told what is in the address."""
        index.status = 500
        check = _only(source_checks(settings, Tools(settings.tools, index.environ)))
        ((_, headers),) = index.seen
        shown = f"{headers}{check}"
        secret = base64.b64encode(CREDENTIALS.encode()).decode()
        assert "canary" not in shown
        assert secret not in shown
        assert "127.0.0.1" not in str(check)
        assert "Python" not in headers["User-Agent"]

    def test_nobody_there(self, settings: HealingSettings) -> None:
        """One that does not listen cannot be reached."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        check = _only(source_checks(settings, Tools(settings.tools, {"UV_DEFAULT_INDEX": address})))
        assert (check.ok, check.reason) == (False, "index_unreachable")

    @pytest.mark.parametrize("said", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200"])
    def test_speaks_something_else(self, settings: HealingSettings, said: bytes) -> None:
        """One that is no web server cannot be reached."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            speaking = threading.Thread(target=_say, args=(listener, said))
            speaking.start()
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            check = _only(
                source_checks(settings, Tools(settings.tools, {"UV_DEFAULT_INDEX": address}))
            )
            speaking.join()
        assert check.reason in {None, "index_unreachable"}
        assert (check.reason is None) == said.startswith(b"HTTP/1.1 200")

    def test_untrusted_certificate(self, settings: HealingSettings, tmp_path: Path) -> None:
        """One whose certificate only the installer may know how to trust is there."""
        context = _untrusted(tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            greeting = threading.Thread(target=_greet, args=(listener, context))
            greeting.start()
            address = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            check = _only(
                source_checks(settings, Tools(settings.tools, {"UV_DEFAULT_INDEX": address}))
            )
            greeting.join()
        assert check.ok

    @pytest.mark.parametrize(
        "address", ["http://", "http://[", "http://a b/", "http://127.0.0.1:x/", "http://\x7f/"]
    )
    def test_no_address(self, settings: HealingSettings, address: str) -> None:
        """What is no address cannot be reached."""
        check = _only(source_checks(settings, Tools(settings.tools, {"UV_DEFAULT_INDEX": address})))
        assert check.reason == "index_unreachable"

    @pytest.mark.parametrize("address", ["file:///wheels", "/wheels", "ftp://example.com", ""])
    def test_not_on_the_web(self, settings: HealingSettings, address: str) -> None:
        """What is no web address is not asked."""
        environ = {"UV_DEFAULT_INDEX": address, "UV_NO_CONFIG": "1"}
        assert _names(source_checks(settings, Tools(settings.tools, environ))) == ["installer"]

    def test_none_is_named(self, settings: HealingSettings) -> None:
        """Nobody is asked whom the operator has not named."""
        assert _names(source_checks(settings, Tools(settings.tools, {"UV_NO_CONFIG": "1"}))) == [
            "installer"
        ]

    def test_wheelhouse(self, settings: HealingSettings, index: Answering, tmp_path: Path) -> None:
        """With a wheelhouse no index is asked; it has to hold a wheel."""
        settings = replace(settings, wheelhouse=tmp_path / "wheels")
        assert (
            _only(source_checks(settings, Tools(settings.tools, index.environ))).reason
            == "wheelhouse_empty"
        )
        (tmp_path / "wheels").mkdir()
        assert (
            _only(source_checks(settings, Tools(settings.tools, index.environ))).reason
            == "wheelhouse_empty"
        )
        (tmp_path / "wheels" / "a-1-py3-none-any.whl").touch()
        check = _only(source_checks(settings, Tools(settings.tools, index.environ)))
        assert (check.ok, check.kind) == (True, "wheelhouse")
        assert index.seen == []


def _say(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(said)


def _untrusted(directory: Path) -> ssl.SSLContext:
    """A certificate that was signed by nobody."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    files = (directory / "certificate.pem", directory / "key.pem")
    made = ("-out", str(files[0]), "-keyout", str(files[1]))
    how = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=index.example.com")
    subprocess.run([openssl, *how, *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def _greet(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        context.wrap_socket(connection, server_side=True).close()

"""What the service looks at: its threads, its clock, and what heals need of the host."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.healing.home import can_be_written, free_bytes
from app.healing.journal import Attempt, Journal
from app.healing.report import Check
from app.health import BlueprintBoard, Group, HealthService, Load
from app.health.clock import RELEASED, WallClock
from app.health.source import source_checks
from app.health.standard import health_service
from app.health.state import LEAST_ROOM, home_checks, installer_checks, journal_checks
from app.kinds.dependency.index_settings import named_index
from app.settings.engine import HealingSettings, Mode
from tests.conftest import World

CREDENTIALS = "someone:canary-password"


def _only(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


class Times:
    """A wall clock and a steady one, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = RELEASED + 1e6, 50.0

    def pass_by(self, seconds: float, *, set_by: float = 0) -> None:
        """Let time pass; ``set_by`` is what somebody turns the wall clock by meanwhile."""
        self.steady += seconds
        self.wall += seconds + set_by


class TestLoad:
    """How busy the request threads are."""

    @pytest.fixture
    def times(self) -> Times:
        """Clocks under the test's control."""
        return Times()

    @pytest.fixture
    def load(self, times: Times) -> Load:
        """A pool of two threads."""
        return Load(2, lambda: times.steady)

    def test_idle(self, load: Load, times: Times) -> None:
        """A pool without requests is well, and says how busy it was."""
        times.pass_by(100)
        check = _only(load.checks())
        assert (check.name, check.ok, check.observed, check.unit) == (
            "worker_pool", True, 0.0, "percent",
        )  # fmt: skip

    def test_requests_are_counted(self, load: Load, times: Times) -> None:
        """The share is that of the time since the last look."""
        load.enter()
        assert load.busy == 1
        times.pass_by(10)
        load.leave()
        assert load.busy == 0
        times.pass_by(10)
        assert _only(load.checks()).observed == 25.0
        times.pass_by(10)
        assert _only(load.checks()).observed == 0.0

    def test_saturated(self, load: Load, times: Times) -> None:
        """A pool that is full for ten seconds fails, says for how long, and recovers."""
        load.enter()
        load.enter()
        times.pass_by(5)
        assert _only(load.checks()).ok
        times.pass_by(5)
        check = _only(load.checks())
        assert (check.ok, check.reason, check.critical) == (False, "saturated", False)
        assert check.advice is not None
        assert "for 10 s" in check.advice
        load.leave()
        times.pass_by(5)
        assert _only(load.checks()).ok

    def test_looking_twice_at_once(self, load: Load, times: Times) -> None:
        """A look right after another does not forget what that one saw."""
        load.enter()
        times.pass_by(10)
        assert [_only(load.checks()).observed for _ in range(3)] == [50.0] * 3

    def test_no_bound(self) -> None:
        """Where nothing bounds the requests nothing can be saturated."""
        assert list(Load(None).checks()) == []

    def test_many_threads(self) -> None:
        """No request is lost in the count."""
        load = Load(8)

        def answer() -> None:
            for _ in range(2000):
                load.enter()
                load.leave()

        threads = [threading.Thread(target=answer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert load.busy == 0


class TestWallClock:
    """The date."""

    @pytest.fixture
    def times(self) -> Times:
        """Clocks under the test's control."""
        return Times()

    @pytest.fixture
    def clock(self, times: Times) -> WallClock:
        """The check of them."""
        return WallClock(lambda: times.wall, lambda: times.steady)

    def test_runs(self, clock: WallClock, times: Times) -> None:
        """A clock that runs is well, and so is one that is set by some seconds."""
        for correction in (0, 59, -59):
            times.pass_by(5, set_by=correction)
            assert _only(clock.checks()).ok

    @pytest.mark.parametrize("jump", [61, -61, 1e6])
    def test_jumps(self, clock: WallClock, times: Times, jump: float) -> None:
        """A jump between two looks is told for five minutes."""
        assert _only(clock.checks()).ok
        times.pass_by(5, set_by=jump)
        assert _only(clock.checks()).reason == "clock_jumped"
        times.pass_by(299)
        assert _only(clock.checks()).reason == "clock_jumped"
        times.pass_by(1)
        assert _only(clock.checks()).ok

    def test_never_set(self, clock: WallClock, times: Times) -> None:
        """A date before this release cannot be right."""
        times.wall = RELEASED - 1
        check = _only(clock.checks())
        assert (check.ok, check.reason, check.critical) == (False, "clock_wrong", False)


class TestJournal:
    """The history of attempts."""

    def test_not_begun(self, tmp_path: Path) -> None:
        """A journal that nobody has written in yet is well, and is not begun by looking."""
        assert _only(journal_checks(Journal(tmp_path / "journal.sqlite3"))).ok
        assert list(tmp_path.iterdir()) == []

    def test_readable(self, tmp_path: Path) -> None:
        """One with history is well."""
        journal = Journal(tmp_path / "journal.sqlite3")
        assert journal.append(Attempt(attempt="1", subject="x", cause="y", outcome="healed"))
        assert _only(journal_checks(journal)).ok

    @pytest.mark.parametrize("content", [b"", b"no journal" * 1000])
    def test_corrupt(self, tmp_path: Path, content: bytes) -> None:
        """A file that is none fails and is not touched; that is never critical."""
        path = tmp_path / "journal.sqlite3"
        path.write_bytes(content)
        check = _only(journal_checks(Journal(path)))
        assert (check.ok, check.reason, check.critical) == (False, "journal_unusable", False)
        assert path.read_bytes() == content

    def test_locked(self, tmp_path: Path) -> None:
        """One that another process holds longer than anybody waits fails."""
        path = tmp_path / "journal.sqlite3"
        assert Journal(path).append(Attempt(attempt="1", subject="x", cause="y", outcome="healed"))
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
            assert not Journal(path, busy_timeout=0.01).readable()
        other.close()


class TestHome:
    """The place where fixes are kept."""

    def test_well(self, world: World) -> None:
        """A home that can be written and has room is well, before it was made, too."""
        check = _only(home_checks(world.settings))
        assert (check.ok, check.unit) == (True, "MiB")
        assert not world.settings.home.exists()

    def test_says_how_much_room_there_is(self, tmp_path: Path) -> None:
        """The room is that of the file system of the home, or of where it will be."""
        assert free_bytes(tmp_path) > 0
        assert free_bytes(tmp_path / "a" / "b") > 0

    def test_no_room(self, world: World) -> None:
        """A file system without room fails: the kernel's, which has none at all."""
        settings = replace(world.settings, home=Path("/proc"))
        if not can_be_written(settings.home):
            pytest.skip("/proc cannot even be asked for leave")
        check = _only(home_checks(settings))
        assert (check.ok, check.reason) == (False, "disk_full")
        assert check.observed is not None
        assert check.observed < LEAST_ROOM

    def test_unwritable(self, world: World) -> None:
        """A home that is a file cannot take a fix."""
        world.settings.home.write_text("")
        assert _only(home_checks(world.settings)).reason == "home_unwritable"


class TestInstaller:
    """What fixes are installed with."""

    def test_found(self, world: World) -> None:
        """The installer of this environment is found."""
        assert _only(installer_checks(world.settings, os.environ)).ok

    def test_missing(self, world: World) -> None:
        """Without one nothing can be healed."""
        settings = replace(world.settings, tools=())
        check = _only(installer_checks(settings, os.environ))
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
        check = _only(source_checks(settings, index.environ))
        assert (check.name, check.kind, check.ok) == ("package_source", "index", True)
        assert [path for path, _ in index.seen] == ["/simple/"]

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_fails(self, settings: HealingSettings, index: Answering, status: int) -> None:
        """One that is broken is told; that is never critical."""
        index.status = status
        check = _only(source_checks(settings, index.environ))
        assert (check.ok, check.reason, check.critical) == (False, "index_failing", False)

    def test_credentials_stay_here(self, settings: HealingSettings, index: Answering) -> None:
        """Neither the index nor anybody who reads health is told what is in the address."""
        index.status = 500
        check = _only(source_checks(settings, index.environ))
        ((_, headers),) = index.seen
        told = f"{headers}{check}"
        secret = base64.b64encode(CREDENTIALS.encode()).decode()
        assert "canary" not in told
        assert secret not in told
        assert "127.0.0.1" not in str(check)
        assert "Python" not in headers["User-Agent"]

    def test_nobody_there(self, settings: HealingSettings) -> None:
        """One that does not listen cannot be reached."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        check = _only(source_checks(settings, {"UV_DEFAULT_INDEX": address}))
        assert (check.ok, check.reason) == (False, "index_unreachable")

    @pytest.mark.parametrize("said", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200"])
    def test_speaks_something_else(self, settings: HealingSettings, said: bytes) -> None:
        """One that is no web server cannot be reached."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            speaking = threading.Thread(target=_say, args=(listener, said))
            speaking.start()
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            check = _only(source_checks(settings, {"UV_DEFAULT_INDEX": address}))
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
            check = _only(source_checks(settings, {"UV_DEFAULT_INDEX": address}))
            greeting.join()
        assert check.ok

    @pytest.mark.parametrize(
        "address", ["http://", "http://[", "http://a b/", "http://127.0.0.1:x/", "http://\x7f/"]
    )
    def test_no_address(self, settings: HealingSettings, address: str) -> None:
        """What is no address cannot be reached."""
        check = _only(source_checks(settings, {"UV_DEFAULT_INDEX": address}))
        assert check.reason == "index_unreachable"

    @pytest.mark.parametrize("address", ["file:///wheels", "/wheels", "ftp://example.com", ""])
    def test_not_on_the_web(self, settings: HealingSettings, address: str) -> None:
        """What is no web address is not asked."""
        environ = {"UV_DEFAULT_INDEX": address, "UV_NO_CONFIG": "1"}
        assert list(source_checks(settings, environ)) == []

    def test_none_is_named(self, settings: HealingSettings) -> None:
        """Nobody is asked whom the operator has not named."""
        assert list(source_checks(settings, {"UV_NO_CONFIG": "1"})) == []

    def test_wheelhouse(self, settings: HealingSettings, index: Answering, tmp_path: Path) -> None:
        """With a wheelhouse no index is asked; it has to hold a wheel."""
        settings = replace(settings, wheelhouse=tmp_path / "wheels")
        assert _only(source_checks(settings, index.environ)).reason == "wheelhouse_empty"
        (tmp_path / "wheels").mkdir()
        assert _only(source_checks(settings, index.environ)).reason == "wheelhouse_empty"
        (tmp_path / "wheels" / "a-1-py3-none-any.whl").touch()
        check = _only(source_checks(settings, index.environ))
        assert (check.ok, check.kind) == (True, "wheelhouse")
        assert index.seen == []


class TestNamedIndex:
    """Which index an installer is told to use."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        """A home directory of its own."""
        return {"HOME": str(tmp_path)}

    @pytest.mark.parametrize(
        ("tool", "variable"),
        [("uv", "UV_DEFAULT_INDEX"), ("uv", "UV_INDEX_URL"), ("pip", "PIP_INDEX_URL")],
    )
    def test_environment(self, environ: dict[str, str], tool: str, variable: str) -> None:
        """Each tool has its own variables, and does not look at the other's."""
        environ |= {"UV_NO_CONFIG": "1", "PIP_CONFIG_FILE": os.devnull}
        environ[variable] = " https://index.example.com/simple "
        assert named_index(tool, environ) == "https://index.example.com/simple"
        other = {"uv": "pip", "pip": "uv"}[tool]
        assert named_index(other, environ) is None

    @pytest.mark.parametrize(
        "text",
        [
            'index-url = "https://i.example.com"',
            '[pip]\nindex-url = "https://i.example.com"',
            """
            index = [
                {url = "https://more.example.com"},
                {url = "https://i.example.com", default = true},
            ]
            """,
        ],
    )
    def test_uv_file(self, environ: dict[str, str], tmp_path: Path, text: str) -> None:
        """The user's file counts, unless the environment says that none does."""
        file = tmp_path / ".config/uv/uv.toml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        assert named_index("uv", environ) == "https://i.example.com"
        assert named_index("uv", {**environ, "UV_NO_CONFIG": "true"}) is None
        moved = file.rename(tmp_path / "other.toml")
        assert named_index("uv", {**environ, "UV_CONFIG_FILE": str(moved)})

    @pytest.mark.parametrize("section", ["global", "install"])
    def test_pip_file(self, environ: dict[str, str], tmp_path: Path, section: str) -> None:
        """The user's file counts, and one that the environment names more."""
        file = tmp_path / ".config/pip/pip.conf"
        file.parent.mkdir(parents=True)
        file.write_text(f"[{section}]\nindex-url = https://i.example.com/%(x)s\n")
        assert named_index("pip", environ) == "https://i.example.com/%(x)s"
        given = tmp_path / "given.conf"
        given.write_text(f"[{section}]\nindex-url = https://given.example.com\n")
        chosen = {**environ, "PIP_CONFIG_FILE": str(given)}
        assert named_index("pip", chosen) == "https://given.example.com"
        assert named_index("pip", {**environ, "PIP_CONFIG_FILE": os.devnull}) is None

    @pytest.mark.parametrize(
        "content", [b"\xff", b"[", b"index-url", b"index = 1", b"pip = 1", b""]
    )
    def test_broken_files(self, environ: dict[str, str], tmp_path: Path, content: bytes) -> None:
        """A file that is none names nothing."""
        file = tmp_path / "given"
        file.write_bytes(content)
        assert named_index("uv", {**environ, "UV_CONFIG_FILE": str(file)}) is None
        environ["PIP_INDEX_URL"] = "https://i.example.com"
        assert named_index("pip", {**environ, "PIP_CONFIG_FILE": str(file)})


class TestStandard:
    """What the service looks at, all together."""

    def _service(self, world: World, **changes: Any) -> HealthService:  # noqa: ANN401
        fixer = world.fixer(**changes)
        return health_service(fixer, BlueprintBoard(), Load(2), lambda: (), os.environ)

    def test_nothing_is_critical_but_the_engine_and_blueprints_say_so(self, world: World) -> None:
        """Whatever else goes wrong with the host degrades the service at most."""
        world.settings.home.write_text("no directory")
        reading = self._service(world, tools=()).force()
        failed = {check.name for check in reading.report.checks if not check.ok}
        assert {"auto_fix_home", "installer"} <= failed
        assert str(reading.report.overall_status) == "degraded"

    @pytest.mark.parametrize("mode", [Mode.REPORT, Mode.OFF])
    def test_where_nothing_is_healed(self, world: World, mode: Mode) -> None:
        """Home, installer and index matter where there is leave to heal alone."""
        names = {check.name for check in self._service(world, mode=mode).force().report.checks}
        assert names == {"clock", "journal", "worker_pool"}
        assert world.index.looks == 0

    def test_readiness_asks_nobody(self, world: World) -> None:
        """What readiness depends on is looked at without the index."""
        service = self._service(world)
        service.refresh(Group.READY, wait=10)
        assert world.index.looks == 0
        service.force(10)
        assert (world.index.looks, world.index.requests) == (1, [])


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

"""A package index on loopback that can be told to misbehave.

It speaks the simple repository API (PEP 503 and, to clients that ask for JSON, PEP 691) and lists
whatever distributions lie in a directory at the moment of asking.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from tests.support.wheels import (
    build_sdist,
    build_wheel,
    normalise,
    project_of,
    sha256,
    tampered,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

ANY = "*"
JSON_API = "application/vnd.pypi.simple.v1+json"
STRANGER_VERSION = "999.0"
CHUNK = b"\0" * 65536


class Fault(StrEnum):
    """One way in which an index goes wrong."""

    WRONG_HASH = "wrong_hash"
    """The file is a valid wheel, but not the one that was advertised and locked."""
    TRUNCATED = "truncated"
    """The body ends before the length that was announced."""
    NOT_FOUND = "not_found"
    TOO_MANY_REQUESTS = "too_many_requests"
    SERVER_ERROR = "server_error"
    HANG = "hang"
    """The request is accepted and not answered until the index closes."""
    ENDLESS = "endless"
    """The body never ends, until the client goes or the index closes."""
    REDIRECT_ELSEWHERE = "redirect_elsewhere"
    """The answer sends the client to another host, which serves a tampered file."""
    HIGHER_VERSION = "higher_version"
    """The listing also has a version 999.0 of the project, made by a stranger."""
    SDIST_ONLY = "sdist_only"
    """The listing has a source distribution in place of every wheel."""


STATUS_FAULTS = {
    Fault.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Fault.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    Fault.SERVER_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class SimpleIndex:
    """A running index; use it as a context manager.

    Attributes:
        requests: The paths asked for, oldest first; the listings and files alike.
        looks: How often somebody only looked whether it is there (HEAD of its root).
        faults: Project name, or ``ANY``, to the fault of its files. ``HIGHER_VERSION`` and
            ``SDIST_ONLY`` change what its listing offers.
        page_faults: The same for the listings themselves.
    """

    def __init__(self, directory: Path, *, hashes: bool = True) -> None:
        """Serve the distributions in ``directory``, with or without their hashes in the listing."""
        self.directory = directory
        self.hashes = hashes
        self.requests: list[str] = []
        self.looks = 0
        self.faults: dict[str, Fault] = {}
        self.page_faults: dict[str, Fault] = {}
        self.closing = threading.Event()
        self._gate = threading.Event()
        self._gate.set()
        self._waiting = 0
        self._lock = threading.Lock()
        self._made = tempfile.TemporaryDirectory(prefix="index-")
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="index"
        )

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the simple API, for ``--index-url`` and its like."""
        return f"http://127.0.0.1:{self.port}/simple/"

    @property
    def waiting(self) -> int:
        """How many file responses the gate holds back now."""
        return self._waiting

    def hold(self) -> None:
        """Hold back every file response until :meth:`release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let the file responses go that :meth:`hold` holds back."""
        self._gate.set()

    def downloads(self, project: str = ANY) -> list[str]:
        """Return the paths of the files that were asked for, of one project or of all."""
        files = [path for path in tuple(self.requests) if path.startswith("/files/")]
        wanted = normalise(project)
        return [p for p in files if project == ANY or project_of(Path(p).name)[0] == wanted]

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving and drop every open connection, hung clients included."""
        self.closing.set()
        self._gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.drop_connections()
        self._server.server_close()
        self._made.cleanup()

    def note(self, path: str) -> None:
        """Record a request."""
        with self._lock:
            self.requests.append(path)

    def note_look(self) -> None:
        """Record that somebody looked."""
        with self._lock:
            self.looks += 1

    def wait_for_gate(self) -> None:
        """Return when file responses may go, or when the index closes."""
        with self._lock:
            self._waiting += 1
        self._gate.wait()
        with self._lock:
            self._waiting -= 1

    def fault_of(self, project: str) -> Fault | None:
        """Return the fault that the files of a project have."""
        return self.faults.get(project, self.faults.get(ANY))

    def page_fault_of(self, project: str) -> Fault | None:
        """Return the fault that the listing of a project has."""
        return self.page_faults.get(project, self.page_faults.get(ANY))

    def projects(self) -> list[str]:
        """Return the normalised names of all projects here."""
        return sorted({project_of(path.name)[0] for path in self._distributions()})

    def files_of(self, project: str) -> list[Path]:
        """Return what the listing of a project offers."""
        files = [path for path in self._distributions() if project_of(path.name)[0] == project]
        match self.fault_of(project):
            case Fault.HIGHER_VERSION:
                return [*files, self._stranger(project)]
            case Fault.SDIST_ONLY:
                return [self._sdist(path) for path in files]
            case _:
                return files

    def file(self, name: str) -> Path | None:
        """Return the distribution of this file name, if it is offered."""
        project, _ = project_of(name)
        return next((path for path in self.files_of(project) if path.name == name), None)

    def _distributions(self) -> list[Path]:
        return sorted([*self.directory.glob("*.whl"), *self.directory.glob("*.tar.gz")])

    def _stranger(self, project: str) -> Path:
        module = project.replace("-", "_")
        files = {f"{module}/__init__.py": "STRANGER = True\n"}
        return build_wheel(Path(self._made.name), project, STRANGER_VERSION, files=files)

    def _sdist(self, path: Path) -> Path:
        name, version = project_of(path.name)
        return build_sdist(Path(self._made.name), name, version)


class _Server(ThreadingHTTPServer):
    """Joins its threads when it closes, so it first has to end what they are doing."""

    daemon_threads = False

    def __init__(self, index: SimpleIndex) -> None:
        self.index = index
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def track(self, connection: socket.socket) -> None:
        self._connections.add(connection)

    def forget(self, connection: socket.socket) -> None:
        self._connections.discard(connection)

    def drop_connections(self) -> None:
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of an answer is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 60

    @property
    def index(self) -> SimpleIndex:
        return cast("_Server", self.server).index

    def setup(self) -> None:
        super().setup()
        cast("_Server", self.server).track(self.connection)

    def finish(self) -> None:
        cast("_Server", self.server).forget(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it
        pass

    def do_HEAD(self) -> None:
        if self.path == "/simple/":
            self.index.note_look()
            self._status(HTTPStatus.OK)
        else:
            self.do_GET()

    def do_GET(self) -> None:
        self.index.note(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        match parts:
            case ["simple"]:
                self._answer(_links([f"{name}/" for name in self.index.projects()]), "text/html")
            case ["simple", project]:
                self._listing(normalise(project))
            case ["files", name]:
                self._file(name)
            case ["elsewhere", name]:
                self._elsewhere(name)
            case _:
                self._status(HTTPStatus.NOT_FOUND)

    def _listing(self, project: str) -> None:
        if fault := self.index.page_fault_of(project):
            self._misbehave(fault, lambda: b"<!DOCTYPE html>")
            return
        files = self.index.files_of(project)
        if not files:
            self._status(HTTPStatus.NOT_FOUND)
        elif JSON_API in self.headers.get("Accept", ""):
            self._answer(_json_listing(project, files, hashes=self.index.hashes), JSON_API)
        else:
            self._answer(_html_listing(files, hashes=self.index.hashes), "text/html")

    def _file(self, name: str) -> None:
        self.index.wait_for_gate()
        path = self.index.file(name)
        if path is None:
            self._status(HTTPStatus.NOT_FOUND)
        elif fault := self.index.fault_of(project_of(name)[0]):
            self._misbehave(fault, path.read_bytes)
        else:
            self._answer(path.read_bytes())

    def _elsewhere(self, name: str) -> None:
        path = self.index.file(name)
        if path is None:
            self._status(HTTPStatus.NOT_FOUND)
        else:
            self._answer(tampered(path.read_bytes()))

    def _misbehave(self, fault: Fault, body: Callable[[], bytes]) -> None:
        match fault:
            case Fault.NOT_FOUND | Fault.TOO_MANY_REQUESTS | Fault.SERVER_ERROR:
                self._status(STATUS_FAULTS[fault])
            case Fault.WRONG_HASH:
                self._answer(tampered(body()))
            case Fault.TRUNCATED:
                self._truncate(body())
            case Fault.HANG:
                self.index.closing.wait()
            case Fault.ENDLESS:
                self._never_end()
            case Fault.REDIRECT_ELSEWHERE:
                self._redirect()
            case _:
                self._answer(body())

    def _answer(self, body: bytes, content_type: str = "application/octet-stream") -> None:
        self._head(HTTPStatus.OK, {"Content-Type": content_type, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _status(self, status: HTTPStatus) -> None:
        self._head(status, {"Content-Length": "0"})

    def _truncate(self, body: bytes) -> None:
        self._head(HTTPStatus.OK, {"Content-Length": str(len(body))})
        self.wfile.write(body[: len(body) // 2])

    def _never_end(self) -> None:
        self._head(HTTPStatus.OK, {"Content-Type": "application/octet-stream"})
        while not self.index.closing.wait(0.005):
            self.wfile.write(CHUNK)

    def _redirect(self) -> None:
        # Another name of this very machine: to a client that is another host.
        location = f"http://localhost:{self.index.port}/elsewhere/{Path(self.path).name}"
        self._head(HTTPStatus.FOUND, {"Location": location, "Content-Length": "0"})

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()


def _html_listing(files: list[Path], *, hashes: bool) -> bytes:
    return _links(
        [f"/files/{path.name}" + (f"#sha256={sha256(path)}" if hashes else "") for path in files]
    )


def _links(targets: list[str]) -> bytes:
    rows = [f'<a href="{target}">{_label(target)}</a><br>' for target in targets]
    return ("<!DOCTYPE html>\n<html><body>\n" + "\n".join(rows) + "\n</body></html>\n").encode()


def _label(target: str) -> str:
    return target.partition("#")[0].strip("/").rsplit("/", 1)[-1]


def _json_listing(project: str, files: list[Path], *, hashes: bool) -> bytes:
    rows = [
        {
            "filename": path.name,
            "url": f"/files/{path.name}",
            "hashes": {"sha256": sha256(path)} if hashes else {},
        }
        for path in files
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": rows}).encode()

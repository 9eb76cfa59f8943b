"""Starts the real server of this project and talks to it, on loopback alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.support import canaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for which a busy machine may stall what is timed; what hangs takes longer.
STALL = 10.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
T = TypeVar("T")


class Response(NamedTuple):
    """What a server answered, whatever the status."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.body.decode()

    def json(self) -> Any:  # noqa: ANN401 - a JSON document can be anything
        """Return the body read as JSON."""
        return json.loads(self.body)


def http_request(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 30,
) -> Response:
    """Send one request, past any proxy of the environment.

    Raises:
        OSError: No server answered within ``timeout`` seconds.
        Leak: An error response says what none may say.
    """
    response = _exchange(url, method, dict(headers or {}), body, timeout)
    sent = next((v for k, v in (headers or {}).items() if k.lower() == "authorization"), None)
    secrets = canaries.credentials(sent)
    canaries.inspect(response.status, response.headers.items(), response.body, secrets)
    return response


def _exchange(
    url: str, method: str, headers: dict[str, str], body: bytes | None, timeout: float
) -> Response:
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Response(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, error.headers, error.read())


def http_get(url: str, *, timeout: float = 30) -> Response:
    """GET ``url``; see :func:`http_request`."""
    return http_request(url, timeout=timeout)


def answers(url: str, status: int | None = None) -> bool:
    """Tell whether a server answers at ``url``, with this status or with any."""
    try:
        answer = http_get(url, timeout=2)
    except OSError:
        return False
    return status in {None, answer.status}


def wait_until(predicate: Callable[[], T], timeout: float = 30, interval: float = 0.05) -> T:
    """Call ``predicate`` until it returns something true, and return that.

    Raises:
        TimeoutError: It did not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not true within {timeout} s; last value: {value!r}")
        time.sleep(interval)
    return value


def base_environ(**values: str) -> dict[str, str]:
    """Return a small environment: no setting of this project or of an installer leaks in.

    Nor does a ``.env`` file, unless ``ENV_FILE`` asks for it; empty is the project's own. There is
    a secret in it, which no error response may tell.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "ENV_FILE": os.devnull, **canaries.ENVIRON, **values}


@dataclass(frozen=True, slots=True)
class Server:
    """A running gunicorn of this project."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def log_text(self) -> str:
        """Everything that it has written to stdout and stderr so far."""
        return self.log.read_text(errors="replace")

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """The lines so far of a JSON log that have these fields, in order.

        Access lines come a moment after their answers. What stands behind the last line feed may be
        half a line.
        """
        whole = self.log_text.rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in lines if fields.items() <= line.items()]

    def get(self, path: str) -> Response:
        """GET a path of this server."""
        return http_get(self.url + path)


@contextlib.contextmanager
def serve(
    log: Path,
    environ: Mapping[str, str],
    *,
    arguments: Sequence[str] = (),
    directory: Path = ROOT,
    python: str = sys.executable,
    ready: str = "/livez",
    timeout: float = 30,
) -> Iterator[Server]:
    """Run gunicorn on a free loopback port, wait until it answers, and stop it at the end.

    Args:
        log: The file that gets what the server writes.
        environ: Added to :func:`base_environ`.
        arguments: More of gunicorn's arguments, ``--preload`` for one.
        directory: The checkout to serve.
        python: The interpreter to serve with.
        ready: The path that has to answer before the server counts as started.
        timeout: Seconds that starting may take.

    Raises:
        TimeoutError: It did not answer in time; the message ends with its log.
        RuntimeError: It ended before it answered; likewise.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        # The socket is handed over open: no other process can take the port in between.
        bind = f"fd://{listener.fileno()}"
        process = subprocess.Popen(
            [python, "-m", "deploy.serve", "-b", bind, *arguments],
            cwd=directory,
            env=base_environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait_for_start(server, ready, timeout)
        yield server
    finally:
        stop(process)


@contextlib.contextmanager
def serve_by_address(
    log: Path,
    environ: Mapping[str, str],
    *arguments: str,
    directory: Path = ROOT,
    python: str = sys.executable,
) -> Iterator[Server]:
    """Serve at an address: gunicorn hands no socket on to a new master that it was given open.

    At the end all that was started is killed. The other arguments are those of :func:`serve`.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "deploy.serve", "-b", address, *arguments],
            cwd=directory,
            env=base_environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://{address}", process, log)
    try:
        _wait_for_start(server, "/livez", timeout=30)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stop(process: subprocess.Popen[bytes], timeout: float = 20) -> int:
    """Ask a process for a graceful end, wait for it, and return its exit status.

    What ignores that for ``timeout`` seconds is killed with its whole process group, so the
    process has to lead a session of its own.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _wait_for_start(server: Server, path: str, timeout: float) -> None:
    def started() -> bool:
        if (status := server.process.poll()) is not None:
            raise RuntimeError(f"ended with status {status}:\n{server.log_text}")
        return answers(server.url + path)

    try:
        wait_until(started, timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}:\n{server.log_text}") from error

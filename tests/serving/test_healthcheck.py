"""The image's own check reads a whole answer, and says what it was."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.processes import ROOT, base_environ, http_get, serve, wait_until


def check(port: int) -> subprocess.CompletedProcess[str]:
    """Run it as the image does."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "deploy/healthcheck.py")],
        env=base_environ(PORT=str(port)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_is_no_broken_off_request(tmp_path: Path) -> None:
    """However often it runs, the log has no answer that was not delivered whole."""
    environ = {
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "AUTO_FIX_MODE": "report",
        "LOG_FORMAT": "json",
        "ACCESS_LOG": "all",
    }
    # The wait for the start gives up on answers, at another address.
    with serve(tmp_path / "log", environ, ready="/healthz") as server:
        port = urlsplit(server.url).port
        assert port is not None
        for _ in range(20):
            done = check(port)
            assert (done.returncode, done.stdout) == (0, "HTTP/1.0 200 OK\n")
        http_get(server.url + "/")
        wait_until(lambda: server.lines(event="request", route="/"))
        # A worker that stops writes what it has still to write.
    asked = [line for line in server.lines(event="request") if line["route"] != "/healthz"]
    assert [line for line in asked if "broken_off" in line] == []


def test_nobody_answers() -> None:
    """Where nothing listens it says so, and its status is 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = check(port)
    assert done.returncode == 1
    assert "refused" in done.stdout

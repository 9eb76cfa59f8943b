"""With nothing but Python and an installer, the service brings what it needs and serves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from tests.serving.environments import Wheelhouse, path_without
from tests.support.processes import ROOT, answers, base_environ, http_get, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

Launched = tuple[str, subprocess.Popen[bytes]]


@pytest.fixture(params=["uv", "pip"])
def environ(
    request: pytest.FixtureRequest, tmp_path: Path, wheelhouse: Wheelhouse
) -> dict[str, str]:
    """A home of its own, the wheelhouse, and one installer."""
    path = path_without("uv")
    if request.param == "uv":
        path = os.pathsep.join((str(Path(find_uv_bin()).parent), path))
    return base_environ(
        AUTO_FIX_HOME=str(tmp_path / "home"),
        AUTO_FIX_LOCK=str(wheelhouse.lock),
        AUTO_FIX_WHEELHOUSE=str(wheelhouse.directory),
        UV_CACHE_DIR=str(tmp_path / "uv-cache"),
        PIP_CONFIG_FILE=os.devnull,
        PATH=path,
    )


def python(bare: Path, code: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python code with the bare interpreter, in the checkout."""
    return subprocess.run(
        [str(bare), "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@contextlib.contextmanager
def development_server(bare: Path, environ: dict[str, str], log: Path) -> Iterator[Launched]:
    """Run ``python3 wsgi.py`` on a free port until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(bare), "wsgi.py"],
            cwd=ROOT,
            env={**environ, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or answers(f"{url}/livez"), timeout=90)
        assert process.poll() is None, log.read_text()
        yield url, process
    finally:
        stop(process)


def test_the_environment_is_bare(bare: Path, environ: dict[str, str]) -> None:
    """The interpreter has no Flask, so the tests below prove something."""
    assert python(bare, "import flask", environ).returncode == 1


def test_the_development_server(bare: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """``python3 wsgi.py`` heals Flask, serves, heals the rest while it serves, and ends cleanly."""
    with development_server(bare, environ, tmp_path / "log") as (url, process):

        def healthy() -> bool:
            report = http_get(f"{url}/api/auto-fix/health").json()
            return bool(report["overall_status"] == "healthy")

        wait_until(healthy, timeout=60)
        assert http_get(f"{url}/").status == 200
        assert http_get(f"{url}/metrics").status == 200
        # As any error it is searched for what it must not say, versions among it.
        assert http_get(f"{url}/nowhere").status == 404
        assert http_get(f"{url}/api/edge-functions/status").json()["transport"] == "aiohttp"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert list((tmp_path / "home/workers").iterdir()) == []


def test_the_factory(bare: Path, environ: dict[str, str]) -> None:
    """``create_app()`` in an interpreter without Flask heals it and builds the application."""
    code = "from app import create_app; print(create_app().test_client().get('/readyz').status)"
    result = python(bare, code, environ)
    assert result.stdout == "200 OK\n", result.stderr


def test_nothing_to_heal_from(bare: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Without a wheel of Flask it ends with one sentence that says why."""
    (tmp_path / "empty").mkdir()
    environ["AUTO_FIX_WHEELHOUSE"] = str(tmp_path / "empty")
    result = python(bare, "import wsgi", environ)
    assert result.returncode == 78
    assert "Flask cannot be imported" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr

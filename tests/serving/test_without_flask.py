"""Where Flask is missing, the service waits for what may pass, and ends where nothing will."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving.environments import Wheelhouse, environment
from tests.support.index import Fault, SimpleIndex
from tests.support.processes import ROOT, base_environ, serve, wait_until


@pytest.fixture(scope="module")
def without_flask(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Wheelhouse) -> Path:
    """The interpreter of an environment that has everything but Flask, and no installer."""
    python = environment(tmp_path_factory.mktemp("without-flask"))
    wheelhouse.install(python, wheelhouse.projects() - {"flask"})
    return python


def test_it_ends_with_a_sentence(
    without_flask: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """Where nothing may be healed the master ends with 78, and says why."""
    environ |= {"AUTO_FIX_MODE": "report", "WEB_CONCURRENCY": "2"}
    log = tmp_path / "log"
    with (
        pytest.raises(RuntimeError, match="ended with status 78"),
        serve(log, environ, python=str(without_flask)),
    ):
        pass
    text = log.read_text()
    assert "cannot start: Flask cannot be imported" in text
    assert text.count("Booting worker") <= 2


def test_it_waits_for_the_index(
    without_flask: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
) -> None:
    """While the index fails it is tried again after pauses, in the process that waits for it."""
    log = tmp_path / "log"
    with SimpleIndex(wheelhouse.directory) as index:
        index.page_faults["flask"] = Fault.SERVER_ERROR
        environ |= {"UV_DEFAULT_INDEX": index.url, "UV_HTTP_RETRIES": "0", "WEB_CONCURRENCY": "1"}
        with (
            pytest.raises(TimeoutError),
            serve(log, environ, python=str(without_flask), timeout=15),
        ):
            pass
    text = log.read_text()
    assert 1 <= text.count("nothing to serve with yet") <= 6
    assert text.count("Booting worker") == 1


def test_it_ends_when_it_is_told_to(
    without_flask: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
) -> None:
    """Who waits for the index ends at once, whatever time there is left for requests."""
    log = tmp_path / "log"
    with SimpleIndex(wheelhouse.directory) as index:
        index.page_faults["flask"] = Fault.SERVER_ERROR
        environ |= {"UV_DEFAULT_INDEX": index.url, "UV_HTTP_RETRIES": "0", "WEB_CONCURRENCY": "1"}
        environ |= {"GRACEFUL_TIMEOUT": "300"}
        # With --preload it is the master that waits.
        for arguments in ((), ("--preload",)):
            command = [str(without_flask), "-m", "deploy.serve", "-b", "127.0.0.1:0", *arguments]
            with log.open("wb") as output:
                server = subprocess.Popen(
                    command, cwd=ROOT, env=base_environ(**environ), stdout=output, stderr=output
                )
            try:
                wait_until(lambda: "nothing to serve with yet" in log.read_text(), timeout=60)
                server.terminate()
                assert server.wait(60) == 0
            finally:
                server.kill()
                server.wait()


def test_it_serves_when_the_index_is_back(
    without_flask: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
) -> None:
    """The process that waited heals Flask and serves with it."""
    log = tmp_path / "log"
    with SimpleIndex(wheelhouse.directory) as index, ThreadPoolExecutor(1) as pool:
        index.page_faults["flask"] = Fault.SERVER_ERROR

        def repair() -> None:
            wait_until(lambda: log.exists() and "nothing to serve with yet" in log.read_text())
            index.page_faults.clear()

        repaired = pool.submit(repair)
        environ |= {"UV_DEFAULT_INDEX": index.url, "UV_HTTP_RETRIES": "0", "WEB_CONCURRENCY": "1"}
        with serve(log, environ, python=str(without_flask), timeout=60) as server:
            repaired.result()
            assert server.get("/readyz").status == 200
            assert "flask" in str(server.get("/api/auto-fix/drift").json()["requirements"])

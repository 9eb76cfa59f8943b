"""The real gunicorn serves the application with the project's own settings."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT, base_environ, serve, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Server


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and nothing to heal."""
    return {"AUTO_FIX_HOME": str(tmp_path / "home"), "AUTO_FIX_MODE": "report"}


@pytest.fixture(params=["", "--preload"], ids=["forked", "preloaded"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, environ: dict[str, str]
) -> Iterator[Server]:
    """A server whose application is loaded in each worker, or once before they fork."""
    arguments = [request.param] if request.param else []
    with serve(tmp_path / "log", environ, arguments=arguments) as running:
        yield running


def launch(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Start a server that should refuse its settings."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=base_environ(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/startupz", "/healthz", "/metrics"])
def test_answers(server: Server, path: str) -> None:
    """It answers the paths that a platform asks."""
    assert server.get(path).status == 200


def test_reports_health(server: Server) -> None:
    """Health says that the application's own requirements are here."""
    report = server.get("/api/auto-fix/health").json()
    assert report["overall_status"] == "healthy", report
    assert "dependency_flask" in report["checks_performed"]


def test_ends_gracefully(server: Server) -> None:
    """On SIGTERM it ends with status 0, and no worker leaves a traceback behind."""
    assert stop(server.process) == 0
    assert "Traceback" not in server.log_text


def test_logs_no_request_unless_asked_to(tmp_path: Path, environ: dict[str, str]) -> None:
    """Access lines appear with gunicorn's own option alone."""
    with serve(tmp_path / "quiet", environ) as quiet:
        quiet.get("/livez")
    assert "GET /livez" not in quiet.log_text
    with serve(tmp_path / "loud", environ, arguments=["--access-logfile", "-"]) as loud:
        wait_until(lambda: "GET /livez" in loud.log_text)


def test_writes_json_lines_when_told_to(tmp_path: Path, environ: dict[str, str]) -> None:
    """With LOG_FORMAT=json every line, gunicorn's own included, is an object."""
    with serve(tmp_path / "log", {**environ, "LOG_FORMAT": "json"}) as server:
        lines = server.log_text.splitlines()
    assert lines
    assert all(line.startswith('{"time"') and line.endswith("}") for line in lines)


#: There is no directory for temporary files, in the working directory neither.
NO_TEMPORARY_FILES = """
import os, tempfile
tempfile._candidate_tempdir_list = lambda: [os.environ["TMPDIR"]]
"""


@pytest.mark.parametrize(("counts", "logged"), [("", 0), ("file/below", 1)])
def test_writes_json_lines_without_temporary_files(
    tmp_path: Path, environ: dict[str, str], counts: str, logged: int
) -> None:
    """What is wrong before gunicorn has configured logging is a JSON line, too."""
    (tmp_path / "sitecustomize.py").write_text(NO_TEMPORARY_FILES)
    (tmp_path / "file").touch()
    environ |= {
        "LOG_FORMAT": "json",
        "PYTHONPATH": str(tmp_path),
        "TMPDIR": str(tmp_path / "absent"),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / counts) if counts else "",
    }
    with serve(tmp_path / "log", environ) as server:
        assert server.get("/livez").status == 200
        lines = server.log_text.splitlines()
        assert all(line.startswith('{"time"') and line.endswith("}") for line in lines)
        assert len(server.lines(event="there is no directory to count in")) == logged


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "abc"), ("AUTO_FIX_MODE", "x"), ("AUTO_FIX_TOKEN", "two words")],
)
def test_refuses_a_nonsensical_setting_in_one_sentence(name: str, value: str) -> None:
    """The status is that of a configuration error, and the only line names the variable."""
    result = launch("-m", "deploy.serve", **{name: value})
    assert result.returncode == 78
    (line,) = result.stderr.splitlines()
    assert name in line


def test_serves_with_the_default_of_another(tmp_path: Path, environ: dict[str, str]) -> None:
    """What can be lived without falls back, and health says so."""
    wrong = {"WEB_CONCURRENCY": "x", "WORKER_CLASS": "gevent", "LOG_LEVEL": "x", "THREADS": "0"}
    with serve(tmp_path / "log", {**environ, **wrong}) as server:
        checks = server.get("/api/auto-fix/force-health-check").json()["checks"]
        failed = {name: check for name, check in checks.items() if name.startswith("environment_")}
        # gunicorn could not even be imported with the first one, so it got the default.
        assert set(failed) == {f"environment_{name}" for name in wrong}
        assert server.log_text.count("setting falls back to its default") == len(wrong)
        threads = failed["environment_THREADS"]
        assert (threads["reason"], threads["outcome"]) == ("environment_invalid", "fallback")
        assert threads["advice"] == (
            "THREADS has to be 1 to 512; the default, 8, is used; not healed: mend it and start"
            " the service again"
        )


def test_gunicorn_on_its_own_refuses_it_likewise() -> None:
    """Whoever runs gunicorn directly gets the sentence too."""
    result = launch("-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app", PORT="0")
    assert result.returncode == 78
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_setting_means_its_default(tmp_path: Path, environ: dict[str, str]) -> None:
    """It starts with every setting empty, as Compose hands them over."""
    empty = dict.fromkeys(["WEB_CONCURRENCY", "THREADS", "WORKER_CLASS", "LOG_LEVEL", "PORT"], "")
    with serve(tmp_path / "log", {**environ, **empty}) as server:
        wait_until(lambda: server.log_text.count("Booting worker") == 2)


def test_opens_no_control_socket(tmp_path: Path, environ: dict[str, str]) -> None:
    """Nobody stops the server through a socket in its user's home."""
    home = tmp_path / "user"
    home.mkdir()
    with serve(tmp_path / "log", {**environ, "HOME": str(home)}):
        assert list(home.rglob("*")) == []

"""Without prometheus_client there are no metrics, and nothing else is the worse for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.serving.environments import Wheelhouse, environment, pack, path_without
from tests.support.exposition import Exposition, read
from tests.support.processes import Server, serve, wait_until

OTHERS = ("/", "/livez", "/readyz", "/healthz", "/api/auto-fix/status", "/api/edge-functions")


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Wheelhouse:
    """Wheels of everything that the service runs on, with their lock."""
    return pack(tmp_path_factory.mktemp("wheelhouse"))


@pytest.fixture
def python(tmp_path: Path, wheelhouse: Wheelhouse) -> str:
    """The interpreter of an environment that has everything else, and no installer."""
    made = environment(tmp_path / "without")
    wheelhouse.install(made, wheelhouse.projects() - {"prometheus-client"})
    return str(made)


@pytest.fixture
def environ(tmp_path: Path, wheelhouse: Wheelhouse) -> dict[str, str]:
    """Two workers, and wheels to heal from if that is allowed."""
    return {
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "AUTO_FIX_LOCK": str(wheelhouse.lock),
        "AUTO_FIX_WHEELHOUSE": str(wheelhouse.directory),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "WEB_CONCURRENCY": "2",
        "PATH": os.pathsep.join((str(Path(find_uv_bin()).parent), path_without("uv"))),
    }


def series(server: Server) -> Exposition | None:
    """What is exposed; None while it is not."""
    response = server.get("/metrics")
    return read(response.text) if response.status == 200 else None


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["forked", "preloaded"])
def test_only_metrics_are_missing(
    python: str, environ: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """/metrics says why it is in quarantine; every other path answers as ever."""
    report = {**environ, "AUTO_FIX_MODE": "report"}
    with serve(tmp_path / "log", report, python=python, arguments=arguments) as server:
        response = server.get("/metrics")
        assert (response.status, response.json()["code"]) == (503, "missing_distribution")
        assert "Retry-After" in response.headers
        assert {path: server.get(path).status for path in OTHERS} == dict.fromkeys(OTHERS, 200)
        assert server.get("/api/auto-fix/health").json()["overall_status"] == "degraded"
    assert "Traceback" not in server.log_text


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["forked", "preloaded"])
def test_they_come_back(
    python: str, environ: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Once it is healed both workers count together, the heal itself included, once."""
    with serve(tmp_path / "log", environ, python=python, arguments=arguments) as server:
        wait_until(lambda: series(server), timeout=60)
        found = [series(server) for _ in range(20)]
        labels = {"module": "prometheus_client", "outcome": "healed"}

        def heals() -> float:
            scraped = series(server)
            name = "auto_fix_heal_duration_seconds_count"
            return scraped.total(name, **labels) if scraped else 0.0

        wait_until(lambda: heals() == 1)
        assert any(found)
        wait_until(lambda: _counts_everywhere(server), timeout=30)
        assert heals() == 1


def _counts_everywhere(server: Server) -> bool:
    """Whether whatever is sent now is counted, whichever worker answers."""
    name, labels = "http_requests_total", {"route": "/livez", "status": "200"}
    before = series(server)
    answered = [server.get("/livez").status for _ in range(20)]
    after = series(server)
    if before is None or after is None:
        return False
    return after.total(name, **labels) - before.total(name, **labels) == len(answered)

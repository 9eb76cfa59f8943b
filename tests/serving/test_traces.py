"""A server that is to send traces and has nothing to send them with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.environments import Wheelhouse, environment
from tests.serving.house import all_workers, workers
from tests.support.collector import Collector, collector
from tests.support.index import SimpleIndex
from tests.support.processes import Server, serve, wait_until


@pytest.fixture(scope="module")
def without_opentelemetry(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Wheelhouse) -> Path:
    """The interpreter of an environment like the image's, which has no OpenTelemetry."""
    python = environment(tmp_path_factory.mktemp("without-opentelemetry"))
    names = wheelhouse.projects()
    wheelhouse.install(python, {name for name in names if not name.startswith("opentelemetry")})
    return python


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """The same, and what is told is easy to read and soon sent."""
    return {**environ, "LOG_FORMAT": "json", "OTEL_BSP_SCHEDULE_DELAY": "100"}


def test_traced_once_it_is_healed(
    without_opentelemetry: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
) -> None:
    """It serves, heals OpenTelemetry in the background, and then sends without a restart."""
    with SimpleIndex(wheelhouse.directory) as index, collector() as found:
        index.hold()
        environ["UV_DEFAULT_INDEX"] = index.url
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = found.url
        with serve(tmp_path / "log", environ, python=str(without_opentelemetry)) as server:
            wait_until(lambda: index.waiting)
            before = set(all_workers(server, 2))
            assert server.get("/livez").status == 200
            index.release()
            wait_until(lambda: _asked(server, found), timeout=60)
            assert set(workers(server)) == before
        assert len(index.downloads("opentelemetry-sdk")) == 1


def test_untraced_where_nothing_may_be_healed(
    without_opentelemetry: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """It serves without, and the log and health say once what is missing."""
    environ["AUTO_FIX_MODE"] = "report"
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    environ["WEB_CONCURRENCY"] = "1"
    with serve(tmp_path / "log", environ, python=str(without_opentelemetry)) as server:
        wait_until(lambda: "app.telemetry.otel" in server.log_text)
        assert server.get("/readyz").status == 200
        health = server.get("/api/auto-fix/force-health-check").json()
        assert health["checks"]["module_app_telemetry_otel"]["reason"] == "missing_distribution"
        lines = server.lines()
        assert len([line for line in lines if line.get("import") == "app.telemetry.otel"]) == 1


def _asked(server: Server, found: Collector) -> bool:
    server.get("/livez")
    return bool(found.named("GET /livez"))

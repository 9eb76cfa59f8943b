"""A feature that runs on its fallback says so, and leaves it when it can."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.serving.environments import Wheelhouse
from tests.serving.house import workers
from tests.support.index import SimpleIndex
from tests.support.processes import serve, wait_until

if TYPE_CHECKING:
    from tests.support.processes import Server


class TestEdgeFunctions:
    """They prefer aiohttp and can do with requests."""

    def test_on_requests_until_aiohttp_is_healed(
        self, without_aiohttp: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """The status and health name the fallback and why; after the heal nobody has to restart."""
        with SimpleIndex(wheelhouse.directory) as index:
            index.hold()
            environ["UV_DEFAULT_INDEX"] = index.url
            with serve(tmp_path / "log", environ, python=str(without_aiohttp)) as server:
                _sees_the_fallback(server)
                before = set(workers(server))
                wait_until(lambda: index.waiting)
                index.release()
                _sees_aiohttp(server)
                assert set(workers(server)) == before
            assert len(index.downloads("aiohttp")) == 1

    def test_without_leave_to_heal(
        self, without_aiohttp: Path, environ: dict[str, str], tmp_path: Path
    ) -> None:
        """Where nothing may be installed the fallback stays, and is told all the same."""
        environ["AUTO_FIX_MODE"] = "report"
        with serve(tmp_path / "log", environ, python=str(without_aiohttp)) as server:
            _sees_the_fallback(server)
            assert server.get("/readyz").status == 200


def _sees_the_fallback(server: Server) -> None:
    told = server.get("/api/edge-functions/status").json()
    assert told["transport"] == "requests"
    assert told["fallback_reason"]
    health = server.get("/api/auto-fix/force-health-check").json()
    assert health["overall_status"] == "degraded"
    assert health["checks"]["dependency_aiohttp"]["reason"] == "missing_distribution"
    edge = health["checks"]["edge_functions"]
    assert edge["fallback"] == "requests"
    assert edge["reason"]


def _sees_aiohttp(server: Server) -> None:
    """Every worker has left the fallback, and health has noticed."""

    def told(path: str) -> list[Any]:
        return [server.get(path).json() for _ in range(12)]

    wait_until(
        lambda: {t["transport"] for t in told("/api/edge-functions/status")} == {"aiohttp"},
        timeout=30,
    )
    assert {t["fallback_reason"] for t in told("/api/edge-functions/status")} == {None}
    wait_until(
        lambda: {h["overall_status"] for h in told("/api/auto-fix/health")} == {"healthy"},
        timeout=30,
    )
    checks = [health["checks"]["edge_functions"] for health in told("/api/auto-fix/health")]
    assert {check["fallback"] for check in checks} == {None}

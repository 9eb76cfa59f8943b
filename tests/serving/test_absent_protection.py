"""Without the package that protects it the service serves and says so; healed, it is protected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.access.limits import LIMITS
from app.web.headers import SECURITY_HEADERS
from tests.serving.environments import Wheelhouse, environment
from tests.serving.house import workers
from tests.support.index import SimpleIndex
from tests.support.processes import serve, wait_until

if TYPE_CHECKING:
    from tests.support.processes import Server

ABSENT = {"flask-limiter"}
LIMITED = "/api/auto-fix/test-import?module=json"


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Wheelhouse) -> Path:
    """The interpreter of an environment that has everything but that package."""
    python = environment(tmp_path_factory.mktemp("unprotected"))
    wheelhouse.install(python, wheelhouse.projects() - ABSENT)
    return python


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """The same with one worker."""
    return {**environ, "WEB_CONCURRENCY": "1"}


def test_until_it_is_healed(
    unprotected: Path, wheelhouse: Wheelhouse, environ: dict[str, str], tmp_path: Path
) -> None:
    """It has no limits, then it has them, in the same process."""
    with SimpleIndex(wheelhouse.directory) as index:
        index.hold()
        environ["UV_DEFAULT_INDEX"] = index.url
        with serve(tmp_path / "log", environ, python=str(unprotected)) as server:
            _is_unprotected(server)
            before = set(workers(server))
            wait_until(lambda: index.waiting)
            index.release()
            wait_until(lambda: 429 in _often(server), timeout=60)
            assert set(workers(server)) == before


def test_without_leave_to_heal(unprotected: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Where nothing may be installed it goes on serving so."""
    environ["AUTO_FIX_MODE"] = "report"
    with serve(tmp_path / "log", environ, python=str(unprotected)) as server:
        _is_unprotected(server)
        assert server.get("/readyz").status == 200


def _is_unprotected(server: Server) -> None:
    health = server.get("/api/auto-fix/force-health-check").json()
    assert health["overall_status"] == "degraded"
    assert health["checks"]["dependency_flask_limiter"]["reason"] == "missing_distribution"
    headers = server.get("/nowhere").headers
    assert all(headers[name] == value for name, value in SECURITY_HEADERS.items())
    assert _often(server) == {200}


def _often(server: Server) -> set[int]:
    """The statuses of more requests than the limit allows."""
    allowed = int(LIMITS["auto_fix.test_import"].split()[0])
    return {server.get(LIMITED).status for _ in range(allowed + 1)}

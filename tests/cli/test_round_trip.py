"""The whole way on a copy of the project: the fault, the heal, the drift, the permanent fix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from tests.cli.support import Checkout
from tests.serving.environments import environment, pack
from tests.support.processes import ROOT, http_request, serve, wait_until
from tests.support.wheels import build_wheel, project_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World

FAULT = "aiohttp"
PIN = re.compile(r"^([a-z0-9-]+)==([^ ]+)", re.MULTILINE)


@pytest.fixture
def project(world: World, small: Checkout) -> Checkout:
    """The project as it is, an index with all of its lock, an interpreter without aiohttp."""
    for name in ("requirements-flask.txt", "orchestrator.toml"):
        small.write(name, (ROOT / name).read_bytes())
    for path in world.index.directory.iterdir():
        path.unlink()
    house = pack(world.index.directory)
    here = {project_of(wheel.name) for wheel in house.directory.glob("*.whl")}
    for name, version in PIN.findall((ROOT / "requirements-flask.lock").read_text()):
        if (name, version) not in here:
            # Not in this environment (for another Python above all), or too large to be packed:
            # its name is all that matters.
            build_wheel(house.directory, name, version, files={f"{name}/__init__.py": ""})
    (small.root / "requirements-flask.lock").unlink()
    python = environment(world.root / "bare")
    house.install(python, house.projects() - {FAULT})
    python.with_name("uv").symlink_to(find_uv_bin())
    return Checkout(small.root, small.environ, str(python))


def test_from_the_fault_to_the_permanent_fix(project: Checkout, tmp_path: Path) -> None:
    """Each step says what the issue promises, and the last one finds nothing to do."""
    assert project.run("lock", "--json").json["written"] == ["requirements-flask.lock"]
    project.drop("aiohttp")
    lock = project.read("requirements-flask.lock")

    failed = project.run("doctor", "--offline")
    assert failed.code == 1
    assert re.search(r"error missing_requirement app/edge/\w+\.py:\d+", failed.out)
    assert re.search(r"reached from app/routes/edge_functions\.py:\d+ >", failed.out)
    assert "add to requirements-flask.txt: aiohttp>=3.8.0" in failed.out

    with serve(
        tmp_path / "log", project.environ, directory=project.root, python=project.python
    ) as server:
        wait_until(
            lambda: server.get("/api/edge-functions/status").json()["transport"] == "aiohttp",
            timeout=60,
        )
        address = f"{server.url}/api/auto-fix/drift"
        plain = http_request(address, headers={"Accept": "text/plain"})
        assert plain.headers["Content-Type"].startswith("text/plain")
        assert plain.text == "aiohttp>=3.8.0\n"
        assert server.get("/api/auto-fix/drift").json()["drift"] is True

    assert project.run("drift").code == 3
    written = project.run("drift", "--write", "--json")
    assert written.code == 0
    assert "+aiohttp>=3.8.0" in written.json["diff"]
    assert project.read("requirements-flask.lock") == lock

    passed = project.run("doctor", "--offline", "--json")
    assert passed.code == 0, passed.out
    assert {one["severity"] for one in passed.json["findings"]} == {"note"}
    after = project.run("drift", "--json")
    assert (after.code, after.json["drift"]) == (0, False)
    assert [item["listed"] for item in after.json["items"]] == [True]
    assert project.run("lock", "--check").code == 0

    project.drop("aiohttp")
    mended = project.run("doctor", "--fix", "--offline", "--json")
    assert mended.code == 0, mended.out
    assert mended.json["changed"] == ["requirements-flask.txt"]
    assert re.search(r"\+aiohttp>=3\.8\.0  # needed by app/edge/\w+\.py", mended.json["diff"])

"""An image with the original fault does not build, and the build says where the fault is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.container.docker import built, copy_context, docker, drop_aiohttp, running
from tests.support.processes import wait_until
from tests.support.ugly import UGLY_BLUEPRINT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.container, pytest.mark.timeout(600), pytest.mark.usefixtures("engine")]


def test_the_faulty_variant_does_not_build(tmp_path: Path) -> None:
    """The message names the blueprint's file, the line that imports, aiohttp and what to add."""
    context = copy_context(tmp_path)
    requirements = context / "requirements-flask.txt"
    drop_aiohttp(requirements, requirements)
    with pytest.raises(RuntimeError) as failure, built(context, "refused"):
        pass
    said = str(failure.value)
    source = next((context / "app").rglob("over_aiohttp.py"))
    number = source.read_text().splitlines().index("import aiohttp") + 1
    place = f"{source.relative_to(context)}:{number}"
    assert f"error missing_requirement {place}" in said
    way = rf"reached from app/routes/edge_functions\.py:\d+ > .*{re.escape(place)}"
    assert re.search(way, said)
    assert "imports aiohttp, which requirements-flask.txt does not list" in said
    assert "add to requirements-flask.txt: aiohttp>=3.8.0" in said


def test_an_unknown_wish_for_the_doctor_ends_the_build(tmp_path: Path) -> None:
    """A misspelt DOCTOR is no way around it."""
    context = copy_context(tmp_path)
    wish = ("--build-arg", "DOCTOR=of")
    refused = pytest.raises(RuntimeError, match="DOCTOR is strict or off")
    with refused, built(context, "wish", *wish):
        pass


def test_the_drift_of_a_container_makes_the_next_image(faulty_image: str, tmp_path: Path) -> None:
    """With the line that the container tells the image builds, strictly, without drift.

    A package that an owner adds to it is served.
    """
    with running(faulty_image) as container:
        wait_until(lambda: container.ask_json("/api/auto-fix/drift")["drift"], timeout=60)
        told = container.execute("sh", "-c", "flask auto-fix drift 2>/dev/null; echo $?")
        line, code = told.splitlines()
        assert (line, code) == ("aiohttp>=3.8.0", "3")
        docker("exec", container.id, "flask", "auto-fix", "layers", "verify", "aiohttp")
        assert container.execute("python", "-m", "app.cli", "fix", "aiohttp").endswith("available")
    context = copy_context(tmp_path)
    requirements = context / "requirements-flask.txt"
    drop_aiohttp(requirements, requirements)
    with requirements.open("a") as file:
        file.write(f"{line}\n")
    (context / "own_room").mkdir()
    (context / "own_room/ugly.py").write_text(UGLY_BLUEPRINT)
    with (context / "orchestrator.toml").open("a") as file:
        file.write('\n[blueprint.ugly]\nimport = "own_room.ugly:SHOP"\n')
    with built(context, "mended") as image, running(image) as container:
        assert container.ask_json("/ugly/items/7") == {"id": 7}
        assert container.ask_json("/api/auto-fix/drift")["items"] == []
        assert container.ask_json("/api/auto-fix/force-health-check")["fixes_applied"] == []

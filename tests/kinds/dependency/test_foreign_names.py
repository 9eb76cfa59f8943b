"""An approved package is there when its distribution is, not when something has its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.kinds.dependency.diagnosis import Cause
from tests.conftest import World
from tests.healing.broken import Site, on_path, write_files
from tests.healing.engines import committed
from tests.serving.house import House, serving, status


def foreign(world: World) -> str:
    """Why the approved package is not there, and that nothing is installed in its place."""
    fixer = world.fixer(required=["prey"])
    (fault,) = fixer.faults()
    assert (fault.subject, fault.cause, fault.fixable) == ("prey", Cause.SHADOWED, False)
    assert not fixer.heal(fault).healed
    assert committed(world.settings.home) == []
    assert "prey" not in sys.modules
    return fault.advice


class TestForeign:
    """It is told as shadowed, and never installed over."""

    @pytest.mark.parametrize("file", ["prey.py", "prey/__init__.py"])
    def test_a_file_of_the_application(self, world: World, tmp_path: Path, file: str) -> None:
        """It hides the library."""
        world.publish("prey")
        write_files(on_path(tmp_path / "root", first=True), {file: ""})
        assert "local file" in foreign(world)

    def test_another_distribution(self, world: World, tmp_path: Path) -> None:
        """It is named, with the approved one."""
        world.publish("prey")
        Site.on_path(tmp_path).install("hunter", files={"prey/__init__.py": ""})
        assert "prey comes with hunter 1.0, and prey is approved" in foreign(world)

    def test_left_over(self, world: World, tmp_path: Path) -> None:
        """Among the libraries a directory that no distribution has brought is told, too."""
        world.publish("prey")
        site = Site.on_path(tmp_path)
        site.install("other")
        site.add(prey="")
        assert "comes with no distribution" in foreign(world)

    def test_the_approved_one(self, world: World, tmp_path: Path) -> None:
        """In the base or from a layer it is there, and so is what nobody has to approve."""
        world.publish("prey")
        world.publish("healed")
        Site.on_path(tmp_path).install("prey")
        fixer = world.fixer(required=["prey", "healed"])
        assert fixer.safe_import("healed")[0]
        assert fixer.faults() == ()
        assert fixer.dependency.unmet("json") is None


def test_served(tmp_path: Path, world: World) -> None:
    """A blueprint that needs it is isolated, and the rest serves."""
    house = House(tmp_path, world)
    world.publish("prey")
    house.needs("asks", "prey", needs={"packages": ["prey"]})
    (house.directory / "prey.py").touch()
    with house.serve(workers=1) as server:
        serving(server, 1, "main")
        assert server.get("/asks").status == 503
        assert status(server)["blueprints"]["asks"]["reason"] == "shadowed"
        assert committed(house.home) == []

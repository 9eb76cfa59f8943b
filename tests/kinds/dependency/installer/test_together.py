"""Several packages that one boot misses: installed once, healed each by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.installer.together import READY, imported_by
from app.manifest import Blueprint
from app.settings.declarations import Mode
from tests.conftest import World
from tests.healing.engines import answers, committed, crowd, release, staged
from tests.support.index import Fault

NAMES = ("prey", "quarry", "game")


@pytest.fixture
def three(world: World) -> World:
    """Three packages, two of which need a fourth."""
    for name in NAMES:
        world.publish(name, requires=() if name == "game" else ["helper"])
    world.publish("helper", needed_by=["prey", "quarry"])
    return world


class TestOnce:
    """One run of a tool for all."""

    def test_what_is_watched(self, three: World) -> None:
        """Every file is fetched once; each package has its own layer, whole, and its own row."""
        fixer = three.fixer(required=NAMES)
        assert all(fixer.safe_import(name)[0] for name in NAMES)
        assert sorted(three.index.downloads()) == sorted(set(three.index.downloads()))
        assert len(three.index.downloads()) == 4
        installed = {layer.subject: layer.installed for layer in fixer.layers.committed()}
        assert installed == {
            "prey": ("helper==1.0", "prey==1.0"),
            "quarry": ("helper==1.0", "quarry==1.0"),
            "game": ("game==1.0",),
        }
        assert [row.outcome for row in fixer.history()] == [Outcome.HEALED] * 3
        assert staged(three.settings.home) == ["together"]

    def test_what_is_shared_is_linked(self, three: World) -> None:
        """Layers that have a package in common have its files once on disk, bytecode included."""
        fixer = three.fixer(required=NAMES)
        assert all(fixer.safe_import(name)[0] for name in NAMES)
        found = [path.stat() for path in three.settings.home.glob("layers/*/*/site/helper/*.py")]
        assert (len(found), len({stat.st_ino for stat in found})) == (2, 1)
        compiled = list(three.settings.home.glob("layers/*/*/site/prey/__pycache__/*.pyc"))
        assert len(compiled) == 1

    def test_a_layer_alone_is_enough(self, three: World) -> None:
        """What is taken away of one leaves the others whole."""
        fixer = three.fixer(required=NAMES)
        assert all(fixer.safe_import(name)[0] for name in NAMES)
        fixer.layers.remove("prey")
        assert fixer.layers.load() is False
        (left,) = three.settings.home.glob("layers/*/*/site/helper")
        assert "quarry" in str(left)

    def test_what_a_blueprint_imports(
        self, three: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody has declared them: they stand at the head of its modules."""
        package = tmp_path / "ours"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "page.py").write_text("import prey\nfrom ours import more\n")
        (package / "more.py").write_text("from quarry import version\nimport game.part\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        fixer = three.fixer()
        fixer.watch((Blueprint(name="page", module="ours.page", attribute="page"),))
        assert not fixer.import_module("ours.page").success
        assert committed(three.settings.home) == ["game", "prey", "quarry"]
        assert len(three.index.downloads()) == 4

    def test_a_crowd(self, three: World) -> None:
        """Processes that boot at once install once."""
        code = f"""
fixer = AutoFixer(settings, dependency_map=given["map"], required={NAMES})
at_barrier()
say(all([fixer.safe_import(name)[0] for name in {NAMES}]))
"""
        with crowd(three, 3, code) as children:
            release(children)
            assert answers(children) == ["True"] * 3
        assert len(three.index.downloads()) == 4


class TestApart:
    """One that cannot be had costs the others nothing but a second run."""

    @pytest.mark.parametrize("fault", [Fault.WRONG_HASH, Fault.NOT_FOUND, Fault.SERVER_ERROR])
    def test_one_that_cannot_be_had(self, three: World, fault: Fault) -> None:
        """The others heal, and it alone has spent an attempt, with its own reason."""
        three.index.faults["game"] = fault
        fixer = three.fixer(required=NAMES)
        assert [fixer.safe_import(name)[0] for name in NAMES] == [True, True, False]
        rows = {row.subject: row.outcome for row in fixer.history()}
        expected = {
            Fault.WRONG_HASH: InstallOutcome.HASH_MISMATCH,
            Fault.NOT_FOUND: InstallOutcome.NOT_FOUND,
            Fault.SERVER_ERROR: InstallOutcome.NETWORK,
        }
        assert rows == {
            "prey": Outcome.HEALED,
            "quarry": Outcome.HEALED,
            "game": expected[fault],
        }

    def test_one_that_crashes(self, three: World) -> None:
        """A package that ends the child that proves all of them is found by itself."""
        three.publish("game", files={"game/__init__.py": "import os\nos._exit(1)\n"})
        fixer = three.fixer(required=NAMES)
        assert [fixer.safe_import(name)[0] for name in NAMES] == [True, True, False]
        assert fixer.history()[0].outcome == InstallOutcome.CRASHED_PROBE


class TestReady:
    """Parts that nobody takes."""

    def test_an_old_part(self, three: World) -> None:
        """It is removed at the next boot."""
        fixer = three.fixer(required=NAMES)
        assert fixer.safe_import("prey")[0]
        parts = list(three.settings.home.glob("staging/*/ready-*"))
        assert {path.name for path in parts} == {"ready-game", "ready-quarry"}
        for path in parts:
            os.utime(path, (0, path.stat().st_mtime - READY - 1))
        assert three.fixer().mode is Mode.HEAL
        assert staged(three.settings.home) == ["together"]

    def test_a_part_of_another_need(self, three: World) -> None:
        """One that lacks what is missing by now is not taken."""
        fixer = three.fixer(required=NAMES)
        assert fixer.safe_import("prey")[0]
        (part,) = three.settings.home.glob("staging/*/ready-quarry")
        (info,) = part.glob("quarry-*.dist-info")
        (info / "METADATA").unlink()
        assert fixer.safe_import("quarry")[0]
        layers = {layer.subject: layer.installed for layer in fixer.layers.committed()}
        assert layers["quarry"] == ("quarry==1.0",)


def test_what_counts_as_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what an import cannot do without, of files that can be read."""
    package = tmp_path / "ours"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "page.py").write_text(
        "import one.part, two as other\nfrom three import four\nfrom . import near\n"
        "from ours.more import value\n"
        "try:\n    import five\nexcept ImportError:\n    five = None\n"
        "def view():\n    import six\n"
    )
    (package / "more.py").write_text("import seven\nimport ours.page\nimport ours.broken\n")
    (package / "broken.py").write_text("import (\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert imported_by(["ours.page", "ours.gone"], {"ours"}) == {"one", "two", "three", "seven"}

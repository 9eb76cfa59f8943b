"""Marks of imports from layers: what dies in one, what a child says of it, what the layer loses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import World
from tests.healing.engines import command, committed, quarantined, run
from tests.support.processes import ROOT

#: Ends the process that imports it while a file is there, if it is one of ours and no child.
ENDS = "import os, sys\nif 'app' in sys.modules and os.path.exists({!r}):\n    os._exit(9)\n"
IMPORT = "say(fixer.safe_import('prey.part')[0])"


@pytest.fixture
def trigger(world: World, tmp_path: Path) -> Path:
    """The file for which the healed package ends processes."""
    path = tmp_path / "trigger"
    world.publish("prey", files={"prey/__init__.py": "", "prey/part.py": ENDS.format(str(path))})
    assert run(world, IMPORT) == "True"
    path.touch()
    return path


def dies(world: World) -> None:
    """Have a process die while it imports."""
    done = subprocess.run(command(world, IMPORT), cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 9


def marks(world: World) -> list[Path]:
    """The marks that are there."""
    found = (world.settings.home / "layer-imports").iterdir()
    return [path for path in found if path.name != ".lock"]


class TestVerdict:
    """A death alone may have been anybody's doing."""

    def test_a_child_survives_once(self, world: World, trigger: Path) -> None:
        """The layer is tried again, and its success is the end of that."""
        dies(world)
        trigger.unlink()
        assert run(world, IMPORT) == "True"
        assert not marks(world)
        trigger.touch()
        dies(world)
        trigger.unlink()
        assert run(world, IMPORT) == "True"
        assert committed(world.settings.home) == ["prey"]

    def test_it_dies_again(self, world: World, trigger: Path) -> None:
        """What a child survives and a process does not, twice in a row, is set aside."""
        dies(world)
        dies(world)
        assert trigger.exists()
        assert run(world, IMPORT) == "False"
        assert quarantined(world.settings.home) == ["prey"]
        assert not marks(world)

    def test_another_part(self, world: World, trigger: Path) -> None:
        """That the package itself is imported says nothing of the part that ends processes."""
        dies(world)
        assert run(world, "say(fixer.safe_import('prey')[0])") == "True"
        dies(world)
        assert trigger.exists()
        assert run(world, IMPORT) == "False"

    def test_many_at_once(self, world: World, trigger: Path) -> None:
        """All workers that are killed together count as one death."""
        dies(world)
        (mark,) = marks(world)
        for number in range(7):
            name = f"{mark.name.rpartition('.')[0]}.{number:032x}"
            mark.with_name(name).write_bytes(mark.read_bytes())
        trigger.unlink()
        assert run(world, IMPORT) == "True"
        assert committed(world.settings.home) == ["prey"]
        assert not marks(world)


class TestWho:
    """The layer that ran is the one, not those that asked for it."""

    def test_a_layer_within_a_layer(self, world: World, tmp_path: Path) -> None:
        """One that imports from a deadly one stays, and can be imported without it."""
        part = ENDS.format(str(tmp_path / "trigger")).replace("'app' in sys.modules and ", "")
        world.publish("prey", files={"prey/__init__.py": "", "prey/part.py": part})
        asks = "import os\nif os.path.exists({!r}):\n    import prey.part\n"
        asks = asks.format(str(tmp_path / "trigger"))
        world.publish("asks", files={"asks/__init__.py": "", "asks/part.py": asks})
        both = "[fixer.safe_import(name)[0] for name in ('prey', 'asks')];"
        run(world, both)
        (tmp_path / "trigger").touch()
        code = both + "fixer.safe_import('asks.part')"
        done = subprocess.run(command(world, code), cwd=ROOT, timeout=60, check=False)
        assert done.returncode == 9
        assert run(world, "fixer.prepare(); say(fixer.mode)") == "heal"
        assert committed(world.settings.home) == ["asks"]
        assert quarantined(world.settings.home) == ["prey"]

    def test_a_good_end(self, world: World, trigger: Path) -> None:
        """A process that ends in good order in the middle of an import leaves no mark."""
        trigger.unlink()
        slow = "import time\ntime.sleep(60)\n"
        files = {"slow/__init__.py": "", "slow/part.py": slow}
        world.publish("slow", files=files)
        begin = "import threading; fixer.safe_import('slow');"
        begin += "thread = threading.Thread(target=fixer.safe_import, args=('slow.part',));"
        begin += "thread.daemon = True; thread.start()\n"
        wait = "marks = settings.home / 'layer-imports'\n"
        wait += "while not any(b'slow.part' in p.read_bytes() for p in marks.glob('slow*')): pass\n"
        run(world, begin + wait)
        assert not marks(world)


#: What a wheel does to its own files once it is a layer, which no child sees.
LOSSES = {
    "its module": "os.remove(__file__)",
    "another file": "os.remove(os.path.join(os.path.dirname(__file__), 'b.py'))",
    "its layer": "shutil.rmtree(__file__.rpartition('/site/')[0])",
    "the layer through links": "shutil.rmtree(os.path.realpath(__file__).rpartition('/site/')[0])",
}
BODY = "import os, shutil\nif '/layers/' in __file__:\n    {}\n"
HEAL = "say(fixer.safe_import('prey')[0], fixer.budget('prey').attempts_left)"


def publish(world: World, loss: str) -> None:
    """Approve a wheel that takes files of its own away."""
    files = {"prey/__init__.py": BODY.format(loss), "prey/b.py": ""}
    world.publish("prey", files=files)


class TestLost:
    """A fix that does not last was a failed attempt."""

    @pytest.mark.parametrize("loss", LOSSES)
    def test_at_its_first_import(self, world: World, loss: str) -> None:
        """Each costs budget, and with the last one nothing is healed any more."""
        publish(world, LOSSES[loss])
        assert [run(world, HEAL) for _ in range(4)] == ["True 2", "True 1", "True 0", "False 0"]
        code = "say(*[attempt.outcome for attempt in fixer.history()])"
        assert run(world, code) == " ".join(["lost healed"] * 3)
        assert committed(world.settings.home) == []

    @pytest.mark.parametrize("linked", ["home", "."])
    def test_by_a_link(self, world: World, tmp_path: Path, linked: str) -> None:
        """A home that is a link, or below one, is a home as any other."""
        (tmp_path / "real").mkdir(mode=0o700)
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "real")
        publish(world, LOSSES["the layer through links"])
        home = str(link / linked)
        assert [run(world, HEAL, home=home) for _ in range(2)] == ["True 2", "True 1"]

    def test_later(self, world: World) -> None:
        """What is gone when a process looks for it the next time did not last either."""
        code = "import atexit; atexit.register(os.remove, __file__)"
        world.publish("prey", files={"prey.py": BODY.format(code)})
        assert [run(world, HEAL) for _ in range(4)] == ["True 3", "True 3", "True 3", "False 0"]

    def test_what_lasts(self, world: World) -> None:
        """A heal after one that lasted, of another lock, begins with the whole budget."""
        publish(world, "pass")
        assert run(world, HEAL) == "True 3"
        world.publish("other")
        assert run(world, HEAL) == "True 3"
        assert "lost" not in run(world, "say(*[each.outcome for each in fixer.history()])")

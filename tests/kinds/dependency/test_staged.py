"""What a wheel may bring, what of it a child imports first, and what that leaves behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.staged import needs_import
from tests.conftest import World
from tests.healing.broken import on_path, write_files
from tests.healing.engines import committed, quarantined, run
from tests.support.processes import wait_until

CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
REFUSED = {
    "a .pth file": {"prey.py": "", "prey.pth": "import os"},
    "sitecustomize": {"prey.py": "", "sitecustomize.py": ""},
    "usercustomize as a package": {"prey.py": "", "usercustomize/__init__.py": ""},
    "sitecustomize as data": {"prey.py": "", "prey-1.0.data/data/sitecustomize.py": ""},
    "a .pth file in purelib": {"prey.py": "", "prey-1.0.data/purelib/prey.pth": "import os"},
    "the standard library": {"prey.py": "", "secrets.py": ""},
    "a part of the application": {"prey.py": "", "ours/__init__.py": ""},
    "a directory of the application": {"prey.py": "", "loose/planted.py": ""},
    "the base": {"prey.py": "", "flask/__init__.py": ""},
    "another layer": {"prey.py": "", "earlier/__init__.py": ""},
}


class TestNames:
    """A layer adds names, and takes none away from anybody."""

    @pytest.mark.parametrize("case", REFUSED)
    def test_refused(self, world: World, tmp_path: Path, case: str) -> None:
        """Before any of it runs, with an outcome of its own, and costs budget."""
        root = on_path(tmp_path / "root", first=True)
        files = {"ours/__init__.py": "", "loose/part.py": "", "static/style.css": ""}
        write_files(root, files)
        world.publish("earlier")
        seen = tmp_path / "seen"
        body = {**REFUSED[case], "prey.py": f"open({str(seen)!r}, 'w')"}
        world.publish("prey", files=body)
        fixer = world.fixer()
        assert fixer.safe_import("earlier")[0]
        result = fixer.import_module("prey").result
        assert result is not None
        assert result.outcome == InstallOutcome.REFUSED_WHEEL, result
        assert not seen.exists()
        assert committed(world.settings.home) == ["earlier"]
        assert fixer.budget("prey").attempts_left == 2

    def test_allowed(self, world: World, tmp_path: Path) -> None:
        """Namespaces are shared, directories without modules are no modules, scripts no matter."""
        write_files(on_path(tmp_path / "root", first=True), {"static/style.css": ""})
        world.publish("shared", "1.0", files={"shared/one.py": ""})
        files = {
            "prey.py": "import shared.one, shared.two",
            "shared/two.py": "",
            "static/script.js": "",
            "prey-1.0.data/scripts/prey": "#!python\n",
        }
        world.publish("prey", files=files)
        fixer = world.fixer()
        assert fixer.safe_import("shared.one")[0]
        assert fixer.safe_import("prey")[0], fixer.history()


class TestAskedFor:
    """What the application imports of a wheel is imported in a child first."""

    @pytest.mark.parametrize(
        "code", ["import prey.sub", "from prey import sub", "from prey.sub import thing"]
    )
    def test_a_part_that_crashes(self, world: World, tmp_path: Path, code: str) -> None:
        """It is found out there, although the package itself imports."""
        write_files(on_path(tmp_path / "root", first=True), {"ours_asks.py": f"{code}\n"})
        world.publish("prey", files={"prey/__init__.py": "", "prey/sub.py": CRASH})
        report = world.fixer().import_module("ours_asks")
        assert report.result is not None
        assert report.result.outcome == InstallOutcome.CRASHED_PROBE
        assert quarantined(world.settings.home) == ["prey"]

    def test_a_namespace(self, world: World) -> None:
        """It has no body of its own: its parts are imported."""
        world.publish("prey", files={"prey/deep/one.py": "", "prey/two/__init__.py": CRASH})
        report = world.fixer().import_module("prey.deep.one")
        assert report.result is not None
        assert report.result.outcome == InstallOutcome.CRASHED_PROBE

    def test_names(self, tmp_path: Path) -> None:
        """Attributes are no modules, and what a condition stands around is not asked for."""
        asking = "import prey.sub\nfrom prey import thing, other\nif 0:\n    import prey.never\n"
        write_files(on_path(tmp_path / "root"), {"ours_asks.py": asking})
        site = tmp_path / "site"
        names = ("__init__", "sub", "other", "never")
        write_files(site, {f"prey/{name}.py": "" for name in names})
        assert needs_import(site, "prey", ["ours_asks"]) == ("prey", "prey.sub", "prey.other")


class TestWhole:
    """What vanishes while it is imported was never there."""

    @pytest.mark.parametrize(
        "what", ["__file__", "os.path.join(os.path.dirname(__file__), 'b.py')"]
    )
    def test_a_wheel_that_deletes_itself(self, world: World, what: str) -> None:
        """The attempt has failed and costs budget; nothing becomes a layer."""
        body = f"import os\nos.remove({what})\n"
        world.publish("prey", files={"prey/__init__.py": body, "prey/b.py": ""})
        fixer = world.fixer()
        result = fixer.import_module("prey").result
        assert result is not None
        assert (result.outcome, result.error_class) == (InstallOutcome.PROBE_FAILED, "vanished")
        assert committed(world.settings.home) == []
        assert fixer.budget("prey").attempts_left == 2


class TestOrder:
    """Layers stand on the path in the order of their commits."""

    def test_after_a_restart_too(self, world: World) -> None:
        """Neither names nor who loads them first make a difference."""
        for name in ("zebra", "middle", "ape"):
            world.publish(name)
        wanted = "say(*[path.split('/')[-2].split('.')[0] for path in fixer.layers.loaded])"
        heal = "[fixer.safe_import(name) for name in ('zebra', 'ape', 'middle')];"
        assert run(world, heal + wanted) == "zebra ape middle"
        assert run(world, f"fixer.prepare(); {wanted}") == "zebra ape middle"


DAEMON = """
import os, sys, time
if os.getpid() != {ours}:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open({pid!r}, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    while not os.path.exists({pid!r}) or not os.path.getsize({pid!r}):
        time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_daemon_dies_with_the_probe(world: World, tmp_path: Path) -> None:
    """What an import starts in a session of its own is killed when the probe ends."""
    pid = tmp_path / "pid"
    body = DAEMON.format(ours=os.getpid(), pid=str(pid))
    world.publish("prey", files={"prey/__init__.py": body})
    assert world.fixer().safe_import("prey")[0]
    process = Path("/proc", pid.read_text(), "environ")

    def is_gone() -> bool:
        try:
            return not process.read_bytes()
        except OSError:
            return True

    wait_until(is_gone)

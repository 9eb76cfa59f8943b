"""A home is used only where nobody else decides what is in it, and only our own is removed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.healing.home import is_ours, make_directory, trouble
from app.health.standard import home_checks
from app.isolation.import_marks import ImportMarks
from app.isolation.workers import WorkerBoard
from app.kinds.dependency.layers import KEPT_IN_QUARANTINE, KEY_KEPT, USED
from tests.conftest import World
from tests.healing.engines import committed, quarantined, run
from tests.support.processes import wait_until

IMPORT = "say(fixer.safe_import('prey')[0])"
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def give_away(path: Path) -> None:
    """Give what is at a path, and all below it, to another user."""
    for each in (path, *path.rglob("*")):
        os.chown(each, NOBODY, NOBODY)


def open_to_all(path: Path) -> None:
    """Let everybody write there."""
    path.chmod(0o777)


def open_to_a_group(path: Path) -> None:
    """Let a group that is not root's write there."""
    os.chown(path, -1, NOBODY if os.geteuid() == 0 else os.getgid())
    path.chmod(0o770)


def link_away(path: Path) -> None:
    """Put what is there elsewhere, and a link in its place."""
    elsewhere = path.parents[len(path.parents) - 3] / f"elsewhere-{time.monotonic_ns()}"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


SPOIL = [
    pytest.param(give_away, marks=as_root),
    open_to_all,
    pytest.param(open_to_a_group, marks=as_root),
    link_away,
]


class TestTrust:
    """What another user may have put there is not used."""

    @pytest.mark.parametrize("spoil", SPOIL)
    @pytest.mark.parametrize("where", ["layers", "layers/*", "layers/*/prey.*", "layers/*/*/site"])
    def test_nothing_is_loaded_healed_or_removed(
        self,
        world: World,
        where: str,
        spoil: Callable[[Path], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The mode is ``report``, health says why, and all that is there stays."""
        world.publish("prey")
        assert run(world, IMPORT) == "True"
        home = world.settings.home
        spoiled = next(home.glob(where))
        spoil(spoiled)
        files = sorted(path for path in spoiled.resolve().rglob("*") if path.is_file())
        # A boot that would remove the layer, and an import that would load or heal it.
        del world.dependency_map["prey"]
        fixer = world.fixer()
        assert (fixer.mode, fixer.mode_reason) == ("report", "home_untrusted")
        assert not fixer.safe_import("prey")[0]
        assert fixer.layers.loaded == ()
        assert caplog.text.count("nothing will be healed") == 1
        (check,) = home_checks(world.settings)
        assert (check.ok, check.reason) == (False, "home_untrusted")
        assert sorted(path for path in spoiled.resolve().rglob("*") if path.is_file()) == files

    @pytest.mark.parametrize("spoil", [open_to_all, link_away])
    def test_the_home_itself(
        self, world: World, tmp_path: Path, spoil: Callable[[Path], None]
    ) -> None:
        """One that others can write to is not used; a link to one that is ours is."""
        home = tmp_path / "a" / "home"
        make_directory(home)
        spoil(home)
        world.publish("prey")
        fixer = world.fixer(home=home)
        assert fixer.safe_import("prey")[0] is (spoil is link_away)

    def test_comes_back(self, world: World) -> None:
        """When the home is ours again it is used without a restart."""
        world.publish("prey")
        assert run(world, IMPORT) == "True"
        layer = next(world.settings.home.glob("layers/*/prey.*"))
        layer.chmod(0o777)
        fixer = world.fixer()
        assert not fixer.safe_import("prey")[0]
        layer.chmod(0o700)
        wait_until(lambda: fixer.adopt() or fixer.layers.loaded)
        assert fixer.safe_import("prey")[0]
        assert len(fixer.layers.committed()) == 1

    @as_root
    def test_what_root_has_given(self) -> None:
        """Another user may use a directory of root's, or of group 0's when it is in that."""
        # Directories that pytest makes are root's alone.
        with tempfile.TemporaryDirectory() as outer:
            home, shared = Path(outer) / "home", Path(outer)
            home.mkdir()
            home.chmod(0o777)
            os.chown(shared, NOBODY, 0)
            shared.chmod(0o770)
            assert not is_ours(shared)
            assert _trusted_by(4711, home, shared)
            os.chown(shared, NOBODY, NOBODY)
            assert not _trusted_by(4711, home, shared)


def _trusted_by(user: int, *places: Path) -> bool:
    """Whether a process of a user without a name, in group 0, trusts all of these."""
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresuid(user, user, user)
        os._exit(0 if all(map(is_ours, places)) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class TestMaking:
    """The home is this user's alone from the beginning."""

    @pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o777])
    def test_whatever_the_umask(self, world: World, umask: int) -> None:
        """Every directory down to a layer has mode 0700, and the next process trusts it."""
        world.publish("prey")
        assert run(world, f"os.umask({umask}); {IMPORT}") == "True"
        home = world.settings.home
        made = [home, *home.glob("*/"), *home.glob("layers/*"), *home.glob("layers/*/*.*/")]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
        assert trouble(home) is None


class TestOwnNames:
    """What is not called as we call things is not ours to remove."""

    def test_a_boot_removes_nothing_foreign(self, world: World) -> None:
        """Files of others beside ours survive a boot, a heal, a failed probe and a worker's end."""
        home = world.settings.home
        foreign = [
            *(home / "workers" / name for name in ("payroll.json", "payroll-2026.json")),
            home / "imports" / "main.txt",
            *(home / "quarantine" / f"box{number}" / "letter" for number in range(7)),
            home / "layers" / "photos" / USED,
            home / "layers" / "photos" / "one.jpg",
            home / "staging" / "discarded-drafts" / "draft",
        ]
        for path in foreign:
            make_directory(path.parent)
            path.write_text('{"salary": 1}')
            past = time.time() - KEY_KEPT - 60
            os.utime(path, (past, past))
        for name in (f"prey{number}" for number in range(KEPT_IN_QUARANTINE + 2)):
            world.publish(name, files={f"{name}.py": "raise ValueError"})
        world.publish("sound")
        fixer = world.fixer()
        assert fixer.safe_import("sound")[0]
        for name in world.dependency_map:
            fixer.safe_import(name)
        WorkerBoard(home).read()
        with ImportMarks(home).during("main", "ours_main"):
            pass
        fixer.layers.prune([])
        assert [path for path in foreign if not path.exists()] == []
        ours = [name for name in quarantined(home) if name.startswith("prey")]
        assert len(ours) == KEPT_IN_QUARANTINE
        assert "sound" not in committed(home)

    def test_a_linked_key(self, world: World, tmp_path: Path) -> None:
        """What a link in the place of a key or of a layer leads to is not removed."""
        victim = tmp_path / "victim"
        make_directory(victim / "site")
        (victim / "site" / "dear.py").touch()
        fixer = world.fixer()
        fixer.prepare()
        for link in (f"layers/abi-{'0' * 16}", f"staging/{fixer.layers.key}/prey.{'0' * 32}"):
            (world.settings.home / link).symlink_to(victim)
        (victim / USED).touch()
        os.utime(victim / USED, (0, 0))
        fixer.layers.prune([])
        fixer.layers.sweep("prey")
        assert (victim / "site" / "dear.py").exists()

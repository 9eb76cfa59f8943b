"""Layers: committed by one rename, loaded at boot, undone by deleting a directory."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.healing.report import timestamp
from app.kinds.dependency.layers import (
    KEPT_IN_QUARANTINE,
    KEY_KEPT,
    USED,
    Layer,
    Layers,
    Stage,
)
from app.settings.declarations import Mode
from tests.conftest import World
from tests.healing.engines import (
    answers,
    committed,
    crowd,
    quarantined,
    release,
    run,
    staged,
)
from tests.support.wheels import build_wheel

IMPORT = "say(*[fixer.safe_import(name)[0] for name in given['map']])"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    """Return layers of an empty home."""
    fresh = Layers(tmp_path / "home", "key")
    fresh.prepare()
    return fresh


def manifest(stage: Stage, subject: str = "prey", installed: tuple[str, ...] = ()) -> Layer:
    """Return what a fix would say about itself."""
    return Layer(
        attempt=stage.attempt,
        subject=subject,
        cause="missing_distribution",
        requirement=f"{subject}>=1",
        installed=installed,
        hashes=(),
        seconds=0.1,
        at=timestamp(time.time()),
    )


@contextmanager
def filled(layers: Layers, subject: str = "prey") -> Iterator[Stage]:
    """Stage a module that tells its own name."""
    with layers.stage(subject, uuid.uuid4().hex) as stage:
        (stage.site / f"{subject}.py").write_text(f"name = {subject!r}\n")
        yield stage


def commit(layers: Layers, subject: str = "prey", installed: tuple[str, ...] = ()) -> None:
    """Commit a layer with one module."""
    with filled(layers, subject) as stage:
        layers.commit(stage, manifest(stage, subject, installed))


class TestCommit:
    """A fix is there or it is not."""

    def test_one_rename(self, layers: Layers, tmp_path: Path) -> None:
        """Before the commit nobody sees anything of a fix, after it everybody sees all of it."""
        with filled(layers) as stage:
            assert not layers.load()
            assert layers.committed() == ()
            layer = manifest(stage)
            layers.commit(stage, layer)
            assert layers.committed() == (layer,)
            assert layers.load()
        assert staged(tmp_path / "home") == []
        assert sys.path[-1:] == list(layers.loaded)

    def test_an_error_commits_nothing(self, layers: Layers, tmp_path: Path) -> None:
        """What is raised while a fix is staged takes the staged files away."""
        with pytest.raises(ZeroDivisionError), filled(layers):
            raise ZeroDivisionError
        assert (committed(tmp_path / "home"), staged(tmp_path / "home")) == ([], [])

    def test_a_home_without_its_directory(self, layers: Layers, tmp_path: Path) -> None:
        """The directory of committed layers is made again when somebody has removed it."""
        shutil.rmtree(tmp_path / "home" / "layers")
        commit(layers)
        assert layers.load()

    def test_quarantine_keeps_the_newest(self, layers: Layers, tmp_path: Path) -> None:
        """However old the files in them are, the directories that came last are kept."""
        for number in range(KEPT_IN_QUARANTINE + 3):
            with filled(layers, f"prey{number}") as stage:
                os.utime(stage.directory, (0, 1_000_000_000 - number))
                layers.quarantine(stage)
        kept = [f"prey{number}" for number in range(3, KEPT_IN_QUARANTINE + 3)]
        assert quarantined(tmp_path / "home") == kept


class TestLoad:
    """Which layers stand on ``sys.path``, and where."""

    def test_behind_the_base(self, layers: Layers) -> None:
        """The base environment wins, in the order in which it was."""
        base = list(sys.path)
        commit(layers, "first")
        layers.load()
        commit(layers, "second")
        layers.load()
        assert sys.path == [*base, *layers.loaded]
        assert [Path(path).parent.name.split(".")[0] for path in layers.loaded] == [
            "first",
            "second",
        ]

    def test_what_another_process_did(self, layers: Layers, tmp_path: Path) -> None:
        """A layer that another commits or removes is followed."""
        other = Layers(tmp_path / "home", "key")
        base = list(sys.path)
        commit(other)
        assert layers.load()
        assert not layers.load()
        assert other.remove("prey") == 1
        assert not layers.load()
        assert sys.path == base

    def test_a_commit_right_after_a_look(self, layers: Layers, tmp_path: Path) -> None:
        """No commit is missed, however close in time it follows a look."""
        other = Layers(tmp_path / "home", "key")
        for number in range(50):
            commit(other, f"prey{number}")
            assert layers.load()
        assert len(layers.loaded) == 50

    def test_another_key(self, layers: Layers, tmp_path: Path) -> None:
        """Layers of another lock or interpreter are not loaded."""
        commit(layers)
        other = Layers(tmp_path / "home", "other")
        other.prepare()
        assert not other.load()
        assert other.committed() == ()

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '{"attempt": "x"}', "\xff", "[" * 100_000]
    )
    def test_an_unreadable_manifest(
        self, layers: Layers, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It costs its own layer, said once at WARNING; the next boot removes it."""
        commit(layers)
        commit(layers, "sound")
        (path,) = tmp_path.glob("home/layers/key/prey.*/layer.json")
        path.write_text(text, encoding="latin-1")
        assert [layer.subject for layer in layers.committed()] == ["sound"]
        assert layers.committed()
        assert caplog.text.count("a layer has no readable manifest") == 1
        assert layers.prune(["prey", "sound"]) == ("prey",)
        assert committed(tmp_path / "home") == ["sound"]

    @pytest.mark.parametrize(
        "strange",
        [
            *({"at": "yesterday"}, {"installed": [1]}, {"hashes": [None]}, {"seconds": "long"}),
            *({"subject": 5}, {"requirement": None}),
        ],
    )
    def test_a_manifest_with_strange_values(
        self, layers: Layers, tmp_path: Path, strange: dict[str, object]
    ) -> None:
        """A time that is none, or text that is none, makes the manifest unreadable too."""
        commit(layers)
        (path,) = tmp_path.glob("home/layers/key/prey.*/layer.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **strange}))
        assert layers.committed() == ()

    def test_a_home_that_is_not_there(self, tmp_path: Path) -> None:
        """Without a home there is nothing to load and nothing to list."""
        absent = Layers(tmp_path / "absent", "key")
        assert not absent.load()
        assert absent.committed() == ()


class TestPrune:
    """What nobody needs goes at boot."""

    def test_what_the_map_no_longer_names(self, layers: Layers, tmp_path: Path) -> None:
        """A layer whose subject is not approved any more is removed."""
        commit(layers)
        commit(layers, "sound")
        assert layers.prune(["sound"]) == ("prey",)
        assert committed(tmp_path / "home") == ["sound"]

    def test_what_the_base_has(self, world: World) -> None:
        """A layer whose distributions the environment has by now is removed."""
        wheel = world.publish("prey")
        assert run(world, IMPORT) == "True"
        base = world.root / "base"
        shutil.unpack_archive(wheel, base, "zip")
        said = run(world, f"sys.path.append({str(base)!r}); {IMPORT}; say(fixer.layers.loaded)")
        assert said.split("\n") == ["True", "()"]
        assert committed(world.settings.home) == []

    def test_what_the_base_has_in_part(self, world: World) -> None:
        """A layer of which the base still lacks something stays."""
        wheel = world.publish("prey", files={"prey.py": "import helper"}, requires=["helper"])
        world.publish("helper", needed_by=["prey"])
        assert run(world, IMPORT) == "True"
        base = world.root / "base"
        shutil.unpack_archive(wheel, base, "zip")
        assert run(world, f"sys.path.append({str(base)!r}); {IMPORT}") == "True"
        assert committed(world.settings.home) == ["prey"]

    def test_what_the_base_has_without_its_files(self, world: World) -> None:
        """The fix of a partial install stays: the base has no more than its metadata."""
        wheel = world.publish("prey")
        base = world.root / "base"
        shutil.unpack_archive(wheel, base, "zip")
        shutil.rmtree(base / "prey")
        code = f"sys.path.append({str(base)!r}); {IMPORT}"
        assert run(world, code) == "True"
        asked = len(world.index.requests)
        assert run(world, code) == "True"
        assert committed(world.settings.home) == ["prey"]
        assert len(world.index.requests) == asked

    def test_keys_out_of_use(self, layers: Layers, tmp_path: Path) -> None:
        """Layers of another key go when nobody has used that for a week, and nobody else's."""
        commit(layers)
        old, recent, foreign = f"abi-{'0' * 16}", f"abi-{'1' * 16}", "photos"
        for name in (old, recent, foreign):
            commit(other := Layers(tmp_path / "home", name))
            other.prepare()
        for name in (old, foreign):
            used = tmp_path / "home" / "layers" / name / USED
            past = used.stat().st_mtime - KEY_KEPT - 60
            os.utime(used, (past, past))
        layers.prune(["prey"])
        keys = {path.name for path in (tmp_path / "home" / "layers").iterdir()}
        assert keys == {"key", recent, foreign}

    def test_what_a_dead_process_was_removing(self, layers: Layers, tmp_path: Path) -> None:
        """A half-removed layer is removed to its end."""
        half = tmp_path / "home" / "staging" / "key" / f"discarded-{'0' * 32}"
        half.mkdir()
        layers.prune([])
        assert staged(tmp_path / "home") == []

    def test_eight_processes_at_once(self, world: World) -> None:
        """Workers that boot together prune together, and each of them still heals."""
        for name in ("prey", "sound"):
            world.publish(name)
        assert run(world, IMPORT) == "True True"
        del world.dependency_map["prey"]
        with crowd(
            world, 8, "at_barrier(); say(fixer.mode, fixer.safe_import('sound')[0])"
        ) as all_:
            release(all_)
            assert answers(all_) == ["heal True"] * 8
        assert committed(world.settings.home) == ["sound"]


class TestLife:
    """Layers from one process to the next."""

    def test_a_fresh_process(self, world: World) -> None:
        """A fix is there from the first import on, and nothing is asked for it again."""
        world.publish("prey")
        assert run(world, IMPORT) == "True"
        asked = len(world.index.requests)
        assert run(world, IMPORT) == "True"
        assert len(world.index.requests) == asked

    def test_another_lock(self, world: World) -> None:
        """A new lock starts from nothing, and the old one's layers come back with it."""
        world.publish("prey")
        old = world.settings.lock.read_text()
        assert run(world, IMPORT) == "True"
        build_wheel(world.index.directory, "prey", "2.0", files={"prey.py": ""})
        world.publish("other")
        said = run(world, f"{IMPORT}; say(len(fixer.layers.loaded))")
        assert said.split("\n") == ["True True", "2"]
        world.settings.lock.write_text(old)
        asked = len(world.index.requests)
        assert run(world, "say(fixer.safe_import('prey')[0])") == "True"
        assert len(world.index.requests) == asked

    def test_the_key_names_the_interpreter(self, world: World) -> None:
        """Layers lie under the ABI, the platform and the lock's digest."""
        world.publish("prey")
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        (key,) = [path.name for path in (world.settings.home / "layers").iterdir()]
        assert f"{sys.version_info.major}{sys.version_info.minor}" in key
        assert key.endswith(fixer.dependency.catalog.lock.digest)

    @pytest.mark.parametrize("what", ["layers", "."])
    def test_deleting_the_home(self, world: World, what: str) -> None:
        """It undoes every fix; the next process starts anew."""
        world.publish("prey")
        assert run(world, IMPORT) == "True"
        shutil.rmtree(world.settings.home / what)
        world.dependency_map.clear()
        assert run(world, "say(fixer.safe_import('prey')[0])") == "False"

    def test_deleting_the_home_of_a_live_process(self, world: World) -> None:
        """The process goes on, and heals again when it has to."""
        world.publish("prey")
        world.publish("other")
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        shutil.rmtree(world.settings.home)
        assert fixer.safe_import("prey")[0]
        fixer.safe_import("other")
        assert world.fixer().mode is Mode.HEAL
        assert world.fixer().safe_import("other")[0]

    def test_removing_one(self, world: World) -> None:
        """A removed layer is gone from the path and from disk, and can be healed again."""
        world.publish("prey")
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        assert fixer.layers.remove("prey") == 1
        assert fixer.layers.remove("prey") == 0
        fixer.layers.load()
        del sys.modules["prey"]
        assert fixer.load("prey") is None
        assert fixer.safe_import("prey")[0]

    def test_two_engines_in_one_process(self, world: World) -> None:
        """Each has its own home, and neither loads or removes what is the other's."""
        world.publish("prey")
        second = world.root / "second"
        assert run(world, IMPORT, home=str(second)) == "True"
        one, two = world.fixer(), world.fixer(home=second)
        assert one.safe_import("prey")[0]
        assert two.mode is Mode.HEAL
        assert len(two.layers.loaded) == 1
        assert one.layers.remove("prey") == 1
        assert [layer.subject for layer in two.layers.committed()] == ["prey"]

    def test_two_engines_with_one_home(self, world: World) -> None:
        """The second of them takes nothing away that the first has loaded."""
        world.publish("prey")
        assert world.fixer().safe_import("prey")[0]
        assert world.fixer().mode is Mode.HEAL
        assert committed(world.settings.home) == ["prey"]


def _emptied(package: Path) -> None:
    (package / "__init__.py").write_text("")


def _without_a_part(package: Path) -> None:
    (package / "part.py").unlink()


def _cut_short(package: Path) -> None:
    source = package / "__init__.py"
    source.write_bytes(source.read_bytes()[:9] + b"\0\0\0")


def _without_bytecode_that_can_be_read(package: Path) -> None:
    for compiled in package.glob("__pycache__/*.pyc"):
        compiled.write_bytes(compiled.read_bytes()[:20])


def _gone(package: Path) -> None:
    shutil.rmtree(package)


class TestDamaged:
    """A layer that is not as it was installed is replaced when an import from it fails."""

    @pytest.mark.parametrize(
        "damage",
        [_emptied, _without_a_part, _cut_short, _without_bytecode_that_can_be_read, _gone],
    )
    def test_is_healed_again(self, world: World, damage: Callable[[Path], None]) -> None:
        """The next process imports what was locked, from one layer; the damaged one is kept."""
        files = {"prey/__init__.py": "from prey.part import thing\n", "prey/part.py": "thing = 7\n"}
        world.publish("prey", files=files)
        code = "found = fixer.safe_import('prey')[1]; say(found and found.thing)"
        (world.root / "ours.py").write_text("from prey import thing\n")
        path = f"sys.path.append({str(world.root)!r}); "
        asking = path + "found = fixer.safe_import('ours')[1]; say(found and found.thing)"
        assert run(world, asking) == "7"
        damage(next(world.settings.home.glob("layers/*/prey.*/site/prey")))
        assert run(world, asking) == "7"
        assert run(world, code) == "7"
        assert committed(world.settings.home) == ["prey"]
        kept = [] if damage is _without_bytecode_that_can_be_read else ["prey"]
        assert quarantined(world.settings.home) == kept

    def test_code_that_is_wrong(self, world: World) -> None:
        """A layer that is as it was installed stays, whatever its code does."""
        world.publish("prey", files={"prey/__init__.py": "", "prey/wrong.py": "1 / 0"})
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        for _ in range(3):
            assert not fixer.safe_import("prey.wrong")[0]
        assert quarantined(world.settings.home) == []
        assert len(fixer.history()) == 1

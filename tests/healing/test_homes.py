"""Homes with odd names, and homes that go away while they are in use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings.declarations import Mode
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.engines import committed
from tests.support.processes import wait_until

NAMES = {
    "quotes": b"o'ne\"two`",
    "line feed": b"one\ntwo\r",
    "no UTF-8": b"\xff\xfe\x80",
    "shell and address": b" $(id) ;&|%41#?\\*:~",
    "another script": "homé漢".encode(),
}


def delete(home: Path) -> None:
    """Delete everything."""
    shutil.rmtree(home)


def empty(home: Path) -> None:
    """Leave an empty directory, as under a file system that was unmounted."""
    shutil.rmtree(home)
    home.mkdir()


def tidy(home: Path) -> None:
    """Delete all but the claims, by which a home is known to be there."""
    for path in home.iterdir():
        if path.name != "claims":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class TestNames:
    """Whatever a path may hold."""

    @pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
    def test_heals(self, world: World, name: bytes) -> None:
        """A package comes live, its row is written, and the next process finds both.

        uv takes no argument that is not UTF-8; pip takes over.
        """
        home = world.root / os.fsdecode(name)
        world.publish("prey")
        fixer = world.fixer(home=home)
        assert fixer.safe_import("prey")[0], fixer.history()
        heir = world.fixer(home=home)
        heir.prepare()
        assert heir.layers.loaded
        assert [row.outcome for row in heir.history()] == ["healed"]
        json.dumps([heir.status(), heir.health_report().to_dict()]).encode()


class TestGone:
    """What becomes of an engine whose home is taken away."""

    @pytest.fixture
    def fixer(self, world: World) -> AutoFixer:
        """Return an engine that has healed something."""
        for name in ("first", "second"):
            world.publish(name)
        fixer = world.fixer()
        assert fixer.safe_import("first")[0]
        return fixer

    @pytest.mark.parametrize("lose", [delete, empty, tidy])
    def test_it_heals_at_once(
        self, world: World, fixer: AutoFixer, lose: Callable[[Path], None]
    ) -> None:
        """It is made again by the next heal, without a restart."""
        lose(world.settings.home)
        assert fixer.safe_import("second")[0]
        assert committed(world.settings.home) == ["second"]
        assert [row.subject for row in fixer.history()] == ["second"]

    def test_replaced_by_a_file(self, world: World, fixer: AutoFixer) -> None:
        """The mode is ``report`` with that reason, and back as soon as the home is."""
        home = world.settings.home
        home.rename(home.with_name("elsewhere"))
        home.touch()
        wait_until(lambda: fixer.mode is Mode.REPORT)
        assert fixer.mode_reason == "home_unwritable"
        report = fixer.import_module("second")
        assert report.result is not None
        assert report.result.outcome == "mode"
        home.unlink()
        home.with_name("elsewhere").rename(home)
        wait_until(lambda: fixer.mode is Mode.HEAL)
        assert fixer.safe_import("second")[0]
        assert committed(home) == ["first", "second"]

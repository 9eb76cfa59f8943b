"""The map joined with the lock: what a fix would install, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.kinds.dependency.catalog import Catalog, Conflict, InstallOutcome
from tests.conftest import World
from tests.healing.broken import Site


class TestPlan:
    """What a fix would install."""

    def test_not_approved(self, world: World) -> None:
        """There is no plan for what the map does not name, locked or not."""
        world.publish("stranger", approved=False)
        assert _catalog(world).plan("stranger") is None

    def test_missing_part(self, world: World, tmp_path: Path) -> None:
        """Exactly that part of the closure is planned which is not installed."""
        site = Site.on_path(tmp_path)
        world.publish("asker")
        world.publish("unrelated")
        world.publish("absent_part", "2", needed_by=["asker"])
        site.unpack(world.publish("present_part", "3", needed_by=["asker"]))
        plan = _catalog(world).plan("asker.client")
        assert plan is not None
        assert plan.module == "asker"
        assert plan.requirement == "asker>=1.0"
        assert [part.pin for part in plan.missing] == ["absent-part==2", "asker==1.0"]
        assert plan.conflicts == ()

    def test_conflict(self, world: World, tmp_path: Path) -> None:
        """A part that is here in another version is a conflict, and is not planned."""
        world.publish("asker")
        world.publish("part", "3", needed_by=["asker"])
        Site.on_path(tmp_path).install("part", "2")
        plan = _catalog(world).plan("asker")
        assert plan is not None
        assert plan.conflicts == (Conflict("part", "2", "3"),)
        assert [found.name for found in plan.missing] == ["asker"]

    def test_broken(self, world: World, tmp_path: Path) -> None:
        """What is named as broken is planned although its metadata is here."""
        Site.on_path(tmp_path).unpack(world.publish("asker"))
        assert _catalog(world).plan("asker") is not None
        plan = _catalog(world).plan("asker", ["Asker"])
        assert plan is not None
        assert [found.name for found in plan.missing] == ["asker"]

    def test_not_locked(self, world: World) -> None:
        """An approved package that is not in the lock has a plan that says so."""
        world.dependency_map["asker"] = "asker"
        plan = _catalog(world).plan("asker")
        assert plan is not None
        assert not plan.locked
        assert plan.missing == ()


def _catalog(world: World) -> Catalog:
    return Catalog(world.dependency_map, world.settings.lock)


class TestUnusableLock:
    """A lock that is edited by hand or is not there."""

    @pytest.mark.parametrize("text", ["prey==1.0\n", "prey>=1.0\n", "prey==1.0 --hash=sha256:no\n"])
    def test_refused(self, world: World, caplog: pytest.LogCaptureFixture, text: str) -> None:
        """Nothing heals from a lock without hashes; that is said once, and the service is up."""
        world.publish("prey")
        world.settings.lock.write_text(text, encoding="utf-8")
        fixer = world.fixer(required=["prey"])
        for _ in range(3):
            assert fixer.safe_import("prey") == (False, None)
            fixer.health_report()
            fixer.status()
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.getMessage() for record in errors] == [
            "the lock cannot be used, nothing heals from it"
        ]
        assert errors[0].__dict__["fields"]["line"] == 1
        assert world.index.requests == []

    def test_missing_lock(self, world: World) -> None:
        """Without a lock nothing is locked, so nothing heals."""
        world.publish("prey")
        world.settings.lock.unlink()
        report = world.fixer().import_module("prey")
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.NOT_LOCKED

    def test_not_in_the_lock(self, world: World) -> None:
        """A package that is not locked is refused with the command that locks it."""
        world.publish("locked")
        world.dependency_map["prey"] = "prey>=1"
        report = world.fixer().import_module("prey")
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.NOT_LOCKED
        assert report.result.advice == (
            "the lock does not have it: run make lock and build the image anew"
        )
        assert world.index.requests == []

    def test_allowed_unlocked(self, world: World) -> None:
        """A setting allows what is not locked, with whatever it needs."""
        world.publish("prey", "1.2", requires=["part"])
        world.publish("part", needed_by=["prey"])
        world.settings.lock.write_text("", encoding="utf-8")
        report = world.fixer(allow_unlocked=True).import_module("prey")
        assert report.healed
        assert report.result is not None
        assert report.result.installed == ("part==1.0", "prey==1.2")


class TestProvider:
    """Which distribution brings a module."""

    def test_provider(self, world: World, tmp_path: Path) -> None:
        """The distribution that brings a module is found by its RECORD."""
        site = Site.on_path(tmp_path)
        site.install("Some.Project", files={"library/core.py": "", "single.py": ""})
        catalog = _catalog(world)
        assert catalog.providers("library.core") == ("some-project",)
        assert catalog.providers("single") == ("some-project",)
        assert catalog.providers("nowhere") == ()
        assert catalog.providers("sklearn") == ("scikit-learn",)

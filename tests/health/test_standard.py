"""What every service looks at: its journal, its home, and all of it together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from app.healing.home import can_be_written, free_bytes
from app.healing.journal import Attempt, Journal
from app.healing.report import Check
from app.health import Group, HealthService
from app.health.standard import LEAST_ROOM, home_checks, journal_checks
from app.services import Services
from app.settings.declarations import Mode, Settings
from tests.conftest import World


def _only(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


class TestJournal:
    """The history of attempts."""

    def test_not_begun(self, tmp_path: Path) -> None:
        """A journal that nobody has written in yet is well, and is not begun by looking."""
        assert _only(journal_checks(Journal(tmp_path / "journal.sqlite3"))).ok
        assert list(tmp_path.iterdir()) == []

    def test_readable(self, tmp_path: Path) -> None:
        """One with history is well."""
        journal = Journal(tmp_path / "journal.sqlite3")
        assert journal.append(
            Attempt(attempt="1", kind="dependency", subject="x", cause="y", outcome="healed")
        )
        assert _only(journal_checks(journal)).ok

    @pytest.mark.parametrize("content", [b"", b"no journal" * 1000])
    def test_corrupt(self, tmp_path: Path, content: bytes) -> None:
        """A file that is none fails and is not touched; that is never critical."""
        path = tmp_path / "journal.sqlite3"
        path.write_bytes(content)
        check = _only(journal_checks(Journal(path)))
        assert (check.ok, check.reason, check.critical) == (False, "journal_unusable", False)
        assert path.read_bytes() == content

    def test_locked(self, tmp_path: Path) -> None:
        """One that another process holds longer than anybody waits fails."""
        path = tmp_path / "journal.sqlite3"
        assert Journal(path).append(
            Attempt(attempt="1", kind="dependency", subject="x", cause="y", outcome="healed")
        )
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN EXCLUSIVE")
            assert not Journal(path, busy_timeout=0.01).readable()
        other.close()


class TestHome:
    """The directory that fixes are committed to."""

    def test_well(self, world: World) -> None:
        """A home that can be written and has room is well, before it was made, too."""
        check = _only(home_checks(world.settings))
        assert (check.ok, check.unit) == (True, "MiB")
        assert not world.settings.home.exists()

    def test_says_how_much_room_there_is(self, tmp_path: Path) -> None:
        """The room is that of the file system of the home, or of where it will be."""
        assert free_bytes(tmp_path) > 0
        assert free_bytes(tmp_path / "a" / "b") > 0

    def test_no_room(self, world: World) -> None:
        """A file system without room fails: the kernel's, which has none at all."""
        settings = replace(world.settings, home=Path("/proc"))
        if not can_be_written(settings.home):
            pytest.skip("/proc cannot even be asked for leave")
        check = _only(home_checks(settings))
        assert (check.ok, check.reason) == (False, "disk_full")
        assert check.observed is not None
        assert check.observed < LEAST_ROOM

    def test_a_name_that_no_file_system_takes(self, world: World) -> None:
        """A home whose name is too long cannot take a fix, and has no room."""
        check = _only(home_checks(replace(world.settings, home=world.root / ("a" * 300))))
        assert (check.reason, check.observed) == ("home_unwritable", 0.0)

    def test_unwritable(self, world: World) -> None:
        """A home that is a file cannot take a fix."""
        world.settings.home.write_text("")
        assert _only(home_checks(world.settings)).reason == "home_unwritable"


class TestStandard:
    """What the service looks at, all together."""

    def _service(self, world: World, **changes: Any) -> HealthService:  # noqa: ANN401
        fixer = world.fixer(**changes)
        return Services.create(Settings(healing=fixer.settings), fixer).health

    def test_nothing_is_critical_but_the_engine_and_blueprints_say_so(self, world: World) -> None:
        """Whatever else goes wrong with the host degrades the service at most."""
        world.settings.home.write_text("no directory")
        reading = self._service(world, tools=()).force()
        failed = {check.name for check in reading.report.checks if not check.ok}
        assert {"auto_fix_home", "installer"} <= failed
        assert str(reading.report.overall_status) == "degraded"

    @pytest.mark.parametrize("mode", [Mode.REPORT, Mode.OFF])
    def test_where_nothing_is_healed(self, world: World, mode: Mode) -> None:
        """Home, installer and index matter where there is leave to heal alone."""
        names = {check.name for check in self._service(world, mode=mode).force().report.checks}
        assert names == {
            "clock",
            "configuration_orchestrator_toml",
            "edge_functions",
            "journal",
            "worker_pool",
        }
        assert world.index.looks == 0

    def test_readiness_asks_nobody(self, world: World) -> None:
        """What readiness depends on is looked at without the index."""
        service = self._service(world)
        service.refresh(Group.READY, wait=10)
        assert world.index.looks == 0
        service.force(10)
        assert (world.index.looks, world.index.requests) == (1, [])


@pytest.mark.parametrize(
    "path", ["/metrics", "/readyz", "/api/auto-fix/health", "/api/auto-fix/status"]
)
def test_a_home_whose_name_is_too_long_costs_no_answer(world: World, path: str) -> None:
    """Nothing is healed then, and the service answers as ever."""
    fixer = world.fixer(home=world.root / ("a" * 300) / "home")
    app = create_app({"SETTINGS": Settings(healing=fixer.settings), "AUTO_FIXER": fixer})
    assert app.test_client().get(path).status_code == 200
    assert fixer.mode is Mode.REPORT

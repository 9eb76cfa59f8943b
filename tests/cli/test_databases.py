"""``database`` shows what a look finds now, and the pools of the living workers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli.group import auto_fix
from app.isolation.workers import WorkerBoard
from tests.conftest import World

POOL = {
    "database_connections_in_use": 2,
    "database_connections_idle": 1,
    "database_connections_waiting": 3,
    "most": 10,
    "holders": ["shop.orders.view:12"],
}


@pytest.fixture
def path(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of the manifest that commands read, which is well."""
    path = world.root / "shop.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id)")
    manifest = world.root / "orchestrator.toml"
    manifest.write_text(f'[database.main]\nurl = "sqlite:///{path}"\nconnect_timeout = 1\n')
    for name, value in {
        "ENV_FILE": "/dev/null",
        "AUTO_FIX_HOME": str(world.settings.home),
        "AUTO_FIX_LOCK": str(world.settings.lock),
        "AUTO_FIX_MANIFEST": str(manifest),
    }.items():
        monkeypatch.setenv(name, value)
    return path


def run(*arguments: str, command: str = "database") -> tuple[int, str]:
    """The exit code and the output of the command."""
    result = CliRunner().invoke(auto_fix, [command, *arguments])
    return result.exit_code, result.stdout


def document(*arguments: str, command: str = "database") -> tuple[int, Any]:
    """The same, as JSON."""
    code, text = run(*arguments, "--json", command=command)
    return code, json.loads(text)


@pytest.mark.usefixtures("path")
def test_all_is_well() -> None:
    """State, role and host; without a service there is no pool."""
    code, rows = document()
    assert (code, len(rows)) == (0, 1)
    shown = {key: rows[0][key] for key in ("database", "state", "role", "host", "in_use")}
    assert list(shown.values()) == ["main", "ok", "read-write", "shop.sqlite3", 0]
    assert "shop.sqlite3" in run()[1]


@pytest.mark.usefixtures("path")
def test_pools_of_the_workers(world: World) -> None:
    """They are added up, and who holds connections is named."""
    board = WorkerBoard(world.settings.home)
    board.write({"measured": {"database": {"main": POOL, "another": POOL}}})
    code, row = document("main")
    assert (code, row["in_use"], row["most"], row["waiting"]) == (0, 2, 10, 3)
    assert row["holders"] == ["shop.orders.view:12"]
    assert "holders     shop.orders.view:12" in run("main")[1]
    board.close()


def test_one_that_is_not_well(path: Path) -> None:
    """It has its cause and what to do, the exit code says so, and ``status`` lists the fault."""
    path.write_bytes(b"letter to a friend\n" * 500)
    code, row = document("main")
    assert (code, row["state"]) == (1, "database_not_a_database")
    assert "restore one by hand" in row["advice"]
    (fault,) = document(command="status")[1]["faults"]
    assert (fault["subject"], fault["cause"]) == ("main", "database_not_a_database")


@pytest.mark.usefixtures("path")
def test_one_that_nobody_declares() -> None:
    """It is a wrong command line."""
    assert document("other")[0] == 2


def test_is_fixed_now(path: Path) -> None:
    """``fix database:NAME`` does what can be done, and says what is well."""
    lost = path.parent / "lost"
    manifest = path.with_name("orchestrator.toml")
    manifest.write_text(f'[database.main]\nurl = "sqlite:///{lost}/shop.sqlite3"\n')
    assert document("main")[1]["state"] == "database_missing_directory"
    code, body = document("database:main", command="fix")
    assert (code, body["outcome"], lost.is_dir()) == (0, "healed", True)
    assert document("main")[1]["state"] == "ok"
    assert document("database:main", command="fix")[0] == 2

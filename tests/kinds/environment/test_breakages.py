"""However a variable is broken: its cause is right, no value is said, and it can be mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.kinds.environment.kind import EnvironmentKind
from app.kinds.environment.variables import READER, TABLE
from app.manifest import parse
from app.settings.declarations import adopt
from app.settings.sources import ENV_FILE
from tests.conftest import World
from tests.isolation.shop import Shop
from tests.kinds.environment.breakages import (
    CANARY,
    NO_TEXT,
    Breakage,
    Surroundings,
    breakages,
)
from tests.serving.house import all_workers, statuses, working
from tests.support.processes import Server, wait_until

BREAKAGES = tuple(breakages())
#: What else may stand in an environment: names that are none, much, long, and no text.
AROUND = {
    **dict.fromkeys(("\u00e9", "A B", "a.b-c", "\udcff", "A" * 5000, "%(x)s{}"), CANARY),
    **dict.fromkeys((f"FILLER_{number:04}" for number in range(10_000)), CANARY),
    "LONG_TEXT": CANARY * 5000,
    "NO_TEXT": f"{CANARY}{NO_TEXT}",
}
READS = """\
import os

import flask

bp = flask.Blueprint(__name__.rpartition(".")[2], __name__)
VALUE = os.environ[{name!r}]


@bp.get("")
def index():
    return {{"characters": len(VALUE)}}
"""


def surroundings(root: Path) -> Surroundings:
    """A process's environment with files that hold nothing yet."""
    made = Surroundings(root, dict(AROUND))
    made.secrets.mkdir()
    made.env_file.touch()
    made.environ[ENV_FILE] = str(made.env_file)
    return made


def started(around: Surroundings, breakage: Breakage) -> EnvironmentKind:
    """What a process that begins now has, with a blueprint that needs the variable."""
    declared = parse(breakage.table, {TABLE: READER})
    assert declared.faults == ()
    adopt(around.environ)
    kind = EnvironmentKind(lambda: declared.tables[TABLE], around.environ, around.secrets)
    kind.needs = {breakage.name: ("shop.parts",)}
    return kind


@pytest.mark.parametrize("breakage", BREAKAGES, ids=[one.name for one in BREAKAGES])
def test_a_broken_variable(tmp_path: Path, breakage: Breakage) -> None:
    """It is known for what it is, says no value, and ends when the place is mended."""
    around = surroundings(tmp_path)
    breakage.apply(around, breakage.name)
    environ = dict(around.environ)
    kind = started(around, breakage)
    fault = kind.unmet(breakage.name)
    assert (fault and fault.cause) == breakage.cause
    assert CANARY not in f"{kind.faults()!r} {kind!r}"
    if breakage.given:
        around.environ.clear()
        around.environ.update(environ)
    breakage.mend(around)
    kind = started(around, breakage) if breakage.given else kind
    kind.adopt()
    assert kind.unmet(breakage.name) is None
    assert around.environ[breakage.name] == breakage.good


class TestServed:
    """All of them at once, in the real service."""

    @pytest.fixture
    def shop(self, world: World) -> Shop:
        """A blueprint for each, and one that needs nothing."""
        made = Shop(world)
        made.code("plain", working("plain"))
        more = {}
        for one in BREAKAGES:
            made.code(one.name.lower(), READS.format(name=one.name))
            prefix = f'prefix = "/{one.name.lower()}"\nenvironment = ["{one.name}"]'
            more[one.name.lower()] = prefix
        tables = "\n".join(one.table for one in BREAKAGES)
        made.manifest.write_text(f"{made.text('plain', *more, **more)}\n{tables}")
        return made

    def test_all_at_once(self, shop: Shop, tmp_path: Path) -> None:
        """It boots, serves what needs none of them, and serves each as soon as it is mended."""
        around = surroundings(tmp_path)
        for one in BREAKAGES:
            one.apply(around, one.name)
        environ = {**around.environ, "SECRETS_DIR": str(around.secrets)}
        with shop.serve(**environ) as server:
            before = set(all_workers(server, 2))
            assert statuses(server, "/plain") == {200}
            wait_until(lambda: found(server) == {one.name: one.cause for one in BREAKAGES})
            assert_says_nothing(server)
            for one in BREAKAGES:
                if not one.given:
                    one.mend(around)
            expected = {one.name: one.cause if one.given else None for one in BREAKAGES}
            wait_until(lambda: found(server) == expected, timeout=60)
            assert set(all_workers(server, 2)) == before
        for one in BREAKAGES:
            if one.given:
                one.mend(around)
        environ = {**around.environ, "SECRETS_DIR": str(around.secrets)}
        with shop.serve(**environ) as server:
            wait_until(lambda: set(found(server).values()) == {None}, timeout=60)
        assert CANARY not in (shop.world.root / "log").read_text()


def found(server: Server) -> dict[str, str | None]:
    """By variable: the reason why its blueprint is not served."""
    causes = {}
    for one in BREAKAGES:
        answer = server.get(f"/{one.name.lower()}")
        assert CANARY not in answer.text
        causes[one.name] = None if answer.status == 200 else answer.json()["code"]
    return causes


def assert_says_nothing(server: Server) -> None:
    """No page about the service, and nothing that it has logged, holds a value."""
    for page in ("/", "/metrics", "/api/auto-fix/status", "/api/auto-fix/force-health-check"):
        assert CANARY not in server.get(page).text
    assert CANARY not in server.log_text
    faults = server.get("/api/auto-fix/status").json()["faults"]
    assert {one.name for one in BREAKAGES if one.cause} <= {one["subject"] for one in faults}
    assert NO_TEXT not in json.dumps(faults)

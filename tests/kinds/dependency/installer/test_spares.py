"""Wheels that are fetched before anybody asks for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.healing.kind import Outcome
from app.kinds.dependency.installer.spares import LOCK
from tests.conftest import World
from tests.support.index import ANY, Fault
from tests.support.processes import wait_until


@pytest.fixture
def two(world: World) -> World:
    """A package that needs another one, and one that nobody has approved."""
    world.publish("prey", requires=["helper"])
    world.publish("helper", needed_by=["prey"])
    world.publish("stranger", approved=False)
    return world


def spares(world: World) -> list[str]:
    """Return the distributions of which there is a spare."""
    found = world.settings.home.glob("spares/*/*.whl")
    return sorted(path.name.partition("-")[0] for path in found)


def test_a_heal_needs_no_index(two: World) -> None:
    """All that is approved and missing is there, and nothing else; then the index may be gone."""
    two.fixer().dependency.spares.fetch()
    assert spares(two) == ["helper", "prey"]
    two.index.page_faults[ANY] = Fault.SERVER_ERROR
    asked = len(two.index.requests)
    fixer = two.fixer()
    assert fixer.import_module("prey").success
    assert len(two.index.requests) == asked
    fixer.dependency.spares.fetch()
    assert spares(two) == []


def test_only_when_they_are_wanted(two: World) -> None:
    """A setting says so; the thread works while the caller goes on."""
    two.fixer().fetch_spares()
    assert not (two.settings.home / "spares").exists()
    fixer = two.fixer(spares=True)
    fixer.fetch_spares()
    wait_until(lambda: spares(two) == ["helper", "prey"])


def test_nothing_beyond_the_bound(two: World) -> None:
    """A wheel for which there is no room is not kept, and none after it is asked for."""
    two.fixer(spare_bytes=100).dependency.spares.fetch()
    assert spares(two) == []
    size = next(two.index.directory.glob("helper-*")).stat().st_size
    two.fixer(spare_bytes=size).dependency.spares.fetch()
    assert spares(two) == ["helper"]


def test_what_another_interpreter_has_left(two: World) -> None:
    """It counts within the bound, and goes when it was not used for a day; a stranger's stays."""
    size = sum(path.stat().st_size for path in two.index.directory.glob("[hp]*-*.whl"))
    others = {name: two.settings.home / "spares" / name for name in ("old-any", "new-any", "own")}
    for other in others.values():
        other.mkdir(parents=True)
        (other / "theirs-1.0-py3-none-any.whl").write_bytes(b"." * size)
    (others["new-any"] / LOCK).touch()
    (others["old-any"] / LOCK).touch()
    os.utime(others["old-any"] / LOCK, (0, 0))
    two.fixer(spare_bytes=2 * size).dependency.spares.fetch()
    assert spares(two) == ["theirs", "theirs"]
    assert [name for name, place in others.items() if place.exists()] == ["new-any", "own"]
    two.fixer(spare_bytes=3 * size).dependency.spares.fetch()
    assert spares(two) == ["helper", "prey", "theirs", "theirs"]


def test_nothing_that_the_lock_does_not_name(two: World) -> None:
    """A tampered wheel is not kept, and the next one is fetched all the same."""
    two.index.faults["helper"] = Fault.WRONG_HASH
    two.fixer().dependency.spares.fetch()
    assert spares(two) == ["prey"]


def test_a_spare_that_was_damaged(two: World) -> None:
    """It counts as none: the index is asked, and the next look fetches it again."""
    two.fixer().dependency.spares.fetch()
    path = next(two.settings.home.glob("spares/*/helper-*"))
    path.write_bytes(path.read_bytes() + b"more")
    fixer = two.fixer()
    assert fixer.import_module("prey").success
    assert [row.outcome for row in fixer.history()] == [Outcome.HEALED]
    assert len(two.index.downloads("helper")) == 2


def test_a_place_that_cannot_be_had(two: World) -> None:
    """A file in its place costs the spares and nothing else."""
    Path(two.settings.home).mkdir()
    (two.settings.home / "spares").touch()
    fixer = two.fixer()
    fixer.dependency.spares.fetch()
    assert fixer.import_module("prey").success

"""What a fix requires, and what is required of it, is there before it is committed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.installer.consistency import satisfies
from tests.conftest import World
from tests.healing.broken import Site
from tests.healing.engines import committed

VERSIONS = [
    *("1", "1.0", "1.0.0", "1.1", "1.10", "0.9", "1.4.5", "1.4.5.1", "2.0", "2.0.1", "2.0rc1"),
    *("2.0a1", "2.0b2", "2.0.dev3", "2.0.post1", "2.0.post1.dev2", "2.0-1", "2.0a1.dev1"),
    *("1!1.0", "2.0+local", "3", "2.1.dev0"),
]
SIGNS = ("==", "!=", "<=", ">=", "<", ">")


def test_versions() -> None:
    """Versions and specifiers are those of the packaging library."""
    series = ("==1.*", "!=2.0.*", "==1.4.*", "==1!1.*", "~=1.4", "~=1.4.5", "~=2.0rc1", "~=1!1.0")
    specifiers = [
        *series,
        *(sign + one for sign, one in itertools.product(SIGNS, VERSIONS) if "+" not in one),
        *("==2.0+local", "!=2.0+local", "==2.0+other", ">=1,<2", "!=2.0,>1", "===1.0", ""),
    ]
    differ = [
        (version, text)
        for version, text in itertools.product(VERSIONS, specifiers)
        if satisfies(version, text) != SpecifierSet(text).contains(version, prereleases=True)
    ]
    assert differ == []


REFUSED = {
    "what it needs is not there": (["absent>=1"], [], "prey 1.0 needs absent>=1"),
    "what it needs is another version": (["base<1"], [], "base would be 1.0"),
    "what is there needs another version": ([], ["prey<1"], "base 1.0 needs prey<1"),
}
ALLOWED = {
    "met": (["base>=1", "Base==1.*"], ["prey>=1"]),
    "of an extra": (["absent; extra == 'more'"], ["absent; extra == 'more'"]),
    "of another Python": (["absent; python_version < '3'"], []),
    "of what is broken already": ([], ["absent>=1"]),
    "unreadable": (["base >= what", "=="], ["== nothing"]),
}


def publish(world: World, root: Path, needs: list[str], needed: list[str]) -> None:
    """Approve a package with requirements, and install another one with its own."""
    Site.on_path(root).install("base", requires=needed)
    world.publish("prey", requires=needs)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """The attempt fails, and the log says for which requirement."""
    needs, needed, reason = REFUSED[case]
    publish(world, tmp_path, needs, needed)
    fixer = world.fixer()
    result = fixer.import_module("prey").result
    assert result is not None
    assert result.outcome == InstallOutcome.UNMET_REQUIREMENT
    assert reason in result.detail
    assert any(reason in str(getattr(record, "fields", "")) for record in caplog.records)
    assert committed(world.settings.home) == []
    assert fixer.budget("prey").attempts_left == 2


@pytest.mark.parametrize("case", ALLOWED)
def test_allowed(world: World, tmp_path: Path, case: str) -> None:
    """What does not apply, cannot be read or was broken before is no objection."""
    publish(world, tmp_path, *ALLOWED[case])
    fixer = world.fixer()
    assert fixer.safe_import("prey")[0], fixer.history()


def test_a_layer(world: World) -> None:
    """What another layer has brought counts as what the base has."""
    world.publish("helper")
    world.publish("prey", requires=["helper>=1"])
    world.publish("rival", requires=["helper<1"])
    fixer = world.fixer()
    assert fixer.safe_import("helper")[0]
    assert fixer.safe_import("prey")[0]
    assert not fixer.safe_import("rival")[0]

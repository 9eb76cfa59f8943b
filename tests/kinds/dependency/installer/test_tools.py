"""Installers that do not work, as executables in front of the real ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.installer.install import Installed, Installer
from app.kinds.dependency.installer.tools import Tools
from app.kinds.dependency.source import source_checks
from tests.conftest import World
from tests.kinds.dependency.installer.test_install import bare_interpreter
from tests.support.index import Fault

#: Installs ``prey`` with these tools, within so many seconds.
Install = Callable[..., Installed]

#: A uv that installs in part before it ends as the rest of the script says.
PARTLY = 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/stranger-1.dist-info"; '
#: Scripts and how each is called in health and log.
BROKEN = {
    "killed": ("kill -KILL $$", "signal 9"),
    "crashes": ("kill -SEGV $$", "signal 11"),
    "crashes in the middle": (f"{PARTLY} kill -ABRT $$", "signal 6"),
    "fails in silence": ("exit 3", "exit 3 without a word"),
    "succeeds in silence": ("exit 0", "it says that it has installed, and has not"),
    "talks of success alone": ("echo Installed", "it says that it has installed, and has not"),
    "knows no such option": (
        "echo \"error: unexpected argument '--no-progress' found\" >&2; exit 2",
        "it fails where another one does not",
    ),
    "panics": (
        "echo \"thread 'main' panicked at src/main.rs\" >&2; exit 101",
        "it fails where another one does not",
    ),
}


@pytest.fixture
def uv(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an executable is taken for uv, beside an interpreter that has pip alone."""
    monkeypatch.setattr(sys, "executable", bare_interpreter(world.root, pip=True))
    place = world.root / "front" / "uv"
    place.parent.mkdir()
    monkeypatch.setenv("PATH", f"{place.parent}:/usr/bin:/bin")
    return place


@pytest.fixture
def install(world: World) -> Install:
    """Install ``prey`` into a directory that is empty before."""
    world.publish("prey")
    pins = tuple(world.fixer().dependency.catalog.lock.entries.values())
    work = world.root / "work"
    work.mkdir()

    def run(tools: Tools, deadline: float = 60.0) -> Installed:
        installer = Installer(
            tools=tools, wheelhouse=None, deadline=deadline, max_file_bytes=1 << 24
        )
        return installer.install(pins, work, world.root / "target")

    return run


def script(path: Path, text: str, mode: int = 0o755) -> None:
    """Write a shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)


class TestTakingOver:
    """The next tool installs at once, and health names the one that does not work."""

    @pytest.mark.parametrize("fault", BROKEN)
    def test_a_tool_that_fails_by_itself(
        self, world: World, uv: Path, install: Install, fault: str
    ) -> None:
        """Its end says nothing about the package, and what it has left is gone."""
        text, reason = BROKEN[fault]
        script(uv, text)
        tools = Tools(("uv", "pip"), os.environ)
        assert install(tools).outcome == Outcome.HEALED
        assert sorted(path.name for path in (world.root / "target").iterdir()) == [
            "prey",
            "prey-1.0.dist-info",
        ]
        first, second = tools.here()
        assert (first.name, second.name) == ("pip", "uv")
        assert tools.trouble(second) == reason
        check = next(iter(source_checks(world.settings, tools)))
        assert (check.ok, check.reason, check.critical) == (False, "installer_broken", False)
        assert check.advice == "uv does not work: pip installs in its place"

    @pytest.mark.parametrize(
        ("content", "mode", "reason"),
        [
            (b"#!/bin/sh\nexit 0\n", 0o644, "it cannot be run: Permission denied"),
            (b"#!/nothing/here\n", 0o755, "it cannot be run: No such file or directory"),
            (b"\x7fELF no program", 0o755, "it cannot be run: Exec format error"),
        ],
    )
    def test_a_tool_that_cannot_be_run(
        self, uv: Path, install: Install, content: bytes, mode: int, reason: str
    ) -> None:
        """It is found, named, and not used."""
        uv.write_bytes(content)
        uv.chmod(mode)
        tools = Tools(("uv", "pip"), os.environ)
        assert install(tools).outcome == Outcome.HEALED
        assert tools.trouble(tools.preferred()[0]) == reason

    def test_a_tool_that_hangs(self, uv: Path, install: Install) -> None:
        """It is asked for its version, and killed long before the deadline."""
        script(uv, "sleep 300")
        tools = Tools(("uv", "pip"), os.environ, patience=0.5)
        assert install(tools).outcome == Outcome.HEALED
        assert tools.trouble(tools.preferred()[0]) == "it does not answer"

    def test_an_index_that_hangs_is_no_fault_of_the_tool(
        self, world: World, install: Install
    ) -> None:
        """A tool that says its version is waited for until the deadline."""
        world.index.page_faults["prey"] = Fault.HANG
        tools = Tools(("uv", "pip"), os.environ)
        assert install(tools, deadline=2.0).outcome == Outcome.DEADLINE
        assert [tools.trouble(tool) for tool in tools.preferred()] == [None, None]

    def test_no_budget_is_spent(self, world: World, uv: Path) -> None:
        """The journal has one attempt, which healed."""
        script(uv, "kill -KILL $$")
        world.publish("prey")
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        assert [row.outcome for row in fixer.history()] == [Outcome.HEALED]

    def test_a_verdict_stands(self, world: World, install: Install) -> None:
        """A tool that says why it failed is not second-guessed."""
        world.index.faults["prey"] = Fault.WRONG_HASH
        tools = Tools(("uv", "pip"), os.environ)
        assert install(tools).outcome == InstallOutcome.HASH_MISMATCH
        assert len(world.index.downloads("prey")) == 1


class TestRemembering:
    """What is known of a broken tool, and until when."""

    def test_a_broken_tool_is_tried_last(self, uv: Path, install: Install) -> None:
        """It is run no more while another one works, and logged once."""
        script(uv, f'echo x >> "{uv.parent}/runs"; kill -KILL $$')
        tools = Tools(("uv", "pip"), os.environ)
        for _ in range(2):
            assert install(tools).outcome == Outcome.HEALED
        assert (uv.parent / "runs").read_text() == "x\n"

    def test_a_mended_tool_is_used_again(self, uv: Path, install: Install) -> None:
        """Another file of that name is another tool."""
        script(uv, "kill -KILL $$")
        tools = Tools(("uv", "pip"), os.environ)
        install(tools)
        script(uv, "echo uv 99")
        assert [tool.name for tool in tools.here()] == ["uv", "pip"]
        assert tools.examine(tools.here()[0]) is None

    def test_the_only_tool_is_tried_whatever_it_is(self, uv: Path, install: Install) -> None:
        """Nothing works, and the reason is said."""
        script(uv, "kill -KILL $$")
        tools = Tools(("uv",), os.environ)
        for _ in range(2):
            run = install(tools)
            assert (run.outcome, run.detail) == (InstallOutcome.INSTALLER_FAILED, "uv: signal 9")

    def test_health_finds_it_before_a_heal_does(self, world: World, uv: Path) -> None:
        """A tool that does not say its version is broken; without another one nothing heals."""
        script(uv, "exit 1")
        tools = Tools(("uv",), os.environ)
        check = next(iter(source_checks(world.settings, tools)))
        assert (check.reason, check.advice) == (
            "installer_broken",
            "uv cannot be run: install uv again",
        )

"""Healing in a process that reaps whatever child ends, as gunicorn's master does."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import World
from tests.healing.engines import committed, processes_at, run, staged, start
from tests.support.index import Fault
from tests.support.processes import wait_until

REAPING = """
import threading
def reap():
    while True:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.0001)
threading.Thread(target=reap, daemon=True).start()
"""
OUTCOME = """
result = fixer.import_module("prey").result
say(result.outcome, result.error_class)
"""
TOOLS = ("uv", "pip")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_heal(world: World, tool: str) -> None:
    """It succeeds, every time, and at the first attempt."""
    names = [f"prey{number}" for number in range(5 if tool == "uv" else 1)]
    for name in names:
        world.publish(name)
    code = f"{REAPING}\nfor name in {names}:\n    say(fixer.safe_import(name)[0])"
    assert run(world, code, tools=[tool]).split() == ["True"] * len(names)
    assert len(world.index.downloads()) == len(names)
    assert committed(world.settings.home) == names


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("fault", [Fault.WRONG_HASH, Fault.NOT_FOUND, Fault.SDIST_ONLY])
def test_a_faulty_index(world: World, fault: Fault, tool: str) -> None:
    """It ends as it does in any other process: what the installer says tells."""
    world.publish("prey")
    world.index.faults["prey"] = fault
    outcome = run(world, REAPING + OUTCOME, tools=[tool])
    assert outcome == run(world, OUTCOME, tools=[tool])
    assert committed(world.settings.home) == []


def test_a_module_that_crashes(world: World) -> None:
    """It is a crash, whatever became of the exit status."""
    world.publish("prey", files={"prey/__init__.py": "import os; os.abort()"})
    assert run(world, REAPING + OUTCOME).startswith("crashed_probe")
    assert committed(world.settings.home) == []


@pytest.mark.parametrize("reaping", ["", REAPING], ids=["alone", "reaping"])
@pytest.mark.parametrize("tool", TOOLS)
def test_an_installer_that_is_killed(world: World, tool: str, reaping: str) -> None:
    """Silence is no success: nothing is committed and nothing stays in staging."""
    world.publish("prey")
    world.index.hold()
    child = start(world, reaping + OUTCOME, tools=[tool])
    wait_until(lambda: world.index.waiting, timeout=30)
    for pid in processes_at(world.settings.home):
        if _is_installer(pid, child.pid):
            os.kill(pid, signal.SIGKILL)
    said, _ = child.communicate(timeout=30)
    assert said.split() == ["installer_failed"]
    assert (committed(world.settings.home), staged(world.settings.home)) == ([], [])


def _is_installer(pid: int, engine: int) -> bool:
    """Whether a process is one that the engine has started."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == engine
    return False

"""What a wheel can do to the interpreter that imports it, and that no worker ever sees it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.layers import KEPT_IN_QUARANTINE
from app.kinds.dependency.probe import probe
from tests.conftest import World
from tests.healing.engines import committed, processes_at, quarantined, staged
from tests.support.processes import wait_until

#: What the module does while it is imported, how the heal ends, and the error class on record.
BODIES = {
    "raises": ("raise LookupError('no')", InstallOutcome.PROBE_FAILED, "LookupError"),
    "is_no_python": ("def", InstallOutcome.PROBE_FAILED, "SyntaxError"),
    "needs_what_is_not_here": (
        "import not_there_at_all",
        InstallOutcome.PROBE_FAILED,
        "ModuleNotFoundError",
    ),
    "leaves_by_sys_exit": ("import sys; sys.exit(0)", InstallOutcome.PROBE_FAILED, "SystemExit"),
    "leaves_by_os_exit": ("import os; os._exit(0)", InstallOutcome.CRASHED_PROBE, "exit 0"),
    "leaves_with_a_status": ("import os; os._exit(7)", InstallOutcome.CRASHED_PROBE, "exit 7"),
    "segfaults": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        InstallOutcome.CRASHED_PROBE,
        "signal 11",
    ),
    "reads_null": ("import ctypes; ctypes.string_at(0)", InstallOutcome.CRASHED_PROBE, "signal 11"),
    "aborts": ("import os; os.abort()", InstallOutcome.CRASHED_PROBE, "signal 6"),
    "hangs": ("import time; time.sleep(600)", InstallOutcome.CRASHED_PROBE, "deadline"),
    "ignores_signals": (
        """
import signal, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
time.sleep(600)""",
        InstallOutcome.CRASHED_PROBE,
        "deadline",
    ),
    "stops_itself": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        InstallOutcome.CRASHED_PROBE,
        "deadline",
    ),
    "writes_to_every_descriptor": (
        """
import os
for number in range(3, 64):
    try:
        os.write(number, b'{')
    except OSError:
        pass""",
        InstallOutcome.CRASHED_PROBE,
        "garbled verdict",
    ),
    "closes_every_descriptor": (
        "import os, time\nos.closerange(0, 64)\ntime.sleep(600)",
        InstallOutcome.CRASHED_PROBE,
        "signal 9",
    ),
    "raises_what_cannot_be_shown": (
        "class Mute(Exception):\n    def __str__(self):\n        raise ValueError\nraise Mute",
        InstallOutcome.CRASHED_PROBE,
        "exit 1",
    ),
    "raises_lone_surrogates": (
        "raise ImportError('\\udcff', name='\\udcff')",
        InstallOutcome.PROBE_FAILED,
        "ImportError",
    ),
}
HARMLESS = {
    "prints_garbage": "import os, sys\nprint('{' * 100_000)\nos.write(1, b'\\0' * 300_000)\n"
    "print('x' * 300_000, file=sys.stderr)",
    "reads_stdin": "import sys\nassert not FORKED or sys.stdin.read() == ''",
    "starts_a_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600 if FORKED else 0,)).start()",
    "forks_a_grandchild": "import os, time\n"
    "if FORKED and os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)",
    "starts_a_program": "import subprocess\nif FORKED:\n    subprocess.Popen(['sleep', '600'])",
    "registers_exit_handlers": "import atexit, os\nif FORKED:\n    atexit.register(os.abort)",
}


@pytest.mark.parametrize("case", BODIES)
def test_a_wheel_that_does_not_import(world: World, case: str) -> None:
    """It ends in its typed outcome and in quarantine, and never reaches this process."""
    body, outcome, error_class = BODIES[case]
    seen = world.root / "seen"
    mark = f"import os\nwith open({str(seen)!r}, 'a') as file: print(os.getpid(), file=file)"
    world.publish("prey", files={"prey/__init__.py": f"{mark}\n{body}\n"})
    fixer = world.fixer(probe_deadline=0.7 if error_class == "deadline" else 20.0)
    before, threads = list(sys.path), threading.active_count()
    report = fixer.import_module("prey")
    assert report.result is not None
    assert (report.result.outcome, report.result.error_class) == (outcome, error_class)
    assert "prey" not in sys.modules
    importers = seen.read_text().split() if seen.exists() else []
    assert len(importers) <= 1
    assert str(os.getpid()) not in importers
    assert (sys.path, threading.active_count()) == (before, threads)
    assert [(row.outcome, row.error_class) for row in fixer.history()] == [(outcome, error_class)]
    home = world.settings.home
    assert (committed(home), staged(home), quarantined(home)) == ([], [], ["prey"])
    assert fixer.safe_import("wave")[0]
    wait_until(lambda: not processes_at(home))


@pytest.mark.parametrize("case", HARMLESS)
def test_a_wheel_that_imports_with_noise(world: World, case: str) -> None:
    """It is healed, and whatever the probe's import started is gone."""
    # What would disturb the test's own process happens in the probe alone.
    guard = f"import os\nFORKED = os.getpid() != {os.getpid()}\n"
    world.publish("prey", files={"prey/__init__.py": f"{guard}{HARMLESS[case]}\n"})
    started = time.monotonic()
    assert world.fixer(probe_deadline=20.0).safe_import("prey")[0]
    assert time.monotonic() - started < 10
    wait_until(lambda: not processes_at(world.settings.home))


def test_a_grandchild_of_a_crash(world: World) -> None:
    """A program that a crashing wheel has started dies with the probe."""
    body = (
        "import subprocess, os\n"
        "subprocess.Popen(['sleep', '600'], cwd=os.path.dirname(__file__))\nos.abort()"
    )
    world.publish("prey", files={"prey/__init__.py": body})
    report = world.fixer().import_module("prey")
    assert report.result is not None
    assert report.result.error_class == "signal 6"
    wait_until(lambda: not processes_at(world.settings.home))


def test_quarantine_is_bounded(world: World) -> None:
    """Only the newest directories that failed the probe are kept."""
    names = [f"prey{number}" for number in range(KEPT_IN_QUARANTINE + 2)]
    for name in names:
        world.publish(name, files={f"{name}.py": "raise ValueError"})
    fixer = world.fixer()
    for name in names:
        fixer.safe_import(name)
    assert quarantined(world.settings.home) == names[2:]


def test_quarantine_was_taken_away(world: World) -> None:
    """It is made anew, and the outcome is the probe's."""
    world.publish("prey", files={"prey.py": "raise ValueError"})
    fixer = world.fixer()
    assert fixer.mode == "heal"
    (world.settings.home / "quarantine").rmdir()
    result = fixer.import_module("prey").result
    assert result is not None
    assert result.outcome == "probe_failed"
    assert quarantined(world.settings.home) == ["prey"]


def test_the_probe_sees_what_this_process_sees(world: World) -> None:
    """A wheel may need what an earlier fix has brought."""
    world.publish("helper")
    world.publish("prey", files={"prey.py": "import helper"})
    fixer = world.fixer()
    assert fixer.safe_import("helper")[0]
    assert fixer.safe_import("prey")[0]


def test_the_probe_is_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the current directory nor Python's own settings get into the child."""
    (tmp_path / "planted.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend("")
    verdict = probe("planted", [], deadline=20, environ=os.environ)
    assert (verdict.ok, verdict.error_class, verdict.missing) == (
        False,
        "ModuleNotFoundError",
        "planted",
    )


def test_the_first_import_finds_bytecode(world: World) -> None:
    """What the probe has loaded is compiled when the worker imports it."""
    world.publish("prey", files={"prey/__init__.py": "from prey import part", "prey/part.py": ""})
    fixer = world.fixer()
    assert fixer.safe_import("prey")[0]
    cached = [path.name.split(".")[0] for path in world.settings.home.rglob("*.pyc")]
    assert sorted(cached) == ["__init__", "part"]

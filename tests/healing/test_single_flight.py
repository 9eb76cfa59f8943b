"""Threads and processes that miss the same module at the same moment install it once."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from app.healing.kind import Outcome
from app.healing.locks import Busy, exclusive
from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.imports import ImportReport
from app.settings.declarations import Mode
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.engines import (
    answers,
    committed,
    crowd,
    openers,
    processes_at,
    release,
    run,
    staged,
    start,
)
from tests.support.index import Fault
from tests.support.processes import STALL, wait_until

CROWD = 8
MISS = """
at_barrier()
report = fixer.import_module("prey")
say(report.success, report.result.outcome)
"""


def lock_file(world: World, subject: str = "prey") -> Path:
    """Return the file that whoever works on a subject holds."""
    return world.settings.home / "claims" / f"dependency.{subject}"


def all_wait(world: World) -> None:
    """Return when one installer is downloading and all others stand before the lock."""
    path = lock_file(world)
    # The installer has inherited the file of the one that holds it.
    wait_until(lambda: (world.index.waiting, openers(path)) == (1, CROWD + 1), timeout=30)


@pytest.mark.parametrize("fault", [None, Fault.NOT_FOUND])
class TestCrowd:
    """One install, and one outcome for everybody."""

    def test_processes(self, world: World, fault: Fault | None) -> None:
        """Eight processes cause one download and one journal row."""
        self.publish(world, fault)
        with crowd(world, CROWD, MISS) as children:
            release(children)
            all_wait(world)
            world.index.release()
            said = answers(children)
        assert said == ["False not_found" if fault else "True healed"] * CROWD
        self.check(world, fault)

    def test_threads(self, world: World, fault: Fault | None) -> None:
        """So do eight threads of one process."""
        self.publish(world, fault)
        fixer = world.fixer()
        reports: list[ImportReport] = []
        threads = [
            threading.Thread(target=lambda: reports.append(fixer.import_module("prey")))
            for _ in range(CROWD)
        ]
        for thread in threads:
            thread.start()
        all_wait(world)
        world.index.release()
        for thread in threads:
            thread.join()
        outcomes = {report.result.outcome for report in reports if report.result}
        assert outcomes == {InstallOutcome.NOT_FOUND if fault else Outcome.HEALED}
        assert [report.success for report in reports] == [fault is None] * CROWD
        self.check(world, fault)

    def publish(self, world: World, fault: Fault | None) -> None:
        """Offer a module whose download waits for a word of the test."""
        world.publish("prey")
        if fault:
            world.index.faults["prey"] = fault
        world.index.hold()

    def check(self, world: World, fault: Fault | None) -> None:
        """One download, one row, one layer or none."""
        assert len(world.index.downloads("prey")) == 1
        assert world.fixer().fix_attempts == {"prey": 1}
        assert committed(world.settings.home) == ([] if fault else ["prey"])
        assert staged(world.settings.home) == []


class TestHolder:
    """The one that works on a subject may die, or take its time."""

    def test_it_is_killed(self, world: World) -> None:
        """Its installer dies with it, and the next one goes on at once."""
        world.publish("prey")
        world.index.hold()
        with crowd(world, 1, MISS) as (holder,):
            release([holder])
            wait_until(lambda: world.index.waiting == 1)
            with crowd(world, 1, MISS) as (heir,):
                release([heir])
                wait_until(lambda: openers(lock_file(world)) == 3)
                holder.kill()
                killed = time.monotonic()
                wait_until(lambda: len(world.index.downloads()) == 2, interval=0.005)
                assert time.monotonic() - killed < STALL
                world.index.release()
                assert answers([heir]) == ["True healed"]
        outcomes = [row.outcome for row in world.fixer().history()]
        assert outcomes == ["healed", "interrupted"]
        assert staged(world.settings.home) == []
        wait_until(lambda: not processes_at(world.settings.home))

    def test_it_is_stopped(self, world: World) -> None:
        """What an orderly stop cuts off is no attempt; the stopping process begins no other."""
        world.publish("prey")
        world.publish("other")
        world.index.hold()
        code = """
at_barrier()
healing = fixer.heal_in_background(fixer.dependency.diagnostician.absent("prey"))
sys.stdin.readline()
fixer.stop()
other = fixer.dependency.diagnostician.absent("other")
say(fixer.heal(other).outcome, fixer.heal_in_background(other))
"""
        with crowd(world, 1, code) as (holder,):
            release([holder])
            wait_until(lambda: world.index.waiting == 1)
            assert holder.communicate("end\n", timeout=60)[0].strip() == "stopping None"
        wait_until(lambda: not processes_at(world.settings.home))
        assert len(staged(world.settings.home)) == 1
        world.index.release()
        fixer = world.fixer()
        assert (fixer.mode, fixer.history(), staged(world.settings.home)) == (Mode.HEAL, (), [])
        assert fixer.budget("prey").attempts_left == 3
        assert fixer.safe_import("prey")[0]

    def test_it_is_stopped_and_ends_in_time(self, world: World) -> None:
        """A heal that ends before its process does counts as any other."""
        world.publish("prey")
        world.index.hold()
        fixer = world.fixer()
        healing = fixer.heal_in_background(fixer.dependency.diagnostician.absent("prey"))
        wait_until(lambda: world.index.waiting == 1)
        fixer.stop()
        world.index.release()
        assert healing is not None
        assert healing.wait(60).healed
        assert [row.outcome for row in world.fixer().history()] == ["healed"]

    def test_it_is_killed_and_nobody_asks_again(self, world: World) -> None:
        """The next boot removes what it left and writes down what happened."""
        world.publish("prey")
        world.publish("sound")
        world.index.faults["prey"] = Fault.HANG
        with crowd(world, 1, MISS) as (holder,):
            release([holder])
            wait_until(world.index.downloads)
        wait_until(lambda: not processes_at(world.settings.home))
        assert len(staged(world.settings.home)) == 1
        assert run(world, "say(fixer.mode)") == "heal"
        assert staged(world.settings.home) == []
        assert [row.outcome for row in world.fixer().history()] == ["interrupted"]

    def test_a_boot_leaves_a_live_one_alone(self, world: World) -> None:
        """What a living process is installing is not touched by another's boot."""
        world.publish("prey")
        world.index.hold()
        with crowd(world, 1, MISS) as (holder,):
            release([holder])
            wait_until(lambda: world.index.waiting == 1)
            assert run(world, "say(fixer.mode)") == "heal"
            assert len(staged(world.settings.home)) == 1
            world.index.release()
            assert answers([holder]) == ["True healed"]

    def test_it_takes_too_long(self, world: World) -> None:
        """Who cannot wait any longer is told so, and nothing is installed twice."""
        world.publish("prey")
        world.index.hold()
        with crowd(world, 1, MISS) as (holder,):
            release([holder])
            wait_until(lambda: world.index.waiting == 1)
            report = world.fixer(install_deadline=0.2, probe_deadline=0.2).import_module("prey")
            assert report.result is not None
            assert report.result.outcome is Outcome.BUSY
            world.index.release()
            assert answers([holder]) == ["True healed"]
        assert len(world.index.downloads()) == 1

    def test_different_modules(self, world: World) -> None:
        """Nobody waits for somebody who works on something else."""
        world.publish("prey")
        world.publish("sound")
        world.index.faults["prey"] = Fault.HANG
        with crowd(world, 1, MISS) as (holder,):
            release([holder])
            wait_until(lambda: world.index.downloads("prey"))
            assert world.fixer().safe_import("sound")[0]
            assert holder.poll() is None


class TestLock:
    """The lock beneath."""

    def test_busy(self, tmp_path: Path) -> None:
        """A second holder, in the same thread even, waits and then gives up."""
        with exclusive(tmp_path / "lock"):
            started = time.monotonic()
            with pytest.raises(Busy), exclusive(tmp_path / "lock", 0.1):
                pass
            assert time.monotonic() - started >= 0.1
        with exclusive(tmp_path / "lock", 0):
            pass

    def test_an_error_releases_it(self, tmp_path: Path) -> None:
        """So does whatever is raised by the one who holds it."""
        with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock"):
            raise ZeroDivisionError
        with exclusive(tmp_path / "lock", 0):
            pass

    def test_a_program_that_stays_behind(self, world: World) -> None:
        """A child that inherits the lock keeps nothing after a normal end."""
        path = world.root / "lock"
        code = f"""
import subprocess
from app.healing.locks import exclusive
with exclusive(Path({str(path)!r})) as held:
    subprocess.Popen(["cat"], pass_fds=[held])
at_barrier()
"""
        child = start(world, code)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            assert openers(path) == 1
            with exclusive(path, 0):
                pass
        finally:
            child.communicate("go\n")


def test_every_engine_counts_what_was_shared(world: World) -> None:
    """A process that waited for a failure spends nothing of the budget for it."""
    world.publish("prey")
    world.index.faults["prey"] = Fault.NOT_FOUND
    fixers: list[AutoFixer] = [world.fixer() for _ in range(3)]
    world.index.hold()
    threads = [threading.Thread(target=fixer.safe_import, args=("prey",)) for fixer in fixers]
    for thread in threads:
        thread.start()
    path = lock_file(world)
    wait_until(lambda: (world.index.waiting, openers(path)) == (1, 4))
    world.index.release()
    for thread in threads:
        thread.join()
    assert {fixer.budget("prey").attempts_left for fixer in fixers} == {2}


def test_a_fork_while_the_engine_is_busy(world: World) -> None:
    """Locks that a thread of the parent holds at that moment are free in the child."""
    fixer = world.fixer()
    assert fixer.mode == "heal"
    with fixer._mutex, fixer.layers._mutex, fixer._reports._mutex:
        child = os.fork()
        if child == 0:
            # Another thread than the one that held them, as none of the parent's is here.
            worker = threading.Thread(target=fixer.adopt, daemon=True)
            worker.start()
            worker.join(5)
            os._exit(worker.is_alive())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

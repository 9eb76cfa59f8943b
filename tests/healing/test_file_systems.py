"""Homes on file systems that lack locks, shared memory or renames: healed by other ways."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from app.healing import locks
from app.healing.locks import Busy, exclusive, holder, lives
from app.isolation.workers import WorkerBoard
from tests.conftest import World
from tests.healing.engines import (
    answers,
    command,
    committed,
    quarantined,
    release,
    staged,
    standing,
)
from tests.support.index import Fault
from tests.support.processes import ROOT, wait_until
from tests.support.system_calls import Lack

#: Lines of the log go to standard output, as text.
LOGGED = """
import logging
class Say(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            say(record.getMessage(), record.__dict__.get("fields", {}).get("lacks", ""))
logging.getLogger().addHandler(Say())
"""
HEAL = LOGGED + "say(fixer.safe_import('prey')[0], fixer.fix_attempts)\n"
LEASES = "the home has no file locks: lease files take their place"
DOES_WITHOUT = "a database does without what its file system lacks"


def without(*lacks: Lack) -> tuple[str, ...]:
    """Return the beginning of a command whose process has no such calls."""
    program = (sys.executable, "-m", "tests.support.system_calls")
    return (*program, *(lack.name for lack in lacks), "--")


def run(world: World, code: str, *lacks: Lack) -> list[str]:
    """Run ``code`` in a child without some calls, and return the lines it wrote."""
    done = subprocess.run(
        [*without(*lacks), *command(world, code)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    return done.stdout.splitlines()


class TestLeases:
    """What takes the place of a lock that the kernel would release."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Return the path of a lock file."""
        return tmp_path / "lock"

    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every ``flock`` of this process fail as NFS lets it fail without its lock daemon."""

        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("fcntl.flock", flock)

    def lease(self, path: Path, text: str, age: float = 0.0) -> Path:
        """Leave a lease of somebody else's."""
        lease = path.with_name(f".{path.name}.lease")
        lease.write_text(text)
        os.utime(lease, (time.time() - age, time.time() - age))
        return lease

    def test_one_at_a_time(self, path: Path) -> None:
        """Whoever comes second is told so, and gets the lock afterwards; nothing is left."""
        with exclusive(path, 0), pytest.raises(Busy), exclusive(path, 0.01):
            pass
        with exclusive(path, 0):
            pass
        assert list(path.parent.iterdir()) == [path]

    def test_a_dead_holder(self, path: Path) -> None:
        """A lease of a process that has ended counts no more, at once; nor does one of its id."""
        dead = subprocess.run(
            [sys.executable, "-c", "from app.healing.locks import holder; print(holder())"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
        surroundings, _, _ = dead.partition(" ")
        for text in (dead, f"{surroundings} {os.getpid()} 1"):
            self.lease(path, text)
            with exclusive(path, 20):
                assert lives(text) is False
        assert lives(holder())

    @pytest.mark.parametrize("text", ["elsewhere/pid:[1] 5 77", "", "\0", "elsewhere"])
    def test_a_holder_nobody_can_look_for(self, path: Path, text: str) -> None:
        """A lease of another host, or a torn one, counts for as long as it is renewed."""
        lease = self.lease(path, text)
        with pytest.raises(Busy), exclusive(path, 0.05):
            pass
        self.lease(path, text, age=locks.LEASE + 5)
        with exclusive(path, 20):
            assert lease.read_text() == holder()

    def test_renewed(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A holder renews its lease for as long as it holds it."""
        monkeypatch.setattr(locks, "RENEWAL", 0.01)
        with exclusive(path, 0):
            lease = self.lease(path, holder(), age=1000)
            wait_until(lambda: time.time() - lease.stat().st_mtime < 500)


class TestHeals:
    """One heal, one row, one line that names what is lacking."""

    def test_without_locks(self, world: World) -> None:
        """Lease files take the place of locks, and are gone afterwards."""
        world.publish("prey")
        # uv does not go on without locks of its own cache: pip takes over.
        said = [line for line in run(world, HEAL, Lack.NO_LOCKS) if "installer" not in line]
        assert said == [LEASES + " ", f"{DOES_WITHOUT} locks", "True {'prey': 1}"]
        assert committed(world.settings.home) == ["prey"]
        assert list(world.settings.home.rglob("*.lease")) == []

    def test_without_shared_memory(self, world: World) -> None:
        """The journal has a rollback journal, and keeps what it had."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        assert not world.fixer().safe_import("prey")[0]
        del world.index.faults["prey"]
        said = run(world, HEAL, Lack.NO_SHARED_MEMORY)
        assert said == [f"{DOES_WITHOUT} shared_memory", "True {'prey': 2}"]
        with closing(sqlite3.connect(world.settings.home / "journal.sqlite3")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert standing(world.fixer().journal).id == 2

    @pytest.mark.parametrize("lack", [Lack.NO_LOCKS, Lack.NO_SHARED_MEMORY])
    def test_eight_processes(self, world: World, lack: Lack) -> None:
        """They make one install, and lose no row."""
        world.publish("prey")
        code = "at_barrier(); say(fixer.safe_import('prey')[0])"
        children = [
            subprocess.Popen(
                [*without(lack), *command(world, code)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(8)
        ]
        try:
            release(children)
            assert answers(children) == ["True"] * 8
        finally:
            for child in children:
                child.kill()
                child.communicate()
        assert len(world.fixer().history()) == 1
        assert committed(world.settings.home) == ["prey"]

    @pytest.mark.parametrize(
        ("lacks", "said"),
        [
            ((), "None None"),
            ((Lack.NO_SHARED_MEMORY,), "rollback journal None"),
            ((Lack.NO_LOCKS,), "lease file lease files"),
        ],
    )
    def test_health(self, world: World, lacks: tuple[Lack, ...], said: str) -> None:
        """The checks pass, and name what takes the place of what is lacking."""
        code = """
from app.health.standard import home_checks, journal_checks
fixer.prepare()
fixer.reset_budget("dependency", "prey")
(journal,) = journal_checks(fixer.journal)
(home,) = home_checks(settings, leases=not fixer.has_locks)
assert journal.ok
say(journal.fallback, home.fallback)
"""
        assert run(world, code, *lacks) == [said]


class TestProcesses:
    """What else is known of a process by its lock."""

    def test_workers_and_imports(self, world: World) -> None:
        """Living workers are seen; a dead one, and what it was importing, is known for dead."""
        code = """
from app.isolation.import_marks import ImportMarks
from app.isolation.workers import WorkerBoard
child = os.fork()
board, marks = WorkerBoard(settings.home), ImportMarks(settings.home)
with marks.during("bad", "bad"):
    board.write({"child": not child})
    if not child:
        os._exit(9)
    os.waitpid(child, 0)
    say([worker["child"] for worker in board.read()], len(list(marks._left("bad"))))
"""
        assert run(world, code, Lack.NO_LOCKS) == ["[False] 1"]
        assert WorkerBoard(world.settings.home).read() == ()

    def test_layers_without_renames(self, world: World) -> None:
        """A layer is copied into place, and seen whole or not; set aside and removed as any."""
        code = (
            LOGGED
            + """
from tests.healing.test_layers import commit, filled
layers, reader = fixer.layers, AutoFixer(settings).layers
layers.prepare()
reader.load()
commit(layers)
commit(layers, "other")
say(reader.load(), *sorted(layer.subject for layer in reader.committed()))
with filled(layers, "crashing") as stage:
    stage.work.mkdir(exist_ok=True)
    layers.quarantine(stage)
half = layers.site(reader.committed()[0]).parent.with_name("prey." + "0" * 32)
half.mkdir()
layers.sweep("prey")
say(half.exists(), layers.remove("other"))
import prey
say(prey.name)
"""
        )
        copied = "the home's file system does not rename directories: layers are copied into place"
        assert run(world, code, Lack.NO_RENAME) == [
            copied + " ",
            "True other prey",
            "False 1",
            "prey",
        ]
        home = world.settings.home
        assert (committed(home), quarantined(home), staged(home)) == (["prey"], ["crashing"], [])

"""A correction lasts if it is confirmed, or if the service stays healthy; else it is taken back."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from app.healing.kind import NothingToConfirm, OtherCaller
from app.kinds.configuration.fixing import (
    DIRECTORY,
    Corrections,
    Ending,
    FileChanged,
    Unconfirmed,
)
from tests.support.clock import Clock
from tests.support.processes import ROOT

WINDOW = 300.0
OLD, NEW = b"timeuot = 5\r\n", b"timeout = 5\r\n"


class Host:
    """A file, and the processes that correct it."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.home, self.file = root / "home", root / "etc" / "shop.toml"
        self.file.parent.mkdir()
        self.file.write_bytes(OLD)

    def process(self) -> Corrections:
        """What a process has that begins now."""
        return Corrections(self.home, WINDOW, clock=self.clock)

    def correct(self, caller: str = "user 1") -> Corrections:
        """Correct the file."""
        process = self.process()
        process.apply("shop", self.file, OLD, NEW, caller)
        assert self.file.read_bytes() == NEW
        return process

    def watch(self, seconds: float, *, healthy: bool | None) -> None:
        """Let the passes of two workers go on for so long."""
        workers = self.process(), self.process()
        end = self.clock() + seconds
        while self.clock() < end:
            self.clock.pass_by(min(5.0, end - self.clock()))
            for worker in workers:
                worker.settle(healthy=healthy)

    def leftovers(self) -> list[str]:
        """What is there that should not be, beside the file or under the home."""
        beside = [path.name for path in self.file.parent.iterdir() if path != self.file]
        kept = (path.name for path in (self.home / DIRECTORY).iterdir())
        return [*beside, *(name for name in kept if name != ".shop.lock")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with one file."""
    return Host(tmp_path)


class TestApply:
    """The file is replaced by one that is the same but for what is corrected."""

    def test_mode_and_link(self, host: Host, tmp_path: Path) -> None:
        """A link stays a link, and the mode of its target stays too."""
        host.file.chmod(0o640)
        link = tmp_path / "link.toml"
        link.symlink_to(host.file)
        host.process().apply("shop", link, OLD, NEW, "user 1")
        assert link.is_symlink()
        assert host.file.read_bytes() == NEW
        assert stat.S_IMODE(host.file.stat().st_mode) == 0o640
        record = host.home / DIRECTORY / "shop"
        assert stat.S_IMODE(record.stat().st_mode) == 0o600

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_owner(self, host: Host) -> None:
        """The owner stays, also when the correction is taken back."""
        os.chown(host.file, 12345, 23456)
        host.correct().confirm("shop", "user 1", keep=False)
        found = host.file.stat()
        assert (found.st_uid, found.st_gid) == (12345, 23456)
        assert host.file.read_bytes() == OLD

    def test_changed_since(self, host: Host) -> None:
        """A file that was edited since is left alone, and so is one that is gone."""
        host.file.write_bytes(b"edited = 1\n")
        with pytest.raises(FileChanged):
            host.process().apply("shop", host.file, OLD, NEW, "user 1")
        assert host.file.read_bytes() == b"edited = 1\n"
        host.file.unlink()
        with pytest.raises(FileChanged):
            host.process().apply("shop", host.file, OLD, NEW, "user 1")
        assert host.leftovers() == []

    def test_two_names(self, host: Host, tmp_path: Path) -> None:
        """A file with a second name would lose it, so it is not corrected."""
        (tmp_path / "second.toml").hardlink_to(host.file)
        with pytest.raises(OSError, match="other names"):
            host.process().apply("shop", host.file, OLD, NEW, "user 1")
        assert host.file.read_bytes() == OLD
        assert host.leftovers() == []

    def test_one_at_a_time(self, host: Host) -> None:
        """A second correction waits for the end of the first, unless the file was edited since."""
        process = host.correct()
        with pytest.raises(Unconfirmed):
            process.apply("shop", host.file, NEW, b"", "user 1")
        host.file.write_bytes(OLD)
        host.correct("user 2")
        with pytest.raises(OtherCaller):
            process.confirm("shop", "user 1")

    def test_two_processes(self, host: Host) -> None:
        """Of many who correct a file at once one does, and the others see that it has changed."""
        done: list[object] = []

        def correct() -> None:
            with suppress(FileChanged, Unconfirmed):
                done.append(host.process().apply("shop", host.file, OLD, NEW, "user 1"))

        threads = [threading.Thread(target=correct) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1
        assert host.file.read_bytes() == NEW


class TestEnd:
    """How a correction ends."""

    @pytest.mark.parametrize(("ending", "content"), [(Ending.KEPT, NEW), (Ending.TAKEN_BACK, OLD)])
    def test_by_its_caller(self, host: Host, ending: Ending, content: bytes) -> None:
        """Who has made it keeps it or takes it back, in any process, and once."""
        host.correct()
        keep = ending is Ending.KEPT
        assert host.process().confirm("shop", "user 1", keep=keep) is ending
        assert host.file.read_bytes() == content
        assert host.leftovers() == []
        with pytest.raises(NothingToConfirm):
            host.process().confirm("shop", "user 1", keep=keep)

    def test_by_somebody_else(self, host: Host) -> None:
        """Nobody else can end it."""
        host.correct()
        for keep in (True, False):
            with pytest.raises(OtherCaller):
                host.process().confirm("shop", "user 2", keep=keep)
        assert host.file.read_bytes() == NEW

    def test_healthy_all_the_while(self, host: Host) -> None:
        """It is kept where the service was healthy until the end of the time."""
        host.correct()
        host.watch(WINDOW - 1, healthy=True)
        assert host.process().pending()
        host.watch(2, healthy=True)
        assert host.file.read_bytes() == NEW
        assert host.leftovers() == []

    def test_not_healthy(self, host: Host) -> None:
        """It is taken back where the service was not, or where that is not known."""
        for healthy in (False, None):
            host.correct()
            host.watch(WINDOW - 1, healthy=healthy)
            assert host.file.read_bytes() == NEW
            host.watch(2, healthy=healthy)
            assert host.file.read_bytes() == OLD
            assert host.leftovers() == []

    def test_sick_for_a_moment(self, host: Host) -> None:
        """It is taken back where the service was not healthy once."""
        host.correct()
        host.watch(20, healthy=False)
        host.watch(100, healthy=True)
        host.watch(5, healthy=False)
        host.watch(WINDOW, healthy=True)
        assert host.file.read_bytes() == OLD

    def test_sick_at_first(self, host: Host) -> None:
        """What the checks say just after it counts for nothing: they may be from before."""
        host.correct()
        host.watch(20, healthy=False)
        host.watch(WINDOW, healthy=True)
        assert host.file.read_bytes() == NEW

    @pytest.mark.parametrize(("away", "content"), [(30.0, NEW), (100.0, OLD), (1000.0, OLD)])
    def test_restart(self, host: Host, away: float, content: bytes) -> None:
        """Time goes on while nothing runs; nobody knows what was while nobody looked for long."""
        host.correct()
        host.watch(100, healthy=True)
        host.clock.pass_by(away)
        host.watch(WINDOW, healthy=True)
        assert host.file.read_bytes() == content

    def test_edited_meanwhile(self, host: Host) -> None:
        """What the operator has written since stays, whoever ends the correction and however."""
        for edit in (b"edited = 1\n", OLD + b"more = 1\n", b""):
            host.correct()
            host.file.write_bytes(edit)
            assert host.process().confirm("shop", "user 1", keep=False) is Ending.EDITED_SINCE
            assert host.file.read_bytes() == edit
            host.file.write_bytes(OLD)
        host.correct()
        host.file.unlink()
        host.watch(WINDOW + 1, healthy=None)
        assert not host.file.exists()
        assert host.process().pending() == {}

    def test_a_clock_set_back(self, host: Host) -> None:
        """A clock that goes back by a year makes nothing last for a year."""
        host.correct()
        host.clock.pass_by(-1e7)
        host.process().settle(healthy=True)
        assert host.file.read_bytes() == OLD

    def test_a_file_that_cannot_be_written(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What cannot be taken back is tried again, and logged once."""
        host.correct()
        host.clock.pass_by(WINDOW + 1)
        second = host.file.with_name("second.toml")
        second.hardlink_to(host.file)
        process = host.process()
        for _ in range(3):
            process.settle(healthy=None)
        assert caplog.text.count("correction cannot be ended") == 1
        second.unlink()
        process.settle(healthy=None)
        assert host.file.read_bytes() == OLD

    @pytest.mark.parametrize("damage", [b"", b"{}\n", b"[]\nx", b"\xff\n", b'{"path": 1}\n'])
    def test_a_damaged_record(self, host: Host, damage: bytes) -> None:
        """A record that says nothing, or whose bytes are not those from before, changes nothing."""
        host.correct()
        record = host.home / DIRECTORY / "shop"
        whole = record.read_bytes()
        for content in (damage, whole[:-1], whole + b"x"):
            record.write_bytes(content)
            host.clock.pass_by(WINDOW + 1)
            host.process().settle(healthy=None)
            assert host.file.read_bytes() == NEW

    def test_what_it_costs(self, host: Host) -> None:
        """A pass with nothing to confirm looks once, and makes nothing."""
        process = host.process()
        process.settle(healthy=True)
        assert not host.home.exists()


CORRECT = """
import sys
from pathlib import Path
from app.kinds.configuration.fixing import Corrections
home, file, old, new = map(Path, sys.argv[1:])
old, new = old.read_bytes(), new.read_bytes()
corrections = Corrections(home, 300.0)
print(flush=True)
while True:
    corrections.apply("shop", file, old, new, "user 1")
    corrections.confirm("shop", "user 1", keep=False)
"""


def test_kill(host: Host, tmp_path: Path) -> None:
    """Whoever is killed while correcting or taking back leaves a whole file, and it is ended."""
    old, new = OLD * 5000, NEW * 5000
    for name, content in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(content)
    host.file.write_bytes(old)
    arguments = [host.home, host.file, tmp_path / "old", tmp_path / "new"]
    command = [sys.executable, "-c", CORRECT, *map(str, arguments)]
    dice = random.Random(15)  # noqa: S311 - only moments
    for _ in range(6):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            # No condition to wait for: the moment is to be any.
            time.sleep(dice.random() / 20)
            process.send_signal(signal.SIGKILL)
        assert host.file.read_bytes() in {old, new}
        # Unix time of this process, which is long after the end.
        Corrections(host.home, 300.0, clock=lambda: time.time() + 1000).settle(healthy=None)
        assert host.file.read_bytes() == old
        assert [path for path in host.file.parent.iterdir() if "auto-fix" in path.name] == []

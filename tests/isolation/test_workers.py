"""Every worker says what it serves, and no worker that is gone is spoken of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.isolation.workers import SIGN_SECONDS, WorkerBoard
from tests.serving.house import House, serving, status, workers
from tests.support.clock import Clock
from tests.support.processes import ROOT, wait_until

if TYPE_CHECKING:
    from tests.support.processes import Server


class TestStatus:
    """What /api/auto-fix/status says of processes."""

    def test_of_each_worker(self, house: House) -> None:
        """Process id, boot time, last seen, what it serves, what it does not, and why."""
        house.add("red", "import absent_thing\n")
        house.add("blue", "bp = 42\n")
        with house.serve() as server:
            wait_until(lambda: len(workers(server)) == 2)
            found = workers(server)
            assert set(found) == _children(server)
            for worker in found.values():
                assert worker["quarantined"] == {
                    "red": "missing_distribution",
                    "blue": "registration_failed",
                }
                assert worker["needs_restart"] == ["blue"]
                assert set(worker["active"]) >= {"main", "health", "auto_fix", "metrics"}
                assert worker["mode"] == "heal"
                now = datetime.now(UTC)
                seen = datetime.fromisoformat(worker["last_seen"])
                booted = datetime.fromisoformat(worker["booted_at"])
                assert now - timedelta(minutes=1) < booted <= seen + timedelta(seconds=1)
                assert now - seen < timedelta(seconds=10)

    def test_of_the_process_that_answers(self, house: House) -> None:
        """The answer names its process and that process's own blueprints."""
        house.add("red", "import absent_thing\n")
        with house.serve() as server:
            wait_until(lambda: len(workers(server)) == 2)
            answer = status(server)
            assert answer["process"]["pid"] in workers(server)
            assert answer["blueprints"]["red"]["reason"] == "missing_distribution"
            assert answer["blueprints"]["main"]["active"] is True
            seen: set[int] = set()

            def both() -> bool:
                seen.add(status(server)["process"]["pid"])
                return len(seen) == 2

            # The kernel hands connections to the same worker for a while.
            wait_until(both)
            assert seen == set(workers(server))

    def test_seen_again_and_again(self, house: House) -> None:
        """A worker that is at work was seen a moment ago, without writing its file anew."""
        with house.serve(workers=1) as server:
            (first,) = serving(server, 1, "main").values()
            wait_until(
                lambda: workers(server)[first["pid"]]["last_seen"] > first["last_seen"], timeout=10
            )


class TestDead:
    """A dead worker disappears, however it died."""

    def test_killed(self, house: House) -> None:
        """gunicorn's replacement takes the place of a worker that was killed."""
        with house.serve() as server:
            before = set(serving(server, 2, "main"))
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: victim not in workers(server))
            wait_until(lambda: len(workers(server)) == 2, timeout=20)
            assert before - {victim} < set(workers(server)) == _children(server)

    def test_all_at_once(self, house: House) -> None:
        """A server that is killed leaves files, and the next one does not believe them."""
        with house.serve() as server:
            before = set(serving(server, 2, "main"))
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            assert len(list((house.home / "workers").glob("*.json"))) == 2
        with house.serve(workers=1) as server:
            after = set(serving(server, 1, "main"))
            assert not before & after
        assert list((house.home / "workers").iterdir()) == []

    def test_reloaded(self, house: House) -> None:
        """On SIGHUP the new workers take the place of the old ones."""
        with house.serve() as server:
            before = set(serving(server, 2, "main"))
            server.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: len(workers(server)) == 2 and not before & set(workers(server)), timeout=20
            )


class TestBoard:
    """The files behind it."""

    def test_a_file_that_was_taken_away_comes_back(self, tmp_path: Path) -> None:
        """Somebody emptied the home: the worker says what it said before."""
        clock = Clock()
        board = WorkerBoard(tmp_path, clock=clock)
        board.write({"active": ["main"]})
        next((tmp_path / "workers").iterdir()).unlink()
        assert board.read() == ()
        clock.pass_by(SIGN_SECONDS)
        board.write({"active": ["main"]})
        assert [worker["active"] for worker in board.read()] == [["main"]]
        board.close()
        assert list((tmp_path / "workers").iterdir()) == []

    def test_a_sign_of_life_every_few_seconds(self, tmp_path: Path) -> None:
        """The same state does not touch the disk twice within them; another one is written."""
        clock = Clock()
        board = WorkerBoard(tmp_path, clock=clock)
        board.write({"active": []})
        (file,) = (tmp_path / "workers").iterdir()
        first = _past(file)
        board.write({"active": []})
        assert file.stat().st_mtime_ns == first
        clock.pass_by(SIGN_SECONDS)
        board.write({"active": []})
        assert file.stat().st_mtime_ns > first
        board.write({"active": ["main"]})
        assert [worker["active"] for worker in board.read()] == [["main"]]
        board.close()

    def test_nobody_removes_what_a_living_worker_has_just_written(self, tmp_path: Path) -> None:
        """Readers and a writer at full speed: the writer is always seen, by every reader."""
        code = (
            "import itertools, sys\nfrom pathlib import Path\n"
            "from app.isolation.workers import WorkerBoard\n"
            "board = WorkerBoard(Path(sys.argv[1]))\n"
            "for number in itertools.count():\n    board.write({'number': number})"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) as writer:
            try:
                reader = WorkerBoard(tmp_path)
                wait_until(reader.read)
                seen = [len(reader.read()) for _ in range(5000)]
            finally:
                writer.kill()
        assert set(seen) == {1}
        assert reader.read() == ()

    def test_what_is_no_state_is_passed_over(self, tmp_path: Path) -> None:
        """Somebody else's file in the directory harms nobody."""
        (tmp_path / "workers").mkdir()
        (tmp_path / "workers" / "x.json").write_text("no state")
        (tmp_path / "workers" / "y.json").mkdir()
        board = WorkerBoard(tmp_path)
        board.write({})
        assert len(board.read()) == 1
        board.close()

    @pytest.mark.parametrize(
        "state",
        [
            "[" * 100_000,
            "[]",
            '"x"',
            "{}",
            '{"holder": 1}',
            '{"holder": "x", "active": 5}',
            '{"holder": "x", "active": [null]}',
            '{"holder": "x", "quarantined": []}',
            '{"holder": "x", "faults": 7}',
            '{"holder": "x", "faults": [["a", "b", "c", "d"]]}',
            '{"holder": "x", "faults": [[["a"], "b", "c", 1]]}',
            '{"holder": "x", "faults": [["a", 1]]}',
        ],
    )
    def test_a_state_of_other_types_is_passed_over(self, tmp_path: Path, state: str) -> None:
        """What another release would write costs nobody a page, and its file stays."""
        (tmp_path / "workers").mkdir()
        file = tmp_path / "workers" / "other-1.json"
        file.write_text(state)
        assert WorkerBoard(tmp_path).read() == ()
        assert file.exists()

    def test_a_home_that_cannot_be_written(self, tmp_path: Path) -> None:
        """It costs the others' view, nothing else."""
        (tmp_path / "file").touch()
        board = WorkerBoard(tmp_path / "file")
        board.write({})
        board.write({})
        assert board.read() == ()
        board.close()

    def test_a_home_whose_name_is_too_long(self, tmp_path: Path) -> None:
        """It costs the others' view, nothing else."""
        board = WorkerBoard(tmp_path / ("a" * 300))
        board.write({})
        board.write({})
        assert board.read() == ()
        board.close()


def _past(file: Path) -> int:
    """Have a file seem to be an hour old; its time in nanoseconds since the epoch."""
    at = time.time_ns() - 3600 * 10**9
    os.utime(file, ns=(at, at))
    return file.stat().st_mtime_ns


def _children(server: Server) -> set[int]:
    """The workers that the kernel knows."""
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

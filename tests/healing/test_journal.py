"""The journal: append-only, bounded, shared by processes; its loss costs history alone."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.healing.budget import MAX_RETRIES
from app.healing.journal import (
    FIELDS,
    KEPT_UNWRITTEN,
    READ_WAIT,
    SCHEMA_VERSION,
    Attempt,
    Failures,
    Journal,
    Rates,
    Standing,
)
from app.healing.sqlite_file import KEPT_ASIDE
from app.settings.declarations import Mode
from tests.conftest import World
from tests.healing.engines import answers, crowd, release, run, standing, start
from tests.support.index import Fault
from tests.support.processes import wait_until

WRITE_50 = """
from app.healing.journal import Attempt, Journal
journal = Journal(Path(given["settings"].get("journal", settings.home / "journal.sqlite3")))
at_barrier()
for number in range(50):
    attempt = f"{os.getpid()}-{number}"
    row = Attempt(attempt=attempt, kind="dependency", subject="prey", cause="", outcome="network")
    assert journal.append(row)
say("done")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is, in a directory that exists."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "journal.sqlite3"


def attempt(name: str, outcome: str = "network", subject: str = "prey") -> Attempt:
    """Return an attempt."""
    return Attempt(
        attempt=name,
        kind="dependency",
        subject=subject,
        cause="missing_distribution",
        outcome=outcome,
        requirement="prey>=1",
        installed=("prey==1.0",),
        hashes=("sha256:0",),
        basis="abc",
        seconds=0.5,
        error_class="Boom",
    )


def fill(journal: Journal, count: int, start: int = 0, **changes: str) -> None:
    """Append rows with names of their own."""
    for number in range(start, start + count):
        assert journal.append(attempt(f"row{number}", **changes))


def count(journal: Journal) -> int:
    """Return the number of all attempts ever made."""
    return sum(total.count for total in journal.totals())


class TestRows:
    """What is written and what is read back."""

    def test_a_row(self, path: Path) -> None:
        """Every field comes back; time, host and process are filled in."""
        before = time.time()
        journal = Journal(path)
        assert journal.append(attempt("one"))
        (row,) = journal.attempts()
        assert before <= row.at <= time.time()
        assert row.pid == os.getpid()
        assert row.host
        told = {name: getattr(row, name) for name in FIELDS if name not in {"at", "host", "pid"}}
        assert told == {name: getattr(attempt("one"), name) for name in told}

    def test_once(self, path: Path) -> None:
        """The same attempt is written and counted once, whoever writes it."""
        assert Journal(path).append(attempt("one"))
        assert Journal(path).append(attempt("one"))
        assert (len(Journal(path).attempts()), count(Journal(path))) == (1, 1)

    def test_order_and_limits(self, path: Path) -> None:
        """The newest come first."""
        journal = Journal(path)
        fill(journal, 5)
        journal.append(attempt("other", subject="other"))
        assert [row.attempt for row in journal.attempts(2)] == ["other", "row4"]
        assert [row.attempt for row in journal.attempts(2, subject="prey")] == ["row4", "row3"]
        assert standing(journal) == Standing(5, "network", Failures(5, journal.attempts()[1].at))
        assert standing(journal, "absent") == Standing(0, "", Failures(0, 0.0))

    def test_nothing_is_made_by_reading(self, path: Path) -> None:
        """Reading a journal that is not there answers with nothing."""
        journal = Journal(path)
        assert (journal.attempts(), journal.totals()) == ((), ())
        assert list(path.parent.iterdir()) == []

    def test_the_file(self, path: Path) -> None:
        """It is in WAL mode, carries its schema's version, and its ids are never used again."""
        journal = Journal(path)
        fill(journal, 1)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
            connection.execute("DELETE FROM attempts")
            connection.commit()
        fill(journal, 1, start=1)
        assert standing(journal).id == 2

    def test_text_of_any_kind(self, path: Path) -> None:
        """Quotes, zero bytes and other scripts are text like any other."""
        journal = Journal(path)
        name = "'; DROP TABLE attempts; --\0é漢"
        assert journal.append(attempt(name, subject=name))
        assert [row.subject for row in journal.attempts()] == [name]


class TestBound:
    """The file stays small and the counters exact."""

    def test_old_rows_live_on_in_the_totals(self, path: Path) -> None:
        """Rows beyond the bound go, their counts stay."""
        journal = Journal(path, max_rows=40)
        fill(journal, 70)
        fill(journal, 10, start=70, outcome="healed")
        assert 40 <= len(journal.attempts(10_000)) <= 42
        assert journal.attempts(1)[0].attempt == "row79"
        outcomes = {total.outcome: (total.count, total.seconds) for total in journal.totals()}
        assert outcomes == {
            "network": (70, 35.0),
            "healed": (10, 5.0),
        }

    def test_the_file_stops_growing(self, path: Path) -> None:
        """However many attempts there were, the space of the oldest is used again."""
        journal = Journal(path, max_rows=20)
        fill(journal, 50)
        size = path.stat().st_size
        fill(journal, 200, start=50)
        assert path.stat().st_size <= size


class TestSharing:
    """Threads and processes write at once."""

    def test_eight_processes(self, world: World) -> None:
        """Not one of 400 rows is lost, the first of all included."""
        world.settings.home.mkdir()
        with crowd(world, 8, WRITE_50) as children:
            release(children)
            assert answers(children) == ["done"] * 8
        journal = Journal(world.settings.home / "journal.sqlite3")
        assert (len(journal.attempts(1000)), count(journal)) == (400, 400)
        names = {path.name for path in world.settings.home.iterdir()}
        assert names <= {f"journal.sqlite3{end}" for end in ("", "-wal", "-shm", ".lock")}

    def test_eight_threads(self, path: Path) -> None:
        """One instance serves all threads of a process."""
        journal = Journal(path)
        threads = [
            threading.Thread(target=fill, args=(journal, 25, 25 * number)) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count(journal) == 200

    def test_a_fork(self, path: Path) -> None:
        """A child that was forked after the first use writes too."""
        journal = Journal(path)
        fill(journal, 1)
        child = multiprocessing.get_context("fork").Process(target=fill, args=(journal, 5, 1))
        child.start()
        fill(journal, 5, start=6)
        child.join()
        assert (child.exitcode, count(journal)) == (0, 11)

    def test_a_killed_writer(self, world: World) -> None:
        """Every row that was reported is there, and the next writer goes on."""
        world.settings.home.mkdir()
        endless = WRITE_50.replace("range(50)", "range(10**9)").replace(
            "assert journal.append(row)", "journal.append(row), say(attempt)"
        )
        child = start(world, endless)
        release([child])
        assert child.stdout is not None
        reported = [child.stdout.readline().strip() for _ in range(20)]
        child.kill()
        reported += child.communicate()[0].split()
        journal = Journal(world.settings.home / "journal.sqlite3")
        written = {row.attempt for row in journal.attempts(100_000)}
        assert set(reported) <= written
        assert journal.append(attempt("next"))
        assert count(journal) == len(written) + 1


class TestLoss:
    """Whatever becomes of the file, the engine goes on and says so."""

    @staticmethod
    def garbage(path: Path) -> None:
        """Write what is no database."""
        path.write_bytes(os.urandom(4096))

    @staticmethod
    def truncated(path: Path) -> None:
        """Cut a filled journal in the middle of a page."""
        fill(Journal(path), 200)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2 + 100)

    @staticmethod
    def emptied(path: Path) -> None:
        """Leave a file without a byte."""
        path.write_bytes(b"")

    @staticmethod
    def overwritten(path: Path) -> None:
        """Put garbage in the middle of a filled journal."""
        fill(Journal(path), 200)
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))

    @staticmethod
    def of_another_program(path: Path) -> None:
        """Leave a database with other tables."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE attempts (id)")

    @pytest.mark.parametrize(
        "spoil", [garbage, truncated, emptied, overwritten, of_another_program]
    )
    def test_a_file_that_is_no_journal(
        self, path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is set aside whole, said at ERROR, and a new journal takes its place."""
        spoil(path)
        spoilt = path.read_bytes()
        journal = Journal(path)
        assert journal.append(attempt("first"))
        assert [row.attempt for row in journal.attempts()] == ["first"]
        assert count(journal) == 1
        (aside,) = path.parent.glob("*.corrupt-*")
        assert aside.read_bytes() == spoilt
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert [record.message for record in errors] == [
            "the journal was corrupt: it is set aside and a new one is begun"
        ]
        assert journal.lacks is None

    def test_of_a_newer_release(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A journal whose schema this release does not know is left as it is, and that is said."""
        fill(Journal(path), 1)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.read_bytes()
        journal = Journal(path)
        assert not journal.append(attempt("second"))
        assert (journal.attempts(), journal.readable()) == ((), False)
        assert path.read_bytes() == before
        assert list(path.parent.glob("*.corrupt-*")) == []
        assert "schema version 2 is of a later release" in str(caplog.records[0].fields)  # type: ignore[attr-defined]

    def test_reading_one_first(self, path: Path) -> None:
        """A read sets it aside too, and finds nothing."""
        path.write_bytes(os.urandom(4096))
        assert Journal(path).totals() == ()
        assert len(list(path.parent.glob("*.corrupt-*"))) == 1

    def test_eight_processes_find_one(self, world: World) -> None:
        """They set it aside once, and lose no row of theirs."""
        world.settings.home.mkdir()
        (world.settings.home / "journal.sqlite3").write_bytes(os.urandom(4096))
        with crowd(world, 8, WRITE_50) as children:
            release(children)
            assert answers(children) == ["done"] * 8
        assert count(Journal(world.settings.home / "journal.sqlite3")) == 400
        assert len(list(world.settings.home.glob("*.corrupt-*"))) == 1

    def test_only_a_few_are_kept(self, path: Path) -> None:
        """A journal that is spoilt over and over does not fill the disk."""
        for number in range(KEPT_ASIDE + 2):
            path.write_bytes(b"spoilt %d" % number)
            assert Journal(path).append(attempt("row"))
        kept = sorted(aside.read_bytes() for aside in path.parent.glob("*.corrupt-*"))
        assert kept == [b"spoilt %d" % number for number in range(2, KEPT_ASIDE + 2)]

    def test_deleted_while_running(self, path: Path) -> None:
        """A new one is begun; nothing of the old one's log gets into it."""
        journal = Journal(path)
        with closing(sqlite3.connect(path.with_name("other"))):
            fill(journal, 3)
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("SELECT * FROM attempts").fetchall()
            fill(journal, 3, start=3)
            assert path.with_name("journal.sqlite3-wal").stat().st_size
            path.unlink()
            assert journal.totals() == ()
            fill(journal, 1, start=6)
        assert [row.attempt for row in journal.attempts()] == ["row6"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_a_directory_that_is_gone(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing can be written, which is said and raises nothing."""
        path.parent.rmdir()
        journal = Journal(path)
        assert not journal.append(attempt("one"))
        assert journal.totals() == ()
        assert "the journal cannot be used" in caplog.text


class TestLocked:
    """Somebody else holds the file."""

    def test_what_waits_is_written_later(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A locked journal is logged, what it should hold counts meanwhile and follows in order."""
        journal = Journal(path, busy_timeout=0.05)
        fill(journal, 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not journal.append(attempt("row1"))
            assert not journal.append(attempt("row2"))
            assert "the journal cannot be used" in caplog.text
            assert count(journal) == 1
            assert standing(journal, basis="abc").failures.count == 3
            other.execute("ROLLBACK")
        assert list(path.parent.glob("*.corrupt-*")) == []
        fill(journal, 1, start=3)
        assert [row.attempt for row in journal.attempts()] == ["row3", "row2", "row1", "row0"]
        assert standing(journal, basis="abc").failures.count == 4
        assert count(journal) == 4

    def test_reading_waits_once(self, path: Path) -> None:
        """However often a page reads a locked file, it waits a fifth of a second once."""
        journal = Journal(path)
        fill(journal, 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            other.execute("COMMIT")
            waits = []
            for _ in range(20):
                started = time.monotonic()
                assert journal.totals() == ()
                waits.append(time.monotonic() - started)
        assert waits[0] > READ_WAIT * 0.9 > sorted(waits)[10]
        assert count(journal) == 1

    def test_what_waits_is_bounded(self, path: Path) -> None:
        """A journal that is locked for ever does not fill the memory."""
        journal = Journal(path, busy_timeout=0.001)
        fill(journal, 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(KEPT_UNWRITTEN + 20):
                journal.append(attempt(f"waiting{number}"))
        fill(journal, 1, start=1)
        assert count(journal) == KEPT_UNWRITTEN + 2

    def test_the_engine_goes_on(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """A heal succeeds while another process holds the journal; its row follows."""
        world.publish("prey")
        fixer = world.fixer()
        assert fixer.mode is Mode.HEAL
        fixer.reset("prey")
        fixer.journal._busy_timeout = 0.05
        with closing(sqlite3.connect(world.settings.home / "journal.sqlite3")) as lock:
            lock.execute("BEGIN IMMEDIATE")
            assert fixer.safe_import("prey")[0]
            assert "the journal cannot be used" in caplog.text
            fixer.adopt()
            assert fixer.fix_attempts == {}
        fixer.adopt()
        assert fixer.fix_attempts == {"prey": 1}

    def test_nobody_waits_for_it(self, world: World) -> None:
        """A heal ends while others have the journal, its row counts at once and follows."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        fixer = world.fixer()
        fixer.reset("prey")
        fixer.journal._busy_timeout = patience = 100.0
        with closing(sqlite3.connect(world.settings.home / "journal.sqlite3")) as lock:
            lock.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert not fixer.safe_import("prey")[0]
            assert not fixer.safe_import("prey")[0]
            assert time.monotonic() - started < patience
            assert fixer.budget_of("dependency", "prey").attempts_left == MAX_RETRIES - 2
            lock.execute("ROLLBACK")
            wait_until(lambda: fixer.fix_attempts == {"prey": 2})

    @pytest.mark.parametrize(
        ("fault", "outcome"), [(None, "healed"), (Fault.NOT_FOUND, "not_found")]
    )
    def test_who_dies_meanwhile(
        self, world: World, fault: Fault | None, outcome: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The next process records how the attempt ended that its maker could not write."""
        world.publish("prey")
        world.index.faults = {} if fault is None else {"prey": fault}
        fixer = world.fixer()
        fixer.reset("prey")
        with closing(sqlite3.connect(world.settings.home / "journal.sqlite3")) as lock:
            lock.execute("BEGIN IMMEDIATE")
            healed = run(
                world, "fixer.journal._busy_timeout = 0.05; say(fixer.safe_import('prey')[0])"
            )
        assert healed == str(fault is None)
        heir = world.fixer()
        assert heir.mode is Mode.HEAL
        assert [row.outcome for row in heir.history()] == [outcome, "reset"]
        assert "interrupted" not in caplog.text


class TestCounters:
    """What the engine reads from it."""

    def test_across_processes_and_restarts(self, world: World) -> None:
        """Attempts and rates are those of the host, not of a process."""
        world.publish("prey")
        world.publish("sound")
        world.index.faults["prey"] = Fault.NOT_FOUND
        assert run(world, "fixer.safe_import('prey')") == ""
        assert run(world, "fixer.safe_import('prey')") == ""
        del world.index.faults["prey"]
        assert run(world, "say(fixer.safe_import('prey')[0], fixer.safe_import('sound')[0])")
        status = world.fixer().status()
        assert status["fix_attempts"] == {"prey": 3, "sound": 1}
        assert (status["success_count"], status["failure_count"]) == (2, 2)
        assert status["success_rate"] == pytest.approx(0.5)
        assert isinstance(status["modules"], dict)
        assert status["modules"]["prey"]["failure_rate"] == pytest.approx(2 / 3)
        assert world.fixer().fix_attempts == {"prey": 3, "sound": 1}

    def test_nothing_attempted(self, path: Path) -> None:
        """A rate of nothing is no number."""
        rates = Rates.of(Journal(path).totals())
        assert (rates.success_rate, rates.failure_rate) == (None, None)

    def test_rates_with_rolled_up_rows(self, path: Path) -> None:
        """Counts include what is no longer kept in full."""
        journal = Journal(path, max_rows=5)
        fill(journal, 20)
        fill(journal, 20, start=20, outcome="healed")
        rates = Rates.of(journal.totals())
        assert rates.attempts == 40
        assert rates.success_rate == pytest.approx(0.5)

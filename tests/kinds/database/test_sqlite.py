"""SQLite files that are really broken: what is said of them, and what is put in their place."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from app.healing.locks import exclusive
from app.kinds.database import sqlite
from app.kinds.database.backups import COMPANIONS, Unsound, back_up, backups_of, is_due, restore
from app.kinds.database.causes import Cause
from app.kinds.database.sqlite import cause_at, examine, mend
from tests.campaign.homes import MOUNT, UMOUNT

ROWS = 400
WAIT = 0.2


def connect(path: Path) -> closing[sqlite3.Connection]:
    """A connection as code of the owner's makes one."""
    return closing(sqlite3.connect(path, timeout=5, isolation_level=None))


def rows(path: Path) -> int:
    """How many orders there are; each is read whole."""
    with connect(path) as connection:
        return len(connection.execute("SELECT id, item FROM orders ORDER BY item").fetchall())


def fill(made: Path, journal: str = "WAL") -> Path:
    """Make a database with orders."""
    with connect(made) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL,"
            " weight INTEGER DEFAULT 1000000);"
            "CREATE INDEX by_item ON orders (item);"
        )
        items = ((f"{number % 97} " + "x" * 300,) for number in range(ROWS))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO orders (item) VALUES (?)", items)
        connection.execute("COMMIT")
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database in WAL mode, of some hundred kilobytes, and a backup of it."""
    root = tmp_path_factory.mktemp("template")
    (root / "data").mkdir()
    assert back_up(fill(root / "data" / "shop.sqlite3"), root / "backups") is not None
    return root


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """The test's own copy of that database."""
    shutil.copytree(template / "data", tmp_path / "data")
    return tmp_path / "data" / "shop.sqlite3"


@pytest.fixture
def backups(template: Path, tmp_path: Path) -> Path:
    """The test's own copy of the directory of backups."""
    return shutil.copytree(template / "backups", tmp_path / "backups")


def garble(path: Path, choose: random.Random, amount: int = 40) -> None:
    """Overwrite a few bytes wherever it happens to be."""
    content = bytearray(path.read_bytes())
    for _ in range(amount):
        start = choose.randrange(len(content))
        content[start : start + 24] = choose.randbytes(24)
    path.write_bytes(content)


def set_aside(path: Path) -> list[Path]:
    """What was set aside of a file, its companions among it."""
    return sorted(path.parent.glob(f"{path.name}.corrupt-*"))


class TestCauses:
    """What is said of a file."""

    def test_well(self, path: Path) -> None:
        """A database in use is well, to readers and to writers, and so is one not made yet."""
        with connect(path) as connection:
            connection.execute("INSERT INTO orders (item) VALUES ('new')")
            for write in (True, False):
                assert examine(path, write=write, wait=WAIT, thorough=True) is None
        assert examine(path.with_name("later.sqlite3"), write=True, wait=WAIT) is None
        assert not path.with_name("later.sqlite3").exists()

    @pytest.mark.parametrize("journal", ["WAL", "DELETE"])
    def test_locked(self, path: Path, journal: str) -> None:
        """A writer that does not end is a lock; it is waited out, and readers of a WAL are not."""
        other = fill(path.with_name("other.sqlite3"), journal)
        with connect(other) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            assert examine(other, write=True, wait=WAIT) is Cause.LOCKED
            reader = examine(other, write=False, wait=WAIT)
            assert reader is (None if journal == "WAL" else Cause.LOCKED)
            with connect(other) as connection:
                connection.execute("PRAGMA busy_timeout = 1")
                with pytest.raises(sqlite3.OperationalError) as caught:
                    connection.execute("DELETE FROM orders")
            assert cause_at(other, caught.value) is Cause.LOCKED
            patient = ThreadPoolExecutor()
            look = patient.submit(examine, other, write=True, wait=60.0)
            assert not wait([look], timeout=0.5).done
            holder.execute("ROLLBACK")
            assert look.result(60) is None
            patient.shutdown()

    def test_missing_directory(self, path: Path) -> None:
        """A directory that is gone is named as that, by a look and by a failing statement."""
        lost = path.parent / "gone" / "shop.sqlite3"
        assert examine(lost, write=True, wait=WAIT) is Cause.MISSING_DIRECTORY
        with pytest.raises(sqlite3.OperationalError) as caught:
            sqlite3.connect(lost)
        assert cause_at(lost, caught.value) is Cause.MISSING_DIRECTORY
        assert not lost.parent.exists()

    @pytest.mark.parametrize(
        "content",
        [b"no database, only text\n" * 500, bytes(range(255, -1, -1)) * 32],
        ids=["text", "bytes"],
    )
    def test_not_a_database(self, path: Path, content: bytes) -> None:
        """What is something else is not taken for a database that broke."""
        path.write_bytes(content)
        assert examine(path, write=True, wait=WAIT) is Cause.NOT_A_DATABASE
        assert path.read_bytes() == content

    def test_a_directory_in_its_place(self, path: Path) -> None:
        """A directory is no database either."""
        other = path.with_name("directory")
        other.mkdir()
        assert examine(other, write=True, wait=WAIT) is Cause.NOT_A_DATABASE

    def test_a_garbled_statement(self, path: Path) -> None:
        """An error of a statement, or of anything else, is no fault of the database."""
        with connect(path) as connection, pytest.raises(sqlite3.Error) as caught:
            connection.execute("SELECT nothing FROM nowhere")
        assert cause_at(path, caught.value) is None
        assert cause_at(path, ValueError("database is locked")) is None

    def test_an_index_that_lies(self, path: Path) -> None:
        """Only a thorough look reads the indexes."""
        with connect(path) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'item)', 'id)')")
        assert examine(path, write=True, wait=WAIT) is None
        assert examine(path, write=True, wait=WAIT, thorough=True) is Cause.CORRUPT


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system of one megabyte, and takes it away at the end."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str = "rw") -> Path:
        what = "tmpfs" if "remount" not in options else "none"
        command = [MOUNT, "-t", "tmpfs", "-o", f"size=1m,{options}", what, str(place)]
        subprocess.run(command, check=True)
        return place

    yield mount
    subprocess.run([UMOUNT, "-l", str(place)], check=True)


def repeat(connection: sqlite3.Connection, statement: str) -> None:
    """Do the same for as long as that goes well."""
    while True:
        connection.execute(statement)


class TestDisks:
    """Disks that do not do their part."""

    def test_full(self, mounted: Callable[..., Path]) -> None:
        """It is the disk, nothing is lost, and what the log of writes held is made room of."""
        disk = mounted()
        filler = disk / "filler"
        filler.write_bytes(bytes(300_000))
        path = fill(disk / "shop.sqlite3")
        with connect(path) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            with pytest.raises(sqlite3.Error) as caught:
                repeat(connection, "INSERT INTO orders (item) SELECT hex(zeroblob(4500))")
        assert cause_at(path, caught.value) is Cause.DISK_FULL
        assert examine(path, write=True, wait=WAIT) is Cause.DISK_FULL
        with pytest.raises((OSError, sqlite3.Error)):
            back_up(path, disk / "backups")
        assert not list((disk / "backups").glob("shop*"))
        filler.unlink()
        assert examine(path, write=True, wait=WAIT, thorough=True) is None
        assert rows(path) >= ROWS

    def test_a_log_that_fills_it(self, mounted: Callable[..., Path]) -> None:
        """Writing the log into the file makes room."""
        path = fill(mounted() / "shop.sqlite3")
        with connect(path) as reader:
            # Who has it open keeps the log when another one closes it.
            reader.execute("SELECT count(*) FROM orders").fetchone()
            with connect(path) as connection:
                connection.execute("PRAGMA wal_autocheckpoint = 0")
                with pytest.raises(sqlite3.Error) as caught:
                    repeat(connection, "UPDATE orders SET weight = weight + 1")
            assert cause_at(path, caught.value) is Cause.DISK_FULL
            assert examine(path, write=True, wait=WAIT) is Cause.DISK_FULL
            assert mend(path, Cause.DISK_FULL, copies=None, wait=WAIT) is None
        assert examine(path, write=True, wait=WAIT, thorough=True) is None

    def test_read_only(self, mounted: Callable[..., Path]) -> None:
        """What can only be read is no fault to who only reads."""
        path = fill(mounted() / "shop.sqlite3", "DELETE")
        before = path.read_bytes()
        mounted("remount,ro")
        assert examine(path, write=True, wait=WAIT) is Cause.READONLY
        assert examine(path, write=False, wait=WAIT, thorough=True) is None
        with pytest.raises(sqlite3.OperationalError) as caught, connect(path) as connection:
            connection.execute("DELETE FROM orders")
        assert cause_at(path, caught.value) is Cause.READONLY
        assert path.read_bytes() == before


class TestBackups:
    """Copies of a database in use."""

    def test_are_rotated(self, path: Path, backups: Path) -> None:
        """The newest few stay, whatever the clock says, and each is whole."""
        for more in range(5):
            with connect(path) as connection:
                connection.execute("INSERT INTO orders (item) VALUES ('more')")
            made = back_up(path, backups, keep=3)
            assert made is not None
            assert rows(made) == ROWS + more + 1
            os.utime(made, (0, 1e9 - more))
        kept = backups_of(path, backups)
        assert [one.name[-6:] for one in kept] == ["000006", "000005", "000004"]
        assert [one.stat().st_mode & 0o777 for one in kept] == [0o600] * 3

    def test_one_that_fails_its_check(self, path: Path, backups: Path) -> None:
        """It replaces none, and nothing of it stays."""
        before = {one: one.read_bytes() for one in backups.iterdir() if one.is_file()}
        content = bytearray(path.read_bytes())
        content[3 * 4096 : 6 * 4096] = os.urandom(3 * 4096)
        path.write_bytes(content)
        with pytest.raises((sqlite3.Error, Unsound)):
            back_up(path, backups, keep=1)
        assert {one: one.read_bytes() for one in backups.iterdir() if one.is_file()} == before

    def test_while_others_write(self, path: Path, backups: Path) -> None:
        """A copy holds whole transactions of a writer that does not stop for it."""
        done, written = threading.Event(), [0]

        def write() -> None:
            with connect(path) as connection:
                while not done.is_set():
                    connection.execute("BEGIN IMMEDIATE")
                    for _ in range(2):
                        connection.execute("INSERT INTO orders (item) VALUES ('pair')")
                    connection.execute("COMMIT")
                    written[0] += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = [back_up(path, backups) for _ in range(10)]
        finally:
            done.set()
            writer.join()
        assert None not in made
        for one in backups_of(path, backups):
            assert (rows(one) - ROWS) % 2 == 0
        assert written[0] > 0

    def test_are_made_when_due(self, path: Path, backups: Path) -> None:
        """None is made while the newest is new; one from the future counts for nothing."""
        assert back_up(path, backups, every=3600.0) is None
        newest = backups_of(path, backups)[0]
        for age in (-7200.0, 7200.0):
            os.utime(newest, (0, time.time() - age))
            assert is_due(path, backups, 3600.0)
        assert back_up(path, backups, every=3600.0) is not None

    def test_by_one_at_a_time(self, path: Path, backups: Path) -> None:
        """Of two processes that want one at once, the second makes none."""
        with exclusive(backups / f".{path.name}.lock"):
            assert back_up(path, backups) is None

    def test_one_that_was_killed(self, path: Path, backups: Path) -> None:
        """What a process left that was ended while it copied is no backup and in nobody's way."""
        (backups / f".{path.name}.partial").write_bytes(b"half")
        (backups / f"{path.name}.backup-zzz").write_bytes(b"not ours")
        assert back_up(path, backups) is not None
        assert not (backups / f".{path.name}.partial").exists()
        assert len(backups_of(path, backups)) == 2


class TestRestored:
    """A damaged file, and the newest backup in its place."""

    @pytest.mark.parametrize("seed", range(100))
    def test_corrupted_at_random_bytes(self, path: Path, backups: Path, seed: int) -> None:
        """What a look finds is replaced whole; what was there lies beside it, to the byte."""
        with connect(path) as connection:
            # Its companions are there while somebody has it open.
            connection.execute("INSERT INTO orders (item) VALUES ('late')")
            log = Path(f"{path}-wal")
            assert log.exists()
            garble(path, random.Random(seed), amount=1 + seed % 30)  # noqa: S311 - no secret
            before, logged = path.read_bytes(), log.read_bytes()
            cause = examine(path, write=True, wait=5.0, thorough=True)
            if cause is None:
                # The log, or the row's own bytes, were hit: it reads as a database still.
                assert rows(path) > 0
                return
            assert cause in sqlite.DAMAGED
            restored = mend(path, cause, copies=backups, wait=WAIT)
            assert restored == backups_of(path, backups)[0]
            aside, aside_shm, aside_log = set_aside(path)
            assert (aside_shm.name[-4:], aside_log.name[-4:]) == ("-shm", "-wal")
            assert aside.read_bytes() == before
            assert aside_log.read_bytes() == logged
        assert examine(path, write=True, wait=5.0, thorough=True) is None
        assert rows(path) == ROWS
        with connect(path) as connection:
            connection.execute("INSERT INTO orders (item) VALUES ('after')")

    @pytest.mark.parametrize("where", ["header", "page", "middle", "end"])
    def test_garbled_where_it_shows(self, path: Path, backups: Path, where: str) -> None:
        """Whichever part is gone, the rows of the backup are there again."""
        content = bytearray(path.read_bytes())
        start = {"header": 0, "page": 4096, "middle": len(content) // 2, "end": len(content) // 2}
        content[start[where] : start[where] + 4096] = os.urandom(4096)
        path.write_bytes(content[: len(content) // 2] if where == "end" else content)
        cause = examine(path, write=True, wait=WAIT, thorough=True)
        assert cause in sqlite.DAMAGED
        assert mend(path, cause, copies=backups, wait=WAIT) is not None
        assert examine(path, write=True, wait=WAIT, thorough=True) is None
        assert rows(path) == ROWS

    def test_a_log_of_another_file(self, path: Path, backups: Path) -> None:
        """The log of the damaged file, or its journal, is not replayed into the backup."""
        for suffix in COMPANIONS:
            path.with_name(path.name + suffix).write_bytes(os.urandom(5000))
        path.write_bytes(b"gone" * 999)
        assert restore(path, backups) is not None
        assert len(set_aside(path)) == 4
        assert rows(path) == ROWS

    def test_the_newest_that_is_sound(self, path: Path, backups: Path) -> None:
        """A backup that was damaged itself is passed over, and stays."""
        for number in (2, 3):
            bad = backups / f"{path.name}.backup-{number:06}"
            bad.write_bytes(path.read_bytes()[: 4096 * number])
        path.write_bytes(b"gone" * 999)
        restored = restore(path, backups)
        assert restored is not None
        assert restored.name.endswith("000001")
        assert rows(path) == ROWS
        assert len(backups_of(path, backups)) == 3

    @pytest.mark.parametrize("there", [False, True])
    def test_without_a_sound_backup(self, path: Path, tmp_path: Path, *, there: bool) -> None:
        """Nothing is touched: what is left may be all that there is."""
        directory = tmp_path / "none"
        if there:
            directory.mkdir()
            (directory / f"{path.name}.backup-000001").write_bytes(b"no backup")
        garble(path, random.Random(1), amount=200)  # noqa: S311 - no secret
        before = path.read_bytes()
        assert restore(path, directory) is None
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_the_directory_was_removed(self, path: Path, backups: Path) -> None:
        """It is made again, for this user alone, and the newest backup lies in it."""
        path.unlink()
        path.parent.rmdir()
        cause = examine(path, write=True, wait=WAIT)
        assert cause is Cause.MISSING_DIRECTORY
        assert mend(path, cause, copies=backups, wait=WAIT) is not None
        assert rows(path) == ROWS
        assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_without_backups_the_directory_is_made(self, path: Path) -> None:
        """And nothing in it: who connects makes the file."""
        lost = path.parent / "a" / "b" / "shop.sqlite3"
        assert mend(lost, Cause.MISSING_DIRECTORY, copies=None, wait=WAIT) is None
        assert list(lost.parent.iterdir()) == []
        assert examine(lost, write=True, wait=WAIT) is None

    def test_owner_mode_and_link(self, path: Path, backups: Path, tmp_path: Path) -> None:
        """The file has the mode and the owner of the one before, and a link leads to it still."""
        path.chmod(0o640)
        os.chown(path, 12345, 12345)
        link = tmp_path / "link.sqlite3"
        link.symlink_to(path)
        path.write_bytes(b"gone" * 999)
        assert restore(link, backups) is not None
        assert link.is_symlink()
        found = path.stat()
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 12345, 12345)

    def test_killed_at_any_moment(self, path: Path, backups: Path) -> None:
        """A process that is killed while it restores leaves a file, never none and never an empty.

        The next one ends what it began.
        """
        code = (
            "import sys; from pathlib import Path; from app.kinds.database import backups\n"
            "print(flush=True); backups.restore(Path(sys.argv[1]), Path(sys.argv[2]))"
        )
        for moment in range(6):
            path.write_bytes(b"gone" * 5000)
            command = [sys.executable, "-c", code, str(path), str(backups)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(moment / 1000)
                child.kill()
            assert path.stat().st_size > 0
            cause = examine(path, write=True, wait=WAIT, thorough=True)
            if cause is not None:
                assert mend(path, cause, copies=backups, wait=WAIT) is not None
            assert rows(path) == ROWS

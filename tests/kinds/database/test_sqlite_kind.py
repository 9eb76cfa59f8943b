"""Databases that are files, as the kind watches and mends them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.exc import DatabaseError

from app.healing.kind import Fault, Outcome, Work
from app.kinds.database.backups import back_up, backups_of
from app.kinds.database.causes import Cause
from app.kinds.database.declaration import Database, InvalidURL
from app.kinds.database.kind import DatabaseKind
from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.kinds.database.conftest import Process
from tests.serving.house import all_workers, status, working
from tests.support.postgres import Postgres
from tests.support.processes import wait_until

ROWS = 300
WORK = Work(attempt="1", claim=-1, deadline=20.0)
#: Names the database, whatever it is that is wrong with it.
ANY = Fault(kind="database", subject="main", cause="", advice="")
COUNT = sqlalchemy.text("SELECT count(*), sum(length(item)) FROM orders")
#: Counts what a whole look at the table says, and has no gate.
ORDERS = """\
import flask
import sqlalchemy
from app.kinds.database.engines import databases

bp = flask.Blueprint("orders", __name__)


@bp.get("/")
def orders():
    with databases(flask.current_app)["main"].connect() as connection:
        row = connection.execute(sqlalchemy.text("SELECT sum(length(item)) FROM orders")).one()
    return {"sum": row[0]}
"""


def fill(path: Path) -> Path:
    """Make a database of some hundred kilobytes."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO orders (item) VALUES (?)", [("x" * 500,)] * ROWS)
        connection.execute("COMMIT")
    return path


def damage(path: Path) -> bytes:
    """Overwrite pages in the middle, which nothing but who reads them notices; what is there."""
    content = bytearray(path.read_bytes())
    content[4 * 4096 : 12 * 4096] = b"\xff" * (8 * 4096)
    path.write_bytes(content)
    return bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is well."""
    return fill(tmp_path / "data" / "shop.sqlite3")


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Where its backups are."""
    return tmp_path / "copies"


@pytest.fixture
def watch(path: Path, copies: Path, tmp_path: Path) -> Iterator[Callable[..., DatabaseKind]]:
    """Makes the kind as a process of the host has it."""
    made: list[DatabaseKind] = []

    def make(*, backups: bool = True) -> DatabaseKind:
        main = Database(
            "main",
            f"sqlite:///{path}",
            connect_timeout=1.0,
            backups=copies if backups else None,
        )
        kind = DatabaseKind(lambda: {"main": main}, {}, tmp_path / "home")
        kind.adopt()
        made.append(kind)
        return kind

    yield make
    for kind in made:
        kind.databases.close()


def read(kind: DatabaseKind) -> tuple[int, int]:
    """What a request reads."""
    with kind.databases["main"].connect() as connection:
        count, length = connection.execute(COUNT).one()
    return count, length


def meet(kind: DatabaseKind) -> str:
    """Have a request meet what is wrong, and let the kind explain it; the cause."""
    with pytest.raises(DatabaseError) as caught:
        read(kind)
    fault = kind.explain(caught.value)
    assert fault is not None
    kind.adopt()
    return fault.cause


class TestDamaged:
    """Pages in the middle are gone: a probe does not see that, a request does."""

    def test_is_restored(
        self, watch: Callable[..., DatabaseKind], path: Path, copies: Path
    ) -> None:
        """The newest backup serves, in every process, and what was there lies beside it."""
        back_up(path, copies)
        kind, other = watch(), watch()
        assert read(kind) == read(other) == (ROWS, ROWS * 500)
        kind.databases.dispose("main")
        before = damage(path)
        assert meet(kind) == Cause.CORRUPT
        unmet = kind.unmet("main")
        assert unmet is not None
        assert unmet.fixable
        repair = kind.repair(unmet, WORK)
        assert (repair.outcome, repair.installed[0]) == (
            Outcome.HEALED,
            "shop.sqlite3.backup-000001",
        )
        assert (kind.unmet("main"), tuple(kind.faults())) == (None, ())
        # The other process has a connection to the file that was there.
        assert read(kind) == read(other) == (ROWS, ROWS * 500)
        (aside,) = path.parent.glob("shop.sqlite3.corrupt-*[0-9]")
        assert aside.read_bytes() == before

    def test_another_process_has_restored_it(
        self, watch: Callable[..., DatabaseKind], path: Path, copies: Path
    ) -> None:
        """Who comes second finds it well, and restores nothing."""
        back_up(path, copies)
        kind, other = watch(), watch()
        damage(path)
        assert meet(kind) == meet(other) == Cause.CORRUPT
        for each in (kind, other):
            (fault,) = each.faults()
            assert each.repair(fault, WORK).healed
        assert len(list(path.parent.glob("shop.sqlite3.corrupt-*[0-9]"))) == 1

    def test_without_a_backup(self, watch: Callable[..., DatabaseKind], path: Path) -> None:
        """It is not touched, and it is said what to do."""
        kind = watch(backups=False)
        before = damage(path)
        assert meet(kind) == Cause.CORRUPT
        (fault,) = kind.faults()
        assert (fault.refusal, fault.fixable) == (Outcome.NOT_FIXABLE, False)
        assert "restore one by hand" in fault.advice
        assert path.read_bytes() == before

    def test_no_backup_is_sound(
        self, watch: Callable[..., DatabaseKind], path: Path, copies: Path
    ) -> None:
        """The attempt fails, the file stays, and so does the fault."""
        copies.mkdir()
        (copies / "shop.sqlite3.backup-000001").write_bytes(b"none")
        kind = watch()
        before = damage(path)
        assert meet(kind) == Cause.CORRUPT
        (fault,) = kind.faults()
        assert kind.repair(fault, WORK).outcome == "no_backup"
        assert kind.unmet("main") is not None
        assert path.read_bytes() == before


class TestOthers:
    """What else can be wrong with a file."""

    def test_the_directory_was_removed(
        self, watch: Callable[..., DatabaseKind], path: Path, copies: Path
    ) -> None:
        """It is made again, and the newest backup lies in it."""
        back_up(path, copies)
        kind = watch()
        kind.databases.close()
        shutil.rmtree(path.parent)
        fault = kind.recheck(ANY)
        assert fault is not None
        assert fault.cause == Cause.MISSING_DIRECTORY
        assert kind.repair(fault, WORK).healed
        assert read(kind) == (ROWS, ROWS * 500)

    def test_locked(self, watch: Callable[..., DatabaseKind], path: Path) -> None:
        """It stops no request that reads; one that writes is told, and the lock is waited out."""
        kind = watch()
        write = sqlalchemy.text("UPDATE orders SET item = 'y' WHERE id = 1")
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            engine = kind.databases["main"]
            with engine.connect() as connection, pytest.raises(DatabaseError) as caught:
                connection.execute(write)
            fault = kind.explain(caught.value)
            assert fault is not None
            assert (fault.cause, fault.fixable) == (Cause.LOCKED, True)
            assert kind.recheck(fault) == fault
            assert kind.unmet("main") is None
            assert read(kind) == (ROWS, ROWS * 500)
            with ThreadPoolExecutor() as pool:
                repair = pool.submit(kind.repair, fault, WORK)
                assert not wait([repair], timeout=0.2).done
                holder.execute("ROLLBACK")
                assert repair.result(60).healed
        with kind.databases["main"].begin() as connection:
            connection.execute(write)

    def test_not_a_database(self, watch: Callable[..., DatabaseKind], path: Path) -> None:
        """A file of another kind is left alone where there never was a backup."""
        path.write_bytes(b"letter to a friend\n" * 500)
        Path(f"{path}-wal").unlink(missing_ok=True)
        kind = watch()
        (fault,) = kind.faults()
        assert (fault.cause, fault.refusal) == (Cause.NOT_A_DATABASE, Outcome.NOT_FIXABLE)

    def test_is_backed_up(
        self, watch: Callable[..., DatabaseKind], path: Path, copies: Path
    ) -> None:
        """A database that is well has a backup soon, and no second one within the hour."""
        kinds = [watch(), watch()]

        def made() -> list[Path]:
            for kind in kinds:
                kind.adopt()
            return backups_of(path, copies)

        wait_until(made)
        for _ in range(20):
            assert len(made()) == 1

    def test_a_backup_finds_the_damage(
        self, watch: Callable[..., DatabaseKind], path: Path
    ) -> None:
        """A copy that does not pass its check says that the file is damaged."""
        damage(path)
        kind = watch()

        def found() -> bool:
            kind.adopt()
            return any(fault.cause == Cause.CORRUPT for fault in kind.faults())

        wait_until(found)

    def test_is_measured(self, watch: Callable[..., DatabaseKind]) -> None:
        """Its pool has series, and who holds a connection is named by function and line."""
        kind = watch()
        assert set(kind.measure()["main"]) >= {*kind.gauges, *kind.counters}
        with kind.databases["main"].connect():
            measured = kind.measure()["main"]
        assert measured["database_connections_in_use"] == 1
        assert measured["database_checkouts_total"] == 1
        assert measured["database_up"] == 1
        assert "test_is_measured" in measured["holders"][0]
        assert kind.measure()["main"]["database_connections_in_use"] == 0

    def test_statements_that_are_wrong(self, watch: Callable[..., DatabaseKind]) -> None:
        """An error of the code's own stays one."""
        kind = watch()
        with kind.databases["main"].connect() as connection, pytest.raises(DatabaseError) as caught:
            connection.execute(sqlalchemy.text("SELECT nothing FROM nowhere"))
        assert kind.explain(caught.value) is None


def test_another_url(process: Process, server: Postgres, path: Path, tmp_path: Path) -> None:
    """Of a file or a server: it is what is used from then on, also by who kept the engine."""
    other = fill(tmp_path / "other" / "shop.sqlite3")
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("DELETE FROM orders")
    process.environ["DATABASE_URL"] = f"sqlite:///{path}"
    kind = process.kind()
    assert read(kind)[0] > 0
    kept = kind.databases["main"]
    assert kind.databases["main"] is kept
    process.environ["DATABASE_URL"] = f"sqlite:///{other}"
    assert read(kind)[0] == 0
    with pytest.raises(InvalidURL, match="ask for its engine again"):
        kept.connect()
    process.use(server.port)
    with kind.databases["main"].connect() as connected:
        assert connected.dialect.name == "postgresql"


def test_served(world: World) -> None:
    """A damaged file costs some requests of its blueprint and no process: it is mended in both."""
    path = fill(world.root / "data" / "shop.sqlite3")
    copies = world.root / "copies"
    back_up(path, copies)
    shop = Shop(world)
    shop.code("apples", working("apples"))
    shop.code("orders", ORDERS)
    text = shop.text("apples", "orders", orders='prefix = "/orders"\ndatabases = ["main"]')
    table = f'[database.main]\nurl = "sqlite:///{path}"\nbackups = "{copies}"\ncritical = true\n'
    shop.manifest.write_text(f"{text}\n{table}")
    with shop.serve() as server:
        before = set(all_workers(server, 2))
        answers(server, {"/apples": {200}, "/orders/": {200}})
        damage(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # What the others have read before is read anew after that.
            connection.execute("UPDATE orders SET item = upper(item) WHERE id = 1")
        refused = wait_until(lambda: [a for a in [server.get("/orders/")] if a.status == 503])
        assert refused[0].json()["code"] == "database_corrupt"
        answers(server, {"/apples": {200}, "/orders/": {200}}, within=60)
        assert server.get("/orders/").json() == {"sum": ROWS * 500}
        attempts = status(server)["recent_attempts"]
        ended = {(each["kind"], each["module"], each["outcome"]) for each in attempts}
        assert ("database", "main", "healed") in ended
        assert set(all_workers(server, 2)) == before
    log = (world.root / "log").read_text()
    assert "database was restored from a backup" in log

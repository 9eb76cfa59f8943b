"""Databases: how soon one is used again, what is lost, and what care of its connections costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import sqlalchemy
from sqlalchemy import Engine, text

from app.kinds.database.declaration import READER, TABLE, Database
from app.kinds.database.kind import DatabaseKind
from app.kinds.database.watch import Watch
from app.manifest import parse
from benchmarks.harness import Measurement, interleaved, spread
from benchmarks.served import house, wrk
from tests.isolation.shop import Shop, answers
from tests.serving.house import working
from tests.support.postgres import Postgres, standing_by
from tests.support.processes import Server
from tests.support.proxy import Fault, Proxy

REPEATS, STATEMENTS = 60, 50
CONNECTIONS, PROBES = 200, 1000
SECONDS, ROUNDS = 2.0, 4
WORKERS = 2
CODE = """\
import os

import flask
from sqlalchemy import text

from app.kinds.database.engines import databases

bp = flask.Blueprint("orders", __name__)


@bp.get("/")
def orders():
    with databases(flask.current_app)["main"].connect() as connection:
        return {"answer": connection.execute(text("SELECT 42")).scalar(), "pid": os.getpid()}


@bp.get("/write/<int:number>")
def order(number):
    with databases(flask.current_app)["main"].begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})
    return {"pid": os.getpid()}
"""


def measure() -> Iterator[Measurement]:
    """The targets of databases."""
    yield _restarted()
    yield from _failed_over()
    yield _terminated()
    yield _throughput()
    yield _probed()
    yield _bystander()


@contextmanager
def _served(url: str, keys: str = "") -> Iterator[Server]:
    """Two workers with a blueprint that needs a database, and one that does not."""
    with house() as here:
        shop = Shop(here.world)
        shop.code("apples", working("apples"))
        shop.code("orders", CODE)
        table = 'prefix = "/orders"\ndatabases = ["main"]'
        declared = f'\n[database.main]\nurl = "${{DATABASE_URL}}"\n{keys}\n'
        shop.manifest.write_text(shop.text("apples", "orders", orders=table) + declared)
        with shop.serve(DATABASE_URL=url) as server:
            yield server


def _restarted() -> Measurement:
    """From "accepts connections" to a good answer of every worker."""
    with Postgres() as database, _served(database.url) as server:
        answers(server, {"/orders/": {200}}, within=30)
        database.kill()
        answers(server, {"/orders/": {503}}, within=30)
        database.start()
        began = time.monotonic()
        _all_answer(server, "/orders/")
        seconds = time.monotonic() - began
    return Measurement(
        what="a database that was killed and started, to good answers of every worker",
        rule="at most",
        target=2.0,
        measured=seconds,
        unit="s",
    )


def _failed_over() -> Iterator[Measurement]:
    """From the promotion of a standby to a write by every worker, and what was lost meanwhile."""
    with Postgres() as primary:
        primary.execute("CREATE TABLE orders (number int)")
        with standing_by(primary) as standby:
            url = primary.url.replace(f":{primary.port}/", f":{primary.port},:{standby.port}/")
            url = url.replace(",:", ",127.0.0.1:")
            with _served(url) as server:
                answers(server, {"/orders/write/0": {200}}, within=30)
                numbers, stop = iter(range(1, 10**9)), threading.Event()
                good: list[int] = []

                def write() -> None:
                    while not stop.is_set():
                        number = next(numbers)
                        with suppress(OSError):
                            if server.get(f"/orders/write/{number}").status == 200:
                                good.append(number)

                writer = threading.Thread(target=write)
                writer.start()
                time.sleep(1)
                primary.stop()
                time.sleep(1)
                standby.promote()
                began = time.monotonic()
                _all_answer(server, "/orders/write/0")
                seconds = time.monotonic() - began
                stop.set()
                writer.join()
            there = {number for (number,) in standby.execute("SELECT number FROM orders")}
    yield Measurement(
        what="a standby that was promoted, to a write by every worker",
        rule="at most",
        target=5.0,
        measured=seconds,
        unit="s",
    )
    yield Measurement(
        what="writes answered 200 that are not on the new primary",
        rule="exactly",
        target=0,
        measured=len(set(good) - there),
        unit="",
        details={"writes": len(good)},
    )


def _terminated() -> Measurement:
    """Statements that fail after every backend of a pool was terminated while idle."""
    with Postgres(f"max_connections={CONNECTIONS + 20}") as database:
        keys = f"pool = {{ size = {CONNECTIONS} }}"
        with _kind(f"{database.url}?application_name=pool", keys) as kind:
            engine = kind.databases["main"]
            held = [engine.connect() for _ in range(CONNECTIONS)]
            for connection in held:
                connection.close()
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            database.execute(f"{query} WHERE application_name = 'pool'")
            while database.sessions("pool"):
                time.sleep(0.01)
            failed = sum(not _succeeds(engine) for _ in range(CONNECTIONS))
    return Measurement(
        what=f"requests that fail after {CONNECTIONS} idle backends were terminated",
        rule="at most",
        target=0,
        measured=failed,
        unit="",
    )


def _throughput() -> Measurement:
    """Checkout, one statement and return: by our engine, and by one that asks first."""
    with Postgres() as database, _kind(database.url) as kind:
        url = sqlalchemy.URL.create("postgresql+psycopg", **database.sqlalchemy)
        plain = sqlalchemy.create_engine(url, pool_pre_ping=True)

        def work(engine: Engine) -> Callable[[], float | None]:
            def ask() -> None:
                for _ in range(STATEMENTS):
                    with engine.connect() as connection:
                        connection.execute(text("SELECT 42")).scalar()

            return ask

        works = {"ours": work(kind.databases["main"]), "plain with pre_ping": work(plain)}
        times = interleaved(REPEATS, works)
        plain.dispose()
    # The least of each: what else the machine does makes the others longer.
    least = {name: min(values) for name, values in times.items()}
    return Measurement(
        what="statements a second against a plain engine with pool_pre_ping",
        rule="at least",
        target=1.0,
        measured=least["plain with pre_ping"] / least["ours"],
        unit="times",
        details=spread(times),
    )


def _probed() -> Measurement:
    """The most connections that the server ever saw of the probes."""
    with Postgres() as database, TemporaryDirectory() as home:
        declared = _declared()["main"]
        environ = {"DATABASE_URL": f"{database.url}?application_name=probes"}
        watch = Watch(declared, environ, Path(home))
        most = 0
        for number in range(PROBES):
            watch.probe()
            if number % 10 == 0:
                most = max(most, database.sessions("probes"))
    return Measurement(
        what=f"connections on the server over {PROBES} probes",
        rule="at most",
        target=1,
        measured=most,
        unit="",
    )


def _bystander() -> Measurement:
    """The p99 of a route without a database, while others ask for one that hangs."""
    with Postgres() as database, Proxy(database.port) as proxy:
        url = database.url.replace(f":{database.port}/", f":{proxy.port}/")
        with _served(url, "connect_timeout = 2") as server:
            answers(server, {"/orders/": {200}}, within=30)
            stop = threading.Event()

            def ask() -> None:
                while not stop.is_set():
                    with suppress(OSError):
                        server.get("/orders/")
                    time.sleep(0.02)

            asking = [threading.Thread(target=ask) for _ in range(2)]
            for thread in asking:
                thread.start()
            without, during = [], []
            for _ in range(ROUNDS):
                without.append(_p99(server))
                proxy.fault = Fault.HANG
                answers(server, {"/orders/": {503}}, within=30)
                during.append(_p99(server))
                proxy.fault = Fault.NONE
                answers(server, {"/orders/": {200}}, within=30)
            stop.set()
            proxy.refuse()
            for thread in asking:
                thread.join()
    return Measurement(
        what="p99 of a route without a database, while one hangs",
        rule="at most",
        target=1.1,
        # What else the machine does makes single ones longer.
        measured=min(during) / min(without),
        unit="times",
        details={"without": without, "during": during},
    )


def _p99(server: Server) -> float:
    with wrk(f"{server.url}/apples", seconds=SECONDS, connections=4) as loads:
        pass
    return loads[0].p99


def _all_answer(server: Server, path: str) -> None:
    """Wait until every worker has given a good answer."""
    good: set[int] = set()
    deadline = time.monotonic() + 60
    while len(good) < WORKERS:
        assert time.monotonic() < deadline
        with suppress(OSError):
            answer = server.get(path)
            if answer.status == 200:
                good.add(answer.json()["pid"])


def _declared(keys: str = "") -> dict[str, Database]:
    manifest = parse(f'[database.main]\nurl = "${{DATABASE_URL}}"\n{keys}\n', {TABLE: READER})
    return dict(manifest.tables[TABLE])


@contextmanager
def _kind(url: str, keys: str = "") -> Iterator[DatabaseKind]:
    declared = _declared(keys)
    with TemporaryDirectory() as home:
        kind = DatabaseKind(lambda: declared, {"DATABASE_URL": url}, Path(home))
        yield kind
        kind.databases.close()


def _succeeds(engine: Engine) -> bool:
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text("SELECT 1")).scalar())
    except (sqlalchemy.exc.SQLAlchemyError, psycopg.Error):
        return False

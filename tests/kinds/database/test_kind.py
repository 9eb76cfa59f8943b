"""A database that goes away and comes back: known, connected anew, and never harmed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import text

from app.healing.kind import Outcome
from app.kinds.database.causes import Cause
from app.kinds.database.kind import STILL_FAILING, DatabaseKind
from app.kinds.database.watch import Watch
from tests.conftest import World
from tests.kinds.database.conftest import SECONDS, WORK, Process, eventually
from tests.support.postgres import PASSWORD, USER, Postgres, standing_by
from tests.support.processes import wait_until
from tests.support.proxy import Fault, Proxy
from tests.support.sockets import free_port


def ask(kind: DatabaseKind, statement: str = "SELECT 1") -> object:
    """One statement of a request, as a view makes it."""
    with kind.databases["main"].begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


class TestProbes:
    """What is known of a database, and by how many connections."""

    def test_a_database_that_is_well_has_no_fault(self, process: Process, server: Postgres) -> None:
        """The first look waits for its probe, so the first request knows."""
        process.use(server.port)
        kind = process.kind()
        eventually(kind, None)
        assert kind.last("main").host == f"127.0.0.1:{server.port}"
        assert (list(kind.faults()), kind.unmet("main")) == ([], None)

    def test_one_process_probes_and_the_others_read_what_it_found(
        self, process: Process, proxy: Proxy
    ) -> None:
        """Eight processes of a host make no more connections than one."""
        process.use(proxy.port)
        kinds = [process.kind() for _ in range(8)]
        for kind in kinds:
            eventually(kind, None)
        assert {kind.last("main").host for kind in kinds} == {f"127.0.0.1:{proxy.port}"}
        # Under load it may be time for the next one meanwhile.
        assert proxy.accepted < len(kinds)

    def test_a_hundred_probes_leave_no_connection_behind(
        self, process: Process, server: Postgres
    ) -> None:
        """Each has one of its own, which has ended when the next begins."""
        process.use(server.port, rest="?application_name=probes")
        watch = Watch(process.declared["main"], process.environ, process.home)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(100):
            assert watch.probe().cause is None
        assert server.sessions("probes") <= 1
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1

    def test_what_a_message_stands_for_is_found_out_once(
        self, process: Process, proxy: Proxy
    ) -> None:
        """The same failure costs one connection from then on: libpq frees no trace whole."""
        process.use(proxy.port, login=("nobody", PASSWORD))
        watch = Watch(process.declared["main"], process.environ, process.home)
        assert watch.probe().cause == Cause.AUTHENTICATION
        before = proxy.accepted
        assert watch.probe().cause == Cause.AUTHENTICATION
        assert proxy.accepted == before + 1

    def test_a_home_that_cannot_be_written_costs_the_sharing_alone(
        self, process: Process, server: Postgres, tmp_path: Path
    ) -> None:
        """Each process probes for itself then."""
        process.use(server.port)
        process.home = tmp_path / "file" / "home"
        process.home.parent.touch()
        kind = process.kind()
        eventually(kind, None)
        assert kind.last("main").host

    def test_what_was_written_down_and_is_no_result_counts_nothing(
        self, process: Process, server: Postgres
    ) -> None:
        """Torn, from the future, of another URL."""
        process.use(server.port)
        directory = process.home / "databases"
        directory.mkdir(parents=True, mode=0o700)
        for content in ("", "{", "[]", '{"of": 1}', '{"of": "x", "at": 9e12, "pending": []}'):
            (directory / "main.json").write_text(content, "utf-8")
            kind = process.kind()
            eventually(kind, None)
            assert kind.last("main").host

    def test_nothing_that_is_kept_or_shown_has_the_password(
        self, process: Process, server: Postgres
    ) -> None:
        """Neither the file between the processes nor the advice, well or not."""
        for port in (server.port, free_port()):
            process.use(port)
            kind = process.kind()
            eventually(kind, None if port == server.port else Cause.REFUSED)
            shown = f"{list(kind.faults())!r} {kind.databases!r} {process.declared!r}"
            assert PASSWORD not in shown
            for path in (process.home / "databases").iterdir():
                assert PASSWORD not in path.read_text("utf-8")


class TestOutages:
    """What happens while a database is away, and when it is back."""

    def test_a_server_that_is_killed_and_started_again_is_used_again(
        self, process: Process
    ) -> None:
        """Code keeps its engine; nobody restarts anything."""
        with Postgres() as server:
            process.use(server.port)
            kind = process.kind()
            eventually(kind, None)
            assert ask(kind) == 1
            server.kill()
            # Its children need a moment to notice.
            wait_until(lambda: server.is_gone, SECONDS)
            with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
                ask(kind)
            told = kind.explain(failed.value)
            assert told is not None
            assert told.subject == "main"
            eventually(kind, Cause.REFUSED)
            down = kind.unmet("main")
            assert down is not None
            assert down.fixable
            server.start()
            eventually(kind, None)
            assert ask(kind) == 1
            assert kind.counts["main"].reconnects == 1

    def test_a_repair_waits_until_the_server_is_there(self, process: Process, proxy: Proxy) -> None:
        """What it did is verified by a probe before it counts."""
        process.use(proxy.port)
        proxy.refuse()
        kind = process.kind()
        eventually(kind, Cause.REFUSED)
        [fault] = kind.faults()
        with ThreadPoolExecutor() as pool:
            repair = pool.submit(kind.repair, fault, WORK)
            proxy.listen()
            ended = repair.result(SECONDS)
        assert ended.outcome == Outcome.HEALED
        assert ended.installed == (f"connection to 127.0.0.1:{proxy.port}",)
        assert ask(kind) == 1

    def test_a_repair_of_a_server_that_stays_away_fails_in_time(self, process: Process) -> None:
        """It counts against the budget as any attempt."""
        process.use(free_port())
        kind = process.kind()
        eventually(kind, Cause.REFUSED)
        [fault] = kind.faults()
        assert kind.repair(fault, replace(WORK, deadline=1.0)).outcome == STILL_FAILING

    def test_a_password_that_was_rotated_is_used_at_once(
        self, process: Process, server: Postgres
    ) -> None:
        """Nobody says so: the variable has another value."""
        process.use(server.port, login=(USER, "old"))
        kind = process.kind()
        eventually(kind, Cause.AUTHENTICATION)
        [fault] = kind.faults()
        assert fault.refusal == Outcome.NOT_FIXABLE
        process.use(server.port)
        eventually(kind, None)
        assert ask(kind) == 1

    def test_a_standby_that_is_promoted_takes_over(self, process: Process) -> None:
        """Both hosts are in the URL; a standby that only reads is not used meanwhile."""
        with Postgres() as primary:
            primary.execute("CREATE TABLE orders (id int)")
            with standing_by(primary) as standby:
                process.use(primary.port, standby.port)
                kind = process.kind()
                eventually(kind, None)
                ask(kind, "INSERT INTO orders VALUES (1)")
                wait_until(lambda: standby.execute("SELECT id FROM orders") == [(1,)])
                primary.stop()
                with pytest.raises(sqlalchemy.exc.OperationalError):
                    ask(kind, "INSERT INTO orders VALUES (2)")
                eventually(kind, Cause.WRONG_ROLE)
                standby.promote()
                eventually(kind, None)
                ask(kind, "INSERT INTO orders VALUES (3)")
                assert standby.execute("SELECT id FROM orders ORDER BY id") == [(1,), (3,)]
                assert kind.counts["main"].failovers == 1

    def test_a_primary_that_only_reads_by_now_is_down_although_it_answers(
        self, process: Process, server: Postgres
    ) -> None:
        """The longest silent outages are of this kind."""
        server.execute("DROP ROLE IF EXISTS demoted")
        server.execute("CREATE ROLE demoted LOGIN PASSWORD 'x'")
        process.use(server.port, login=("demoted", "x"))
        kind = process.kind()
        eventually(kind, None)
        server.execute("ALTER ROLE demoted SET default_transaction_read_only = on")
        found = kind.recheck(kind._fault("main", Cause.WRONG_ROLE, ""))
        assert found is not None
        assert found.cause == Cause.WRONG_ROLE


class TestEngine:
    """What the engine of all kinds makes of it."""

    def test_a_repair_is_in_the_journal_and_a_failed_one_costs_budget(
        self, world: World, process: Process, proxy: Proxy
    ) -> None:
        """As any attempt at any fault."""
        process.use(proxy.port)
        proxy.refuse()
        fixer, kind = world.fixer(install_deadline=0.5), process.kind()
        fixer.add_kind(kind)
        eventually(kind, Cause.REFUSED)
        [fault] = [each for each in fixer.faults() if each.kind == kind.name]
        assert fixer.heal(fault).outcome == STILL_FAILING
        assert fixer.budget_of(kind.name, "main").attempts_left == fixer.max_retries - 1
        proxy.listen()
        assert fixer.heal(fault).healed
        assert not [each for each in fixer.faults() if each.kind == kind.name]
        [row] = fixer.history(kind=kind.name)
        assert (row.subject, row.cause) == ("main", Cause.REFUSED)
        assert PASSWORD not in repr(row)


class TestConnections:
    """What code gets from a pool."""

    def test_backends_that_were_terminated_cost_no_request(
        self, process: Process, server: Postgres
    ) -> None:
        """A connection that the server has ended is noticed before it is given out."""
        process.use(server.port, rest="?application_name=terminated")
        kind = process.kind()
        engine = kind.databases["main"]
        connections = [engine.connect() for _ in range(5)]
        for connection in connections:
            connection.execute(text("SELECT 1"))
            connection.close()
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        assert server.execute(f"{query} WHERE application_name = 'terminated'") == [(5,)]
        deadline = time.monotonic() + SECONDS
        while server.sessions("terminated") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [ask(kind) for _ in range(10)] == [1] * 10

    def test_a_commit_whose_answer_is_lost_is_never_sent_again(
        self, process: Process, server: Postgres, proxy: Proxy
    ) -> None:
        """Whether it was done is the caller's question; it was, once."""
        server.execute("DROP TABLE IF EXISTS payments")
        server.execute("CREATE TABLE payments (amount int)")
        process.use(proxy.port)
        kind = process.kind()
        eventually(kind, None)
        proxy.fault = Fault.SWALLOW_COMMIT
        with pytest.raises(sqlalchemy.exc.OperationalError):
            ask(kind, "INSERT INTO payments VALUES (1)")
        proxy.fault = Fault.NONE
        eventually(kind, None)
        assert server.execute("SELECT count(*) FROM payments") == [(1,)]

    def test_requests_that_wait_for_a_server_that_hangs_are_cut_off(
        self, process: Process, proxy: Proxy
    ) -> None:
        """A thread of the worker is free again, long before any limit of the statement."""
        process.use(proxy.port)
        process.adjust(connect_timeout=1.0)
        kind = process.kind()
        eventually(kind, None)
        assert ask(kind) == 1
        proxy.fault = Fault.HANG
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(ask, kind)
            eventually(kind, Cause.TIMEOUT)
            deadline = time.monotonic() + SECONDS
            while not waiting.done() and time.monotonic() < deadline:
                kind.adopt()
                time.sleep(0.05)
            assert isinstance(waiting.exception(0), sqlalchemy.exc.OperationalError)
        proxy.fault = Fault.NONE
        eventually(kind, None)
        assert ask(kind) == 1

    def test_an_exhausted_pool_says_who_holds_its_connections(
        self, process: Process, server: Postgres
    ) -> None:
        """Functions and lines, no values; it is over when one is given back."""
        process.use(server.port)
        process.declare("pool = { size = 1, overflow = 0, wait = 0.1 }")
        kind = process.kind()
        eventually(kind, None)

        def hoard() -> sqlalchemy.Connection:
            return kind.databases["main"].connect()

        held = hoard()
        with pytest.raises(sqlalchemy.exc.TimeoutError) as failed:
            ask(kind)
        told = kind.explain(failed.value)
        assert told is not None
        assert told.cause == Cause.POOL_EXHAUSTED
        eventually(kind, Cause.POOL_EXHAUSTED)
        [fault] = kind.faults()
        assert "hoard" in fault.advice
        assert kind.unmet("main") is None
        held.close()
        eventually(kind, None)

    def test_an_engine_of_somebody_elses_gets_the_same_care(
        self, process: Process, server: Postgres
    ) -> None:
        """Adopted by a name that the manifest declares."""
        process.use(server.port)
        kind = process.kind()
        eventually(kind, None)
        url = sqlalchemy.URL.create("postgresql+psycopg", **server.sqlalchemy)
        engine = kind.databases.adopt(sqlalchemy.create_engine(url), name="main")
        assert kind.databases["main"] is engine
        with engine.connect() as connection:
            assert kind.databases.usage("main").in_use == 1
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        server.execute(f"SELECT pg_terminate_backend({pid})")
        while server.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
            time.sleep(0.01)
        assert ask(kind) == 1

    def test_a_statement_that_is_wrong_is_no_fault(
        self, process: Process, server: Postgres
    ) -> None:
        """It stays an error of the code."""
        process.use(server.port)
        kind = process.kind()
        eventually(kind, None)
        with pytest.raises(sqlalchemy.exc.ProgrammingError) as failed:
            ask(kind, "SELECT * FROM nowhere")
        assert kind.explain(failed.value) is None
        assert list(kind.faults()) == []

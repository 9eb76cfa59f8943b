"""What servers, poolers, disks and names do to a database, as the kind finds and mends it."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from app.kinds.database.causes import Cause
from app.kinds.database.declaration import InvalidURL
from app.kinds.database.kind import UNDECLARED
from app.kinds.database.migrations import heads
from tests.kinds.database.conftest import WORK, Process, eventually
from tests.kinds.database.test_kind import ask
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import PASSWORD, USER, Postgres, give_to_server
from tests.support.processes import ROOT
from tests.support.sockets import free_port

#: Forks while the engine of the parent has a connection in its pool.
FORK = """\
import os
import sys
from pathlib import Path

from sqlalchemy import text

from app.kinds.database.declaration import Database
from app.kinds.database.kind import DatabaseKind

declared = {"main": Database("main", "${DATABASE_URL}")}
kind = DatabaseKind(lambda: declared, os.environ, Path(sys.argv[1]))


def backend():
    with kind.databases["main"].connect() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar()


first = backend()
read, write = os.pipe()
if not os.fork():
    os.write(write, str(backend()).encode())
    kind.databases.close()
    os._exit(0)
os.wait()
print(first, int(os.read(read, 20)), backend())
"""
#: Looks at a database whose host's name is in a file of its own namespace, then writes it there.
NAMES = """\
import os
import sys
import time
from pathlib import Path

from app.kinds.database.declaration import Database
from app.kinds.database.kind import DatabaseKind

declared = {"main": Database("main", "${DATABASE_URL}")}
kind = DatabaseKind(lambda: declared, os.environ, Path(sys.argv[1]))
hosts = Path("/etc/hosts")


def until(cause):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        kind.adopt()
        if kind.last("main").at and kind.last("main").cause == cause:
            return
        time.sleep(0.05)
    sys.exit(f"not {cause} but {kind.last('main')}")


until("database_dns")
hosts.write_text("127.0.0.1 shop-db\\n")
until(None)
with kind.databases["main"].connect():
    pass
kind.databases.close()
"""

#: Alembic's own, as its template has it, for a URL of the environment.
MIGRATING = """\
import os

from alembic import context
from sqlalchemy import create_engine

url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
UPGRADE = """\

from alembic import op


def upgrade():
    {}
"""


def run(code: str, *arguments: str, within: tuple[str, ...] = (), **environ: str) -> str:
    """What a process of its own prints."""
    command = [*within, sys.executable, "-c", code, *arguments]
    ended = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_forked_process_has_connections_of_its_own(server: Postgres, tmp_path: Path) -> None:
    """The parent goes on with the one that it had."""
    first, of_child, later = run(FORK, str(tmp_path), DATABASE_URL=server.url).split()
    assert first == later
    assert of_child != first


def test_a_name_that_resolves_by_now_is_resolved_anew(server: Postgres, tmp_path: Path) -> None:
    """Nobody restarts anything when a name changes."""
    hosts = tmp_path / "hosts"
    hosts.touch()
    alone = ("unshare", "--mount", "--map-root-user")
    mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    if subprocess.run([*alone, "sh", "-c", mount, "-", "true"], check=False).returncode:
        pytest.skip("this kernel gives no mount namespace")
    url = server.url.replace("127.0.0.1", "shop-db")
    within = (*alone, "sh", "-c", mount, "-")
    run(NAMES, str(tmp_path / "home"), within=within, DATABASE_URL=url)


def test_every_connection_of_a_server_in_use_is_told_and_passes(process: Process) -> None:
    """Its limit is nobody's to raise; the probe has one when another is given back."""
    with Postgres("max_connections=4", "superuser_reserved_connections=0") as server:
        process.use(server.port)
        with ExitStack() as others:
            for _ in range(4):
                others.enter_context(psycopg.connect(**server.parameters))
            kind = process.kind()
            eventually(kind, Cause.TOO_MANY_CONNECTIONS)
        eventually(kind, None)


def test_a_disk_that_is_full_under_the_server_is_told_while_reads_go_on(process: Process) -> None:
    """Requests that read are not stopped for those that cannot write."""
    with Postgres() as server, ExitStack() as afterwards:
        place = server.root / "full"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this user may mount nothing")
        afterwards.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        give_to_server(place)
        server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.execute("CREATE TABLE orders (item text) TABLESPACE small")
        process.use(server.port)
        kind = process.kind()
        eventually(kind, None)
        with pytest.raises(sqlalchemy.exc.DBAPIError) as failed:
            ask(kind, "INSERT INTO orders SELECT repeat('x', 900) FROM generate_series(1, 999)")
        told = kind.explain(failed.value)
        assert told is not None
        assert told.cause == Cause.DISK_FULL
        eventually(kind, Cause.DISK_FULL)
        assert kind.unmet("main") is None
        assert ask(kind, "SELECT count(*) FROM orders") == 0


def test_a_statement_whose_backend_is_terminated_is_a_fault_and_not_run_again(
    process: Process, server: Postgres
) -> None:
    """The database is well: the next request goes on."""
    process.use(server.port)
    kind = process.kind()
    eventually(kind, None)
    with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
        ask(kind, "SELECT pg_terminate_backend(pg_backend_pid())")
    told = kind.explain(failed.value)
    assert told is not None
    assert (told.subject, told.cause) == ("main", Cause.SHUTTING_DOWN)
    assert ask(kind) == 1


def test_a_statement_beyond_its_limit_is_a_timeout(process: Process, server: Postgres) -> None:
    """The limit is the manifest's, and the server keeps it."""
    process.use(server.port)
    process.adjust(statement_timeout=0.1)
    kind = process.kind()
    eventually(kind, None)
    with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
        ask(kind, "SELECT pg_sleep(20)")
    told = kind.explain(failed.value)
    assert told is not None
    assert told.cause == Cause.TIMEOUT


def test_an_error_of_an_engine_that_nobody_knows_is_of_no_declared_database(
    process: Process, server: Postgres
) -> None:
    """It is a fault all the same, of which nothing is tried."""
    process.use(server.port)
    process.declare(name="other")
    kind = process.kind()
    stranger = sqlalchemy.create_engine(
        sqlalchemy.URL.create("postgresql+psycopg", host="127.0.0.1", port=free_port())
    )
    with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
        stranger.connect()
    told = kind.explain(failed.value)
    assert told is not None
    assert (told.subject, told.fixable) == (UNDECLARED, False)


def test_an_engine_whose_url_cannot_be_used_is_a_fault_for_who_asks(process: Process) -> None:
    """Whether the blueprint has declared that it needs it or not."""
    kind = process.kind()
    with pytest.raises(InvalidURL) as failed:
        ask(kind)
    told = kind.explain(failed.value)
    assert told is not None
    assert told.cause == Cause.INVALID_URL


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_is_verified_as_the_url_says(
    process: Process, tmp_path: Path, *, trusted: bool
) -> None:
    """One that nobody vouches for is a cause of its own, and TLS is never done without."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    with Postgres() as server:
        for name in ("server", "other"):
            files = ("-keyout", f"{server.data}/{name}.key", "-out", f"{server.data}/{name}.crt")
            subject = ("-subj", "/CN=shop", "-addext", "subjectAltName=IP:127.0.0.1")
            how = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject)
            subprocess.run([openssl, *how], check=True, capture_output=True)
        give_to_server(server.data / "server.key")
        server.execute("ALTER SYSTEM SET ssl = on")
        server.stop()
        server.start()
        root = tmp_path / "root.crt"
        shutil.copyfile(server.data / ("server.crt" if trusted else "other.crt"), root)
        process.use(server.port, rest=f"?sslmode=verify-full&sslrootcert={root}")
        kind = process.kind()
        eventually(kind, None if trusted else Cause.TLS)
        if trusted:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert ask(kind, query) is True


class TestPooler:
    """PgBouncer in transaction mode between."""

    def test_it_is_restarted_and_used_again(self, process: Process, server: Postgres) -> None:
        """What is prepared in one transaction is not there in the next: nothing is prepared."""
        with PgBouncer(server) as pooler:
            process.use(pooler.port)
            kind = process.kind()
            eventually(kind, None)
            engine = kind.databases["main"]
            for _ in range(3):
                with engine.connect() as one, engine.connect() as other:
                    for number in range(10):
                        query = text("SELECT CAST(:number AS int)")
                        for connection in (one, other):
                            found = connection.execute(query, {"number": number}).scalar()
                            assert found == number
                            connection.rollback()
            pooler.stop()
            with pytest.raises(sqlalchemy.exc.OperationalError):
                ask(kind)
            eventually(kind, Cause.REFUSED)
            pooler.start()
            eventually(kind, None)
            assert ask(kind) == 1


class TestMigrations:
    """A database that waits for a migration."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """Alembic's directory with two migrations, of which the second one is the head."""
        versions = tmp_path / "migrations" / "versions"
        versions.mkdir(parents=True)
        (versions / "one.py").write_text('revision = "1a"\ndown_revision = None\n')
        (versions / "two.py").write_text('revision: str = "2b"\ndown_revision: str | None = "1a"\n')
        return versions.parent

    def test_it_is_told_and_never_run(
        self, process: Process, server: Postgres, directory: Path
    ) -> None:
        """Requests go on: what is there may well do for them."""
        server.execute("DROP TABLE IF EXISTS alembic_version")
        process.use(server.port)
        process.adjust(migrations=directory)
        kind = process.kind()
        eventually(kind, Cause.MIGRATION_PENDING)
        [fault] = kind.faults()
        assert "2b" in fault.advice
        assert kind.unmet("main") is None
        assert not server.execute("SELECT 1 FROM pg_tables WHERE tablename = 'alembic_version'")
        server.execute("CREATE TABLE alembic_version (version_num text)")
        server.execute("INSERT INTO alembic_version VALUES ('2b')")
        assert kind.recheck(fault) is None
        server.execute("DROP TABLE alembic_version")

    @pytest.mark.parametrize("sound", [True, False])
    def test_it_is_run_where_that_is_set(
        self, process: Process, server: Postgres, directory: Path, *, sound: bool
    ) -> None:
        """By Alembic, in a child that must not last; the probe says whether it is done."""
        for table in ("alembic_version", "migrated"):
            server.execute(f"DROP TABLE IF EXISTS {table}")
        (directory.parent / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        (directory / "env.py").write_text(MIGRATING)
        code = "op.execute('CREATE TABLE migrated ()')" if sound else "raise ArithmeticError"
        for name in ("one", "two"):
            with (directory / "versions" / f"{name}.py").open("a") as file:
                file.write(UPGRADE.format(code if name == "two" else "pass"))
        process.use(server.port)
        process.adjust(migrations=directory)
        kind = process.kind(lambda _: True, migrate=True)
        eventually(kind, Cause.MIGRATION_PENDING)
        [fault] = kind.faults()
        assert fault.plan is not None
        assert "Alembic" in fault.plan.steps[0]
        repair = kind.repair(fault, replace(WORK, deadline=60.0 if sound else 2.0))
        assert repair.healed is sound
        assert ("migrations" in repair.installed) is sound
        assert bool(server.execute("SELECT to_regclass('migrated')")[0][0]) is sound
        server.execute("DROP TABLE IF EXISTS alembic_version")

    def test_heads_are_read_without_running_anything(self, directory: Path) -> None:
        """Branches that were not merged are two; a merge is one again."""
        versions = directory / "versions"
        (versions / "three.py").write_text('revision = "3c"\ndown_revision = "1a"\n1 / 0\n')
        assert heads(directory) == {"2b", "3c"}
        (versions / "merge.py").write_text('revision = "4d"\ndown_revision = ("2b", "3c")\n')
        assert heads(directory) == {"4d"}

    def test_a_migration_that_is_no_python_is_an_error(self, directory: Path) -> None:
        """The doctor says so; a probe does without."""
        (directory / "versions" / "bad.py").write_text("revision = (")
        with pytest.raises(ValueError, match="no Python"):
            heads(directory)


class TestDriver:
    """A driver that is not installed."""

    @pytest.fixture
    def absent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """The name of a driver, of a dialect, that is in no directory."""
        name = "driver_of_shop"
        known = {"shopsql": ("mysql", "pymysql", ("sqlalchemy", name))}
        monkeypatch.setattr("app.kinds.database.declaration.DIALECTS", known)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    def test_it_is_installed_by_the_rules_of_packages(
        self, process: Process, absent: str, tmp_path: Path
    ) -> None:
        """Whoever may install it is asked, and the database is looked at again."""
        asked = []

        def install(name: str) -> bool:
            asked.append(name)
            (tmp_path / f"{name}.py").touch()
            return True

        process.environ["DATABASE_URL"] = f"shopsql://u:p@127.0.0.1:{free_port()}/shop"
        kind = process.kind(install)
        eventually(kind, Cause.DRIVER_MISSING)
        [fault] = kind.faults()
        assert absent in fault.advice
        assert kind.unmet("main") is not None
        kind.repair(fault, replace(WORK, deadline=1.0))
        assert asked == [absent]
        # No server of that dialect is there, but the driver is.
        assert [fault.cause for fault in kind.faults()] == [Cause.REFUSED]


def test_no_line_of_the_log_has_a_password(
    process: Process, server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, and whoever logs it."""
    caplog.set_level(logging.DEBUG)
    for login, port in (((USER, PASSWORD), free_port()), (("nobody", PASSWORD), server.port)):
        process.use(port, login=login)
        kind = process.kind()
        eventually(kind, Cause.REFUSED if port != server.port else Cause.AUTHENTICATION)
        with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
            ask(kind)
        logging.getLogger("shop").error("failed", exc_info=failed.value)
    assert PASSWORD not in caplog.text

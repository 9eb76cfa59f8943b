"""What a probe finds is told by SQLSTATE and by class, for each way in which a database fails."""

from __future__ import annotations

from dataclasses import fields

import psycopg
import pytest
import sqlalchemy

from app.kinds.database.causes import MEANINGS, Cause, cause_of
from app.kinds.database.declaration import Database
from app.kinds.database.probe import Probed, probe
from tests.kinds.database.conftest import Process
from tests.support.postgres import PASSWORD, USER, Postgres
from tests.support.processes import ROOT
from tests.support.proxy import Fault, Proxy
from tests.support.sockets import free_port


def look(process: Process) -> Probed:
    """What one probe of the database finds, in which no secret is to be seen."""
    found = probe(process.declared["main"], process.environ, "", {})
    assert PASSWORD not in repr(found)
    return found


def test_a_server_that_does_what_its_role_says_has_no_cause(
    process: Process, server: Postgres
) -> None:
    """The host and its role are known from the probe."""
    process.use(server.port)
    found = look(process)
    assert (found.cause, found.role) == (None, "read-write")
    assert found.host == f"127.0.0.1:{server.port}"


def test_a_wrong_password_and_an_unknown_user_are_authentication(
    process: Process, server: Postgres
) -> None:
    """Libpq's exception has no SQLSTATE for either; the cause is told all the same."""
    process.use(server.port, login=(USER, "wr%ng"))
    assert look(process).cause == Cause.AUTHENTICATION
    process.use(server.port, login=("nobody", PASSWORD))
    assert look(process).cause == Cause.AUTHENTICATION


def test_a_database_that_does_not_exist_is_told(process: Process, server: Postgres) -> None:
    """The server is there, and the name is wrong."""
    process.use(server.port)
    process.environ["DATABASE_URL"] += "_gone"
    assert look(process).cause == Cause.NO_DATABASE


def test_a_port_on_which_nobody_listens_refuses(process: Process) -> None:
    """Nobody listens."""
    process.use(free_port())
    assert look(process).cause == Cause.REFUSED


def test_a_socket_file_that_is_not_there_refuses(process: Process) -> None:
    """A server on a socket of this machine that does not run."""
    process.environ["DATABASE_URL"] = "postgresql://u:p@/shop?host=/nonexistent"
    assert look(process).cause == Cause.REFUSED


def test_a_name_that_nobody_knows_is_dns(process: Process) -> None:
    """The reserved domain has no names."""
    process.environ["DATABASE_URL"] = "postgresql://u:p@database.invalid/shop"
    assert look(process).cause == Cause.DNS


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.HANG, Cause.TIMEOUT),
        (Fault.DRIP, Cause.TIMEOUT),
        (Fault.RESET, Cause.UNREACHABLE),
        (Fault.LIE, Cause.UNREACHABLE),
    ],
)
def test_a_network_that_hangs_drips_resets_or_lies_is_told(
    process: Process, proxy: Proxy, fault: Fault, cause: Cause
) -> None:
    """Each step of a probe ends in time, whatever is at the other end."""
    process.use(proxy.port)
    process.adjust(connect_timeout=1.0)
    proxy.fault = fault
    assert look(process).cause == cause


def test_tls_that_the_server_does_not_have_is_tls_and_never_done_without(
    process: Process, server: Postgres
) -> None:
    """A URL that requires TLS is not weakened."""
    process.use(server.port, rest="?sslmode=require")
    assert look(process).cause == Cause.TLS


def test_no_connection_left_on_the_server_is_told(process: Process, server: Postgres) -> None:
    """The role's own limit has the SQLSTATE that the server's limit has."""
    server.execute("DROP ROLE IF EXISTS few")
    server.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0 PASSWORD 'x'")
    process.use(server.port, login=("few", "x"))
    assert look(process).cause == Cause.TOO_MANY_CONNECTIONS


def test_a_server_that_only_reads_has_the_wrong_role_where_writes_are_wanted(
    process: Process, server: Postgres
) -> None:
    """It answers SELECT 1; for a database that is declared as read-only it will do."""
    server.execute("DROP ROLE IF EXISTS reader")
    server.execute("CREATE ROLE reader LOGIN PASSWORD 'x'")
    server.execute("ALTER ROLE reader SET default_transaction_read_only = on")
    process.use(server.port, login=("reader", "x"))
    assert look(process).cause == Cause.WRONG_ROLE
    process.adjust(role="read-only")
    assert look(process).cause is None


def test_of_several_hosts_the_one_counts_that_does_what_the_role_says(
    process: Process, server: Postgres
) -> None:
    """The others may be gone."""
    process.use(free_port(), server.port)
    found = look(process)
    assert (found.cause, found.host) == (None, f"127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "DATABASE_URL is not set"),
        ("nonsense", "no scheme"),
        ("oracle://u:p@h/d", "no scheme"),
        ("postgresql+asyncpg://u:p@h/d", "driver"),
        ("postgresql:///shop", "no host"),
        ("postgresql://u:%%%@h/d", "percent-encoded"),
        ("postgresql://u:p@h1:1,h2:2,h3/d?port=1,2", "ports"),
        ("postgresql://u:p@h:notaport/d", "port"),
        ("mysql://u:p@h:notaport/d", "percent-encoded"),
        ("postgresql://u:p\0@h/d", ""),
        ("postgresql://ü:p@[::1/d", ""),
    ],
)
def test_a_url_that_cannot_be_used_is_a_cause_with_a_reason(
    process: Process, url: str, advice: str
) -> None:
    """Nothing of the URL itself is in the reason."""
    process.environ["DATABASE_URL"] = url
    found = look(process)
    assert found.cause == Cause.INVALID_URL
    assert advice in found.detail
    assert "u:p" not in found.detail


def test_a_password_of_odd_characters_is_put_into_the_url_encoded(
    process: Process, server: Postgres
) -> None:
    """A variable that is a part of the URL needs no encoding by whoever sets it."""
    process.environ["DB_PASSWORD"] = PASSWORD
    url = f"postgresql://{USER}:${{DB_PASSWORD}}@127.0.0.1:{server.port}/postgres"
    process.declare(url=url)
    assert look(process).cause is None


def test_each_cause_and_each_key_is_documented() -> None:
    """A page says what a cause means, the documentation what is done about it."""
    assert set(MEANINGS) == set(Cause)
    page = (ROOT / "docs" / "DATABASES.md").read_text("utf-8")
    keys = {field.name for field in fields(Database)} - {"name"}
    assert [each for each in (*Cause, *keys) if f"`{each}`" not in page] == []


class TestErrors:
    """What an exception that code meets says of the database."""

    @pytest.mark.parametrize(
        ("sqlstate", "cause"),
        [
            ("28P01", Cause.AUTHENTICATION),
            ("25006", Cause.WRONG_ROLE),
            ("53100", Cause.DISK_FULL),
            ("53300", Cause.TOO_MANY_CONNECTIONS),
            ("57P01", Cause.SHUTTING_DOWN),
            ("57P03", Cause.STARTING_UP),
            ("57014", Cause.TIMEOUT),
            ("23505", None),
            ("42P01", None),
            ("40001", None),
        ],
    )
    def test_a_sqlstate_says_whether_it_is_the_database_or_the_statement(
        self, sqlstate: str, cause: Cause | None
    ) -> None:
        """A statement that is wrong stays an error of the code."""
        error = psycopg.errors.lookup(sqlstate)("whatever it says")
        assert cause_of(error) is cause
        assert cause_of(sqlalchemy.exc.DBAPIError("SELECT 1", {}, error)) is cause

    def test_an_error_of_mysql_is_told_by_its_number(self) -> None:
        """The second dialect."""
        pymysql = pytest.importorskip("pymysql")
        assert cause_of(pymysql.err.OperationalError(1045, "no")) is Cause.AUTHENTICATION
        assert cause_of(pymysql.err.ProgrammingError(1064, "no")) is None

    def test_a_network_error_that_no_driver_raised_is_not_of_a_database(self) -> None:
        """An HTTP client's refusal is not."""
        assert cause_of(ConnectionRefusedError()) is None
        assert cause_of(ValueError("connection refused")) is None

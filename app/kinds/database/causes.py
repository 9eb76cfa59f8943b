"""What can be wrong with a database, and which of it an exception says.

Causes are told by SQLSTATE, by a driver's error number and by the exception's class, never by the
text of a message: that is translated, and changes between versions.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator, Mapping
from enum import StrEnum

from app.kinds.database.declaration import InvalidURL


class Cause(StrEnum):
    """What can be wrong with a database."""

    DNS = "database_dns"
    REFUSED = "database_refused"
    UNREACHABLE = "database_unreachable"
    TLS = "database_tls"
    AUTHENTICATION = "database_authentication"
    NO_DATABASE = "database_no_database"
    TOO_MANY_CONNECTIONS = "database_too_many_connections"
    STARTING_UP = "database_starting_up"
    SHUTTING_DOWN = "database_shutting_down"
    WRONG_ROLE = "database_wrong_role"
    TIMEOUT = "database_timeout"
    POOL_EXHAUSTED = "database_pool_exhausted"
    STALE_CONNECTIONS = "database_stale_connections"
    MIGRATION_PENDING = "database_migration_pending"
    DRIVER_MISSING = "database_driver_missing"
    DISK_FULL = "database_disk_full"
    INVALID_URL = "database_invalid_url"
    # Of databases that are files.
    LOCKED = "database_locked"
    READONLY = "database_readonly"
    CORRUPT = "database_corrupt"
    MISSING_DIRECTORY = "database_missing_directory"
    NOT_A_DATABASE = "database_not_a_database"


#: What each cause means for somebody who only asked for a page.
MEANINGS: Mapping[str, str] = {
    Cause.DNS: "The name of the database's host cannot be resolved.",
    Cause.REFUSED: "The database's host refuses connections.",
    Cause.UNREACHABLE: "The database cannot be reached.",
    Cause.TLS: "No trusted encrypted connection to the database can be made.",
    Cause.AUTHENTICATION: "The database refuses this service's credentials.",
    Cause.NO_DATABASE: "The server does not have the database.",
    Cause.TOO_MANY_CONNECTIONS: "The database has no connection left.",
    Cause.STARTING_UP: "The database is starting.",
    Cause.SHUTTING_DOWN: "The database is shutting down.",
    Cause.WRONG_ROLE: "The database only answers reads at present.",
    Cause.TIMEOUT: "The database does not answer in time.",
    Cause.POOL_EXHAUSTED: "All connections to the database are in use.",
    Cause.STALE_CONNECTIONS: "The connection to the database was lost.",
    Cause.MIGRATION_PENDING: "The database waits for a migration.",
    Cause.DRIVER_MISSING: "The driver of the database is not installed.",
    Cause.DISK_FULL: "The disk of the database is full.",
    Cause.INVALID_URL: "The address of the database cannot be used.",
    Cause.LOCKED: "The database is locked by who writes to it.",
    Cause.READONLY: "The file of the database cannot be written.",
    Cause.CORRUPT: "The file of the database is damaged.",
    Cause.MISSING_DIRECTORY: "The directory of the database is not there.",
    Cause.NOT_A_DATABASE: "The file of the database is something else.",
}
#: What a server says of itself, by SQLSTATE; two letters stand for a class of them.
SQLSTATES: Mapping[str, Cause] = {
    "08": Cause.UNREACHABLE,
    "25006": Cause.WRONG_ROLE,
    "28": Cause.AUTHENTICATION,
    "3D000": Cause.NO_DATABASE,
    "53100": Cause.DISK_FULL,
    "53300": Cause.TOO_MANY_CONNECTIONS,
    "57014": Cause.TIMEOUT,
    "57P01": Cause.SHUTTING_DOWN,
    "57P02": Cause.SHUTTING_DOWN,
    "57P03": Cause.STARTING_UP,
}
#: The same of MySQL and MariaDB, by error number.
MYSQL_ERRORS: Mapping[int, Cause] = {
    1021: Cause.DISK_FULL,
    1040: Cause.TOO_MANY_CONNECTIONS,
    1044: Cause.AUTHENTICATION,
    1045: Cause.AUTHENTICATION,
    1049: Cause.NO_DATABASE,
    1053: Cause.SHUTTING_DOWN,
    1203: Cause.TOO_MANY_CONNECTIONS,
    1290: Cause.WRONG_ROLE,
    1836: Cause.WRONG_ROLE,
    2003: Cause.UNREACHABLE,
    2006: Cause.STALE_CONNECTIONS,
    2013: Cause.STALE_CONNECTIONS,
    2026: Cause.TLS,
    3024: Cause.TIMEOUT,
}
#: The same of SQLite, by primary result code. What it cannot open or read may be many things, which
#: ``sqlite.examine`` tells apart.
SQLITE_CODES: Mapping[int, Cause] = {
    sqlite3.SQLITE_BUSY: Cause.LOCKED,
    sqlite3.SQLITE_LOCKED: Cause.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Cause.LOCKED,
    sqlite3.SQLITE_READONLY: Cause.READONLY,
    sqlite3.SQLITE_PERM: Cause.READONLY,
    sqlite3.SQLITE_CANTOPEN: Cause.UNREACHABLE,
    sqlite3.SQLITE_IOERR: Cause.UNREACHABLE,
    sqlite3.SQLITE_NOMEM: Cause.UNREACHABLE,
    sqlite3.SQLITE_CORRUPT: Cause.CORRUPT,
    sqlite3.SQLITE_NOTADB: Cause.NOT_A_DATABASE,
    sqlite3.SQLITE_FULL: Cause.DISK_FULL,
}
#: What a connection meets before a server has said anything, by class, the narrowest first.
NETWORK_ERRORS: tuple[tuple[type[OSError], Cause], ...] = (
    (socket.gaierror, Cause.DNS),
    (ConnectionRefusedError, Cause.REFUSED),
    # A socket file that is not there: no server listens.
    (FileNotFoundError, Cause.REFUSED),
    (TimeoutError, Cause.TIMEOUT),
    (OSError, Cause.UNREACHABLE),
)


def network_cause(error: OSError) -> Cause:
    """The cause of what a connection has met on its way to a server."""
    return next(cause for kind, cause in NETWORK_ERRORS if isinstance(error, kind))


def sqlstate_cause(sqlstate: str) -> Cause | None:
    """What a SQLSTATE says of the database itself; None where it speaks of a statement."""
    return SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2])


def cause_of(error: BaseException) -> Cause | None:
    """What an exception of SQLAlchemy or of a driver says of the database.

    None for any other exception, and where it is a statement that was wrong.
    """
    chain = tuple(_chain(error))
    if not any(_is_database_error(each) for each in chain):
        return None
    return next(filter(None, map(_cause_of_one, chain)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it comes from, the deepest first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return reversed(found)


def _classes(error: BaseException) -> set[str]:
    """The classes of an exception with the package that each is from, as ``psycopg.Error``."""
    return {f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(error).__mro__}


def _is_database_error(error: BaseException) -> bool:
    wanted = {"sqlalchemy.SQLAlchemyError", "psycopg.Error", "pymysql.MySQLError"}
    own = isinstance(error, sqlite3.Error | InvalidURL)
    return own or not wanted.isdisjoint(_classes(error))


def _cause_of_one(error: BaseException) -> Cause | None:
    classes = _classes(error)
    if isinstance(error, InvalidURL):
        return Cause.INVALID_URL
    if "sqlalchemy.TimeoutError" in classes:
        return Cause.POOL_EXHAUSTED
    if "psycopg.Error" in classes:
        return _psycopg_cause(error, classes)
    if isinstance(error, sqlite3.Error) or "pymysql.MySQLError" in classes:
        return _numbered_cause(error)
    if getattr(error, "connection_invalidated", False):
        return Cause.STALE_CONNECTIONS
    return network_cause(error) if isinstance(error, OSError) else None


def _psycopg_cause(error: BaseException, classes: set[str]) -> Cause | None:
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        return sqlstate_cause(sqlstate)
    if "psycopg.ConnectionTimeout" in classes:
        return Cause.TIMEOUT
    if "psycopg.OperationalError" not in classes:
        return None
    # Without SQLSTATE no server has answered: either none was there, or it went away.
    return Cause.UNREACHABLE if getattr(error, "pgconn", None) else Cause.STALE_CONNECTIONS


def _numbered_cause(error: BaseException) -> Cause | None:
    if isinstance(error, sqlite3.Error):
        # The lowest byte of an extended code is the primary one.
        return SQLITE_CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    number = error.args[0] if error.args else None
    return MYSQL_ERRORS.get(number) if isinstance(number, int) else None

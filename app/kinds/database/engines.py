"""SQLAlchemy engines of the declared databases: pools that lose no request to a dead connection.

An engine is made when it is first asked for, in the process that uses it, and stays the same
object: where a variable of its URL has changed, or another host serves, its connections are made
anew. For a URL of another dialect, or of another file of SQLite's, another one is made. Before a
connection is given out it is looked at whether the server has ended it, which costs no round
trip.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from app.healing.background import free_after_fork
from app.kinds.database import postgres, sqlite
from app.kinds.database.causes import Cause, cause_of
from app.kinds.database.declaration import READ_WRITE, Address, Database, InvalidURL
from app.kinds.database.plans import KIND

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.engine import ExceptionContext

#: The attribute of an exception that says which database it comes from.
NAME_OF_DATABASE = "_database"
#: Seconds after which the kernel asks whether the other side is still there.
KEEPALIVE = {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}
#: Frames that are shown of who holds a connection.
SHOWN_FRAMES = 4
_all: weakref.WeakSet[Databases] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Usage:
    """A pool of one process: connections in use and idle, checkouts that wait, how many at most."""

    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    most: int = 0
    checkouts: int = 0


@dataclass(frozen=True, slots=True)
class _Holder:
    connection: Any
    since: float
    frames: tuple[tuple[str, str, int], ...]

    def __str__(self) -> str:
        return " < ".join(f"{module}.{name}:{line}" for module, name, line in self.frames)


@dataclass(slots=True)
class _Pooled:
    """An engine with who holds its connections, by connection.

    ``made_for`` is what it cannot change any more, empty for one that was made elsewhere.
    """

    engine: Engine
    made_for: str = field(default="", repr=False)
    held: dict[int, _Holder] = field(default_factory=dict)
    waiting: int = 0
    checkouts: int = 0


class Databases:
    """The engines of a process by the names of the manifest.

    Args:
        declared: the databases of the manifest, as it is now.
        environ: has the variables of their URLs.
        host: which host of a database serves, as far as that is known.
        failed: is called with the name, the cause and the exception of what failed in a request.
    """

    def __init__(
        self,
        declared: Callable[[], Mapping[str, Database]],
        environ: Mapping[str, str],
        host: Callable[[str], str],
        failed: Callable[[str, Cause], None],
    ) -> None:
        self._declared = declared
        self._environ = environ
        self._host = host
        self._failed = failed
        self._mutex = free_after_fork(threading.Lock())
        self._pools: dict[str, _Pooled] = {}
        _all.add(self)

    def __getitem__(self, name: str) -> Engine:
        """The engine of a database; it connects when it is used.

        Raises:
            KeyError: no such database is declared or adopted.
            InvalidURL: a variable of its URL is not set, or the URL is none.
            ImportError: SQLAlchemy or the driver is missing, which is healed meanwhile.
        """
        found = self._pools.get(name)
        if found is not None and self._fits(name, found.made_for):
            return found.engine
        with self._mutex:
            found = self._pools.get(name)
            if found is None or not self._fits(name, found.made_for):
                self._make(self._declared()[name])
                if found is not None:
                    found.engine.dispose()
            return self._pools[name].engine

    def adopt(self, engine: Engine, *, name: str) -> Engine:
        """Give an engine that was made elsewhere the same care, and return it."""
        with self._mutex:
            self._watch(name, engine)
        return engine

    def dispose(self, name: str) -> None:
        """Make the connections of a pool anew: idle ones end now, the others when given back."""
        if name in self._pools:
            self._pools[name].engine.dispose()

    def cut_off(self, name: str, seconds: float) -> None:
        """End waiting for a server that does not answer, where that takes longer.

        The threads that hold the connections go on with an error: nothing else would wake them.
        """
        found = self._pools.get(name)
        for holder in tuple(found.held.values()) if found else ():
            late = time.monotonic() - holder.since > seconds
            descriptor = _descriptor(holder.connection) if late else None
            if descriptor is not None:
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)

    def longest(self, name: str) -> float:
        """For how many seconds the connection that is held longest has been."""
        found = self._pools.get(name)
        since = [holder.since for holder in tuple(found.held.values())] if found else []
        return time.monotonic() - min(since) if since else 0.0

    def usage(self, name: str) -> Usage:
        """What of a pool is in use just now."""
        found = self._pools.get(name)
        if found is None:
            return Usage()
        pool = found.engine.pool
        most = getattr(pool, "_max_overflow", 0) + getattr(pool, "size", int)()
        idle = getattr(pool, "checkedin", int)()
        return Usage(len(found.held), idle, found.waiting, most, found.checkouts)

    def holders(self, name: str) -> tuple[str, ...]:
        """Who holds connections, the longest first: functions and lines, the innermost first."""
        found = self._pools.get(name)
        held = sorted(found.held.values(), key=lambda each: each.since) if found else []
        return tuple(map(str, held))

    def close(self) -> None:
        """End every connection that nobody uses."""
        for found in tuple(self._pools.values()):
            found.engine.dispose()

    def forget_parents(self) -> None:
        """Leave the connections of the process that this one was forked from alone."""
        for found in tuple(self._pools.values()):
            found.engine.dispose(close=False)
            found.held.clear()
            found.waiting = 0

    def _make(self, database: Database) -> None:
        import sqlalchemy

        name, address = database.name, database.address(self._environ)
        made_for = _made_for(address)
        if address.dialect == "sqlite":
            url, arguments = connect_arguments(database, address)
            engine = sqlalchemy.create_engine(url, connect_args=arguments)
            sqlalchemy.event.listen(engine, "do_connect", lambda *_: self._require(name, made_for))
            path = sqlite.path_of(address.url)
            if path is not None:
                sqlite.connect_anew_when_replaced(engine, path)
        else:
            pool = database.pool
            engine = sqlalchemy.create_engine(
                f"{address.scheme}://",
                poolclass=self._pool_class(name),
                pool_size=pool.size,
                max_overflow=pool.overflow,
                pool_timeout=pool.wait,
                pool_recycle=pool.recycle,
                # Those that are not needed grow old, and are not all of them asked for in turn.
                pool_use_lifo=True,
            )

            @sqlalchemy.event.listens_for(engine, "do_connect")
            def connect(dialect: Any, _: Any, arguments: list[Any], named: dict[str, Any]) -> Any:  # noqa: ANN401 - SQLAlchemy's
                self._require(name, made_for)
                return self._connect(name, dialect, arguments, named)

        self._watch(name, engine, made_for)

    def _fits(self, name: str, made_for: str) -> bool:
        """Whether an engine is for what the URL says now, as far as that can be said."""
        database = self._declared().get(name)
        if not made_for or database is None:
            return True
        with suppress(InvalidURL):
            return made_for == _made_for(database.address(self._environ))
        return True

    def _require(self, name: str, made_for: str) -> None:
        """Refuse to connect for who has kept an engine of a database that is not meant any more."""
        if not self._fits(name, made_for):
            raise InvalidURL("the URL names another database by now: ask for its engine again")

    def _connect(
        self,
        name: str,
        dialect: Any,  # noqa: ANN401 - SQLAlchemy's
        arguments: list[Any],
        named: dict[str, Any],
    ) -> Any:  # noqa: ANN401 - a driver's connection; None has SQLAlchemy make one
        """Connect with what the URL says now."""
        database = self._declared()[name]
        address = database.address(self._environ)
        if address.dialect == "postgresql":
            return _connect_postgres(database, address, self._host(name))
        url, more = connect_arguments(database, address)
        arguments[:], given = dialect.create_connect_args(url)
        named.clear()
        named.update(given | more)
        return None

    def _pool_class(self, name: str) -> type[Any]:
        from sqlalchemy.exc import TimeoutError as Exhausted
        from sqlalchemy.pool import QueuePool

        databases = self

        class WatchedPool(QueuePool):
            """Counts who waits for a connection."""

            def connect(self) -> Any:  # noqa: ANN401 - SQLAlchemy's
                pooled = databases._pools[name]
                pooled.waiting += 1
                try:
                    return super().connect()
                except Exhausted as error:
                    databases._fail(name, error)
                    raise
                finally:
                    pooled.waiting -= 1

        # Each disposal is a line of SQLAlchemy's, whose own loggers are as quiet as that.
        logging.getLogger(f"{__name__}.{WatchedPool.__name__}").setLevel(logging.WARNING)
        return WatchedPool

    def _watch(self, name: str, engine: Engine, made_for: str = "") -> None:
        from sqlalchemy import event
        from sqlalchemy.exc import DisconnectionError

        if not self._pools:
            atexit.register(close_all)
        pooled = self._pools[name] = _Pooled(engine, made_for)

        def given_out(connection: Any, record: object, _: object) -> None:  # noqa: ANN401
            if _is_readable(connection) and not _answers(engine, connection):
                raise DisconnectionError
            pooled.checkouts += 1
            pooled.held[id(record)] = _Holder(connection, time.monotonic(), _callers())

        def given_back(_: object, record: object) -> None:
            pooled.held.pop(id(record), None)

        def error_met(context: ExceptionContext) -> None:
            self._fail(name, context.sqlalchemy_exception or context.original_exception)

        event.listen(engine, "checkout", given_out)
        event.listen(engine, "checkin", given_back)
        event.listen(engine, "handle_error", error_met)

    def _fail(self, name: str, error: BaseException) -> None:
        cause = cause_of(error)
        if cause is not None:
            setattr(error, NAME_OF_DATABASE, name)
            self._failed(name, cause)


def databases(app: Any) -> Databases:  # noqa: ANN401 - Flask's, which this module does not need
    """The databases of a Flask application's process."""
    found: Databases = app.extensions["auto_fixer"].kinds[KIND].databases
    return found


def name_of(error: BaseException) -> str | None:
    """The database that an exception comes from, where one of the engines has met it."""
    while True:
        name = getattr(error, NAME_OF_DATABASE, None)
        deeper = error.__cause__ or error.__context__
        if name is not None or deeper is None:
            return name
        error = deeper


def connect_arguments(database: Database, address: Address) -> tuple[URL, dict[str, Any]]:
    """The URL, and what the driver is given beside it so that it does not wait for ever.

    Raises:
        InvalidURL: SQLAlchemy cannot read the URL.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, separator, rest = address.url.partition("://")
    try:
        url = make_url(f"{address.scheme}{separator}{rest}")
    except (ArgumentError, ValueError):
        message = f"expected {scheme}://user:password@host/database, percent-encoded"
        raise InvalidURL(message) from None
    if address.dialect == "sqlite":
        return url, {"timeout": database.connect_timeout}
    limit = database.statement_timeout or None
    arguments: dict[str, Any] = {"connect_timeout": database.connect_timeout}
    return url, arguments | {"read_timeout": limit, "write_timeout": limit}


def _made_for(address: Address) -> str:
    return address.url if address.dialect == "sqlite" else address.dialect


def close_all() -> None:
    """End every connection of this process that nobody uses."""
    for each in tuple(_all):
        each.close()


def _connect_postgres(database: Database, address: Address, preferred: str) -> Any:  # noqa: ANN401
    import psycopg

    parameters = postgres.parameters_of(address.url)
    hosts = sorted(postgres.hosts_of(parameters), key=lambda host: str(host) != preferred)
    parameters["host"] = ",".join(host.name for host in hosts)
    parameters["port"] = ",".join(host.port for host in hosts)
    role = "read-write" if database.role == READ_WRITE else "any"
    milliseconds = str(int(database.connect_timeout * 1000))
    defaults = KEEPALIVE | {
        "target_session_attrs": role,
        "connect_timeout": str(max(2, int(database.connect_timeout))),
        "tcp_user_timeout": milliseconds,
    }
    connection = psycopg.connect(**(defaults | parameters), autocommit=True)  # type: ignore[arg-type]
    try:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row is None or row[0] != connection.info.backend_pid:
            # A pooler is between: what is prepared or set would stay in another's session.
            connection.prepare_threshold = None
        elif database.statement_timeout:
            limit = str(int(database.statement_timeout * 1000))
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [limit])
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def _descriptor(connection: Any) -> int | None:  # noqa: ANN401 - a driver's
    """The socket of a driver's connection; None where it has none."""
    try:
        descriptor = connection.fileno()
    except Exception:  # noqa: BLE001 - whatever a driver raises for one that is closed
        return None
    return descriptor if isinstance(descriptor, int) else None


def _is_readable(connection: Any) -> bool:  # noqa: ANN401 - a driver's
    """Whether the server has said something unasked: mostly that it has ended the connection."""
    descriptor = _descriptor(connection)
    if descriptor is None:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _answers(engine: Engine, connection: Any) -> bool:  # noqa: ANN401 - a driver's
    try:
        return bool(engine.dialect.do_ping(connection))
    except Exception:  # noqa: BLE001 - whatever a driver raises for a connection that has ended
        return False


def _callers() -> tuple[tuple[str, str, int], ...]:
    """The innermost functions that led here and are neither SQLAlchemy's nor this module's."""
    # As the standard library's own logging does.
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    found: list[tuple[str, str, int]] = []
    while frame is not None and len(found) < SHOWN_FRAMES:
        module = frame.f_globals.get("__name__", "")
        if module != __name__ and not module.startswith(("sqlalchemy.", "contextlib")):
            found.append((module, frame.f_code.co_qualname, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def _forget_parents() -> None:
    for each in tuple(_all):
        each.forget_parents()


os.register_at_fork(after_in_child=_forget_parents)

"""One short conversation with a PostgreSQL server, each step of it within a deadline.

A failed connection has no SQLSTATE in psycopg's exceptions; the trace that libpq writes of the
protocol has. What a server has not said is told by asking the network again, step by step.
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.kinds.database.causes import Cause, network_cause, sqlstate_cause
from app.kinds.database.declaration import InvalidURL
from app.settings.errors import OrchestratorError

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

#: What the trace says of an error of the server.
TRACED_SQLSTATE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})"')
MAX_TRACE_BYTES = 1 << 16
DEFAULT_PORT = "5432"
MAX_PORTS = 1 << 16
#: What a client sends that wants TLS.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
#: The modes of libpq that take no connection without TLS.
TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
#: Says that a server answers, and what it can do.
ROLE_QUERY = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
#: Messages of libpq of which it is known what they stood for.
MAX_KNOWN = 64


class Failed(OrchestratorError):
    """A database does not do what is asked of it; ``cause`` says why."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(detail or str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a URL; ``name`` may be the directory of a socket."""

    name: str
    port: str

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def parameters_of(url: str) -> dict[str, str]:
    """The parameters of a connection as libpq calls them.

    Raises:
        InvalidURL: libpq cannot read the URL.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = conninfo_to_dict(url)
    except (ProgrammingError, UnicodeError, ValueError):
        # Its message would show a part of the password.
        message = "libpq cannot read it: characters of user and password are percent-encoded"
        raise InvalidURL(message) from None
    parameters = {key: str(value) for key, value in found.items() if value is not None}
    if not parameters.get("host"):
        raise InvalidURL("it names no host")
    return parameters


def hosts_of(parameters: Mapping[str, str]) -> tuple[Host, ...]:
    """The hosts in their order.

    Raises:
        InvalidURL: when there is not one port for all, or one for each of them, or one is none.
    """
    names = parameters["host"].split(",")
    ports = parameters.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise InvalidURL("it has other numbers of hosts and of ports")
    if not all(port == "" or (port.isdecimal() and int(port) < MAX_PORTS) for port in ports):
        raise InvalidURL("it has a port that is no number")
    return tuple(Host(name, port or DEFAULT_PORT) for name, port in zip(names, ports, strict=True))


class Conversation:
    """A connection that is asked a few things; it has ended ``deadline`` at the latest."""

    def __init__(self, pgconn: PGconn, deadline: float) -> None:
        self._pgconn = pgconn
        self._deadline = deadline

    def ask(self, query: str) -> list[tuple[str, ...]]:
        """The rows of a query, each value as text.

        Raises:
            Failed: with what the server says, or because it does not in time.
        """
        from psycopg import OperationalError, pq

        try:
            self._pgconn.send_query(query.encode())
            rows: list[tuple[str, ...]] = []
            while True:
                while self._pgconn.is_busy():
                    wait(self._pgconn.socket, select.POLLIN, self._deadline)
                    self._pgconn.consume_input()
                result = self._pgconn.get_result()
                if result is None:
                    return rows
                sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
                if sqlstate is not None:
                    raise Failed(sqlstate_cause(sqlstate.decode()) or Cause.UNREACHABLE)
                rows += [
                    tuple((result.get_value(row, n) or b"").decode() for n in range(result.nfields))
                    for row in range(result.ntuples)
                ]
        except OperationalError:
            raise Failed(Cause.UNREACHABLE) from None
        except TimeoutError:
            raise Failed(Cause.TIMEOUT) from None


@contextmanager
def conversation(
    parameters: Mapping[str, str], host: Host, timeout: float, known: dict[bytes, Cause]
) -> Iterator[Conversation]:
    """Connect to one host, of whose addresses the first one that answers counts.

    ``known`` keeps what each message of libpq stood for: libpq never frees all of a trace, so that
    one for each message has to be enough.

    Raises:
        Failed: when there is no connection within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    given = {key: value for key, value in parameters.items() if key not in {"host", "port"}}
    # What role the server has is asked, so that it is known which one it has.
    given |= {"host": host.name, "port": host.port, "target_session_attrs": "any"}
    failure = Failed(Cause.DNS)
    for address in _addresses(host, given):
        try:
            pgconn = _connect(given | address, deadline, known)
        except Failed as failed:
            failure = failed
            continue
        try:
            yield Conversation(pgconn, deadline)
        finally:
            pgconn.finish()
        return
    raise failure


def _addresses(host: Host, given: Mapping[str, str]) -> list[dict[str, str]]:
    if host.name.startswith(("/", "@")) or "hostaddr" in given:
        return [{}]
    try:
        found = socket.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Failed(Cause.DNS) from None
    return [{"hostaddr": str(address[0])} for *_, address in found]


def _connect(given: Mapping[str, str], deadline: float, known: dict[bytes, Cause]) -> PGconn:
    """Connect without blocking longer than until ``deadline``."""
    pgconn, message = _attempt(given, deadline)
    if pgconn is not None:
        return pgconn
    if message not in known:
        cause = _tcp_cause(given, deadline)
        if cause is not None:
            raise Failed(cause)
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[message] = _traced_cause(given, deadline) or _tls_cause(given, deadline)
    raise Failed(known[message])


def _attempt(
    given: Mapping[str, str], deadline: float, trace: int | None = None
) -> tuple[PGconn | None, bytes]:
    """A connection, or None and what libpq says of that; ``trace`` is a file to trace it to."""
    from psycopg import OperationalError, pq
    from psycopg.conninfo import make_conninfo

    events = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}
    pgconn: PGconn | None = None
    connected = False
    try:
        pgconn = pq.PGconn.connect_start(make_conninfo("", **given).encode())
        if trace is not None and pgconn.status != pq.ConnStatus.BAD:
            pgconn.trace(trace)
        while (status := pgconn.connect_poll()) in events:
            wait(pgconn.socket, events[pq.PollingStatus(status)], deadline)
        connected = status == pq.PollingStatus.OK
    except TimeoutError:
        raise Failed(Cause.TIMEOUT) from None
    except OperationalError as error:
        return None, str(error).encode()
    else:
        return (pgconn if connected else None), pgconn.error_message
    finally:
        if pgconn is not None and trace is not None:
            # Written out by that.
            pgconn.untrace()
        if pgconn is not None and not connected:
            pgconn.finish()


def _traced_cause(given: Mapping[str, str], deadline: float) -> Cause | None:
    """What the server says when it is asked once more, by its SQLSTATE."""
    if sys.platform != "linux":
        # Libpq traces to what only the C library of Linux has.
        return None
    # The trace holds what is said to prove who asks: it is in memory, and gone with the file.
    trace = os.memfd_create("libpq-trace")
    try:
        pgconn, _ = _attempt(given, deadline, trace)
        if pgconn is not None:
            pgconn.finish()
        traced = TRACED_SQLSTATE.findall(os.pread(trace, MAX_TRACE_BYTES, 0))
    finally:
        os.close(trace)
    return sqlstate_cause(traced[-1].decode()) if traced else None


def _tcp_cause(given: Mapping[str, str], deadline: float) -> Cause | None:
    """Why the host takes no connection at all; None where it takes one."""
    try:
        with _socket(given, deadline):
            return None
    except OSError as error:
        return network_cause(error)


def _tls_cause(given: Mapping[str, str], deadline: float) -> Cause:
    """Whether it is TLS for which a host that takes connections gives none."""
    mode = given.get("sslmode", os.environ.get("PGSSLMODE", ""))
    if mode not in TLS_MODES or given["host"].startswith("/"):
        return Cause.UNREACHABLE
    try:
        with _socket(given, deadline) as connection:
            connection.sendall(SSL_REQUEST)
            # S: it does speak TLS, and libpq did not trust it. N: it does not.
            return Cause.TLS if connection.recv(1) in {b"S", b"N"} else Cause.UNREACHABLE
    except OSError as error:
        return network_cause(error)


def _socket(given: Mapping[str, str], deadline: float) -> socket.socket:
    seconds = max(0.1, deadline - time.monotonic())
    if not given["host"].startswith("/"):
        address = given.get("hostaddr", given["host"])
        return socket.create_connection((address, int(given["port"])), seconds)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(seconds)
        connection.connect(f"{given['host']}/.s.PGSQL.{given['port']}")
    except OSError:
        connection.close()
        raise
    return connection


def wait(descriptor: int, events: int, deadline: float) -> None:
    """Wait until a socket is ready.

    Raises:
        TimeoutError: when it is not until ``deadline``, by the monotonic clock.
    """
    poll = select.poll()
    poll.register(descriptor, events)
    seconds = deadline - time.monotonic()
    if seconds <= 0 or not poll.poll(seconds * 1000):
        raise TimeoutError

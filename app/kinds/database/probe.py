"""Asks a database whether it does what its role says, by one connection of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from app.kinds.database import postgres, sqlite
from app.kinds.database.causes import Cause, cause_of
from app.kinds.database.declaration import READ_WRITE, Address, Database, InvalidURL
from app.kinds.database.postgres import Conversation, Failed, Host, conversation

#: Which migrations a database has, by Alembic.
VERSIONS_QUERY = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe found: ``cause`` is None where all is well.

    ``host`` is the one that serves, as ``name:port``; ``role`` what it can do, ``read-write`` or
    ``read-only``. ``detail`` is safe to show. ``at`` is the end of the probe, by the wall clock.
    """

    cause: str | None = None
    host: str = ""
    role: str = ""
    detail: str = ""
    pending: tuple[str, ...] = ()
    at: float = 0.0
    seconds: float = 0.0


def probe(
    database: Database, environ: Mapping[str, str], preferred: str, known: dict[bytes, Cause]
) -> Probed:
    """Ask a database; whatever it does, nothing is raised.

    Args:
        database: which one.
        environ: has the variables of its URL.
        preferred: the host that served last, which is asked first.
        known: what messages of libpq stood for, as ``postgres.conversation`` keeps it.
    """
    began = time.monotonic()
    try:
        address = database.address(environ)
        missing = [name for name in address.packages if find_spec(name) is None]
        if missing:
            found = Probed(cause=Cause.DRIVER_MISSING, detail=" ".join(missing))
        elif address.dialect == "postgresql":
            found = _probe_hosts(database, address, preferred, known)
        else:
            path = sqlite.path_of(address.url) if address.dialect == "sqlite" else None
            found = _probe_any(database, address) if path is None else _probe_file(database, path)
    except InvalidURL as invalid:
        found = Probed(cause=Cause.INVALID_URL, detail=str(invalid))
    except Failed as failed:
        found = Probed(cause=failed.cause)
    return replace(found, at=time.time(), seconds=time.monotonic() - began)


def _probe_hosts(
    database: Database, address: Address, preferred: str, known: dict[bytes, Cause]
) -> Probed:
    """Ask the hosts of a URL one after another, until one does what the role says."""
    parameters = postgres.parameters_of(address.url)
    hosts = postgres.hosts_of(parameters)
    first: Probed | None = None
    for host in sorted(hosts, key=lambda host: str(host) != preferred):
        try:
            with conversation(parameters, host, database.connect_timeout, known) as connection:
                found = _ask(connection, database, host)
        except Failed as failed:
            found = Probed(cause=failed.cause)
        if found.cause in {None, Cause.MIGRATION_PENDING}:
            return found
        # A host that answers, if only as a standby, says more than one that does not.
        if first is None or found.cause == Cause.WRONG_ROLE:
            first = found
    return first or Probed(cause=Cause.INVALID_URL)


def _ask(connection: Conversation, database: Database, host: Host) -> Probed:
    [(recovering, read_only)] = connection.ask(postgres.ROLE_QUERY)
    role = READ_WRITE if (recovering, read_only) == ("f", "off") else "read-only"
    if database.role == READ_WRITE != role:
        return Probed(cause=Cause.WRONG_ROLE, host=str(host), role=role)
    pending: tuple[str, ...] = ()
    if database.migrations is not None:
        [(exists,)] = connection.ask("SELECT to_regclass('alembic_version') IS NOT NULL")
        rows = connection.ask(VERSIONS_QUERY) if exists == "t" else []
        pending = _pending(database.migrations, {version for (version,) in rows})
    cause = Cause.MIGRATION_PENDING if pending else None
    return Probed(cause=cause, host=str(host), role=role, pending=pending)


def _pending(directory: Path, applied: set[str]) -> tuple[str, ...]:
    """The last migrations that a database does not have; none where they cannot be read."""
    # Imported here because hardly any process has migrations to read.
    from app.kinds.database.migrations import heads

    try:
        return tuple(sorted(heads(directory) - applied))
    except (OSError, ValueError):
        # The doctor says so: the database itself is not to blame.
        return ()


def _probe_file(database: Database, path: Path) -> Probed:
    write = database.role == READ_WRITE
    cause = sqlite.examine(path, write=write, wait=database.connect_timeout)
    pending: tuple[str, ...] = ()
    if cause is None and database.migrations is not None:
        pending = _pending(database.migrations, sqlite.versions(path, database.connect_timeout))
        cause = Cause.MIGRATION_PENDING if pending else None
    return Probed(cause=cause, host=path.name, role=database.role, pending=pending)


def _probe_any(database: Database, address: Address) -> Probed:
    """Ask a database of another dialect, by a connection that is in no pool."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    from app.kinds.database.engines import connect_arguments

    url, arguments = connect_arguments(database, address)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        with closing(engine.connect()) as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except sqlalchemy.exc.SQLAlchemyError as error:
        return Probed(cause=cause_of(error) or Cause.UNREACHABLE)
    return Probed(host=url.host or "", role=database.role)

"""PostgreSQL servers of the tests: the real one, in a directory of its own, on a loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psycopg

from tests.support.sockets import connections_to, free_port

USER, PASSWORD = "owner", "c4n4ry%of/the:shop@"
#: What makes a server of a test quick; what it loses in a crash of the machine matters to nobody.
QUICK = ("fsync=off", "full_page_writes=off", "max_connections=40", "wal_level=replica")
SECONDS = "60"


def binaries() -> Path:
    """The directory of the newest server's programs.

    Raises:
        FileNotFoundError: there is none on this machine.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise FileNotFoundError("no PostgreSQL server is installed")
    return Path(on_path).resolve().parent


def run(program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of the server's programs, as the user that it wants."""
    as_user: list[str] = []
    if os.geteuid() == 0:
        # The server refuses to run as root.
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with tempfile.TemporaryFile("w+") as output:
        # No pipe: the server that pg_ctl starts would keep it open.
        command = [*as_user, str(binaries() / program), *arguments]
        ended = subprocess.run(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False, cwd="/"
        )
        output.seek(0)
        said = output.read()
    if check and ended.returncode:
        raise AssertionError(f"{program} failed: {said}")
    return subprocess.CompletedProcess(command, ended.returncode, said, "")


def give_to_server(path: Path) -> None:
    """Have a file or a directory belong to the user that servers run as."""
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


class Postgres:
    """One server; in a ``with`` statement it runs, and its directory is removed afterwards."""

    def __init__(self, *settings: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pg-"))
        self.data = self.root / "data"
        self.port = free_port()
        self.settings = (*QUICK, *settings)
        give_to_server(self.root)

    def __enter__(self) -> Self:
        password = self.root / "password"
        password.write_text(PASSWORD, "utf-8")
        password.chmod(0o644)
        options = ("--no-sync", "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8")
        run("initdb", "-D", str(self.data), "-U", USER, f"--pwfile={password}", *options)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop("immediate", check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """What a client of the tests connects with."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "dbname": "postgres",
        }

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    @property
    def sqlalchemy(self) -> dict[str, Any]:
        """The same as SQLAlchemy calls it."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "username": USER,
            "password": PASSWORD,
            "database": "postgres",
        }

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        settings = " ".join(f"-c {each}" for each in self.settings)
        options = f"-p {self.port} -k {self.root} -c listen_addresses=127.0.0.1 {settings}"
        arguments = ("-D", str(self.data), "-o", options, "-l", str(self.root / "log"))
        deadline = time.monotonic() + float(SECONDS)
        # The children of a server that was killed hold its memory until they have noticed.
        while run("pg_ctl", "start", "-w", "-t", SECONDS, *arguments, check=False).returncode:
            if time.monotonic() > deadline:
                raise AssertionError((self.root / "log").read_text("utf-8"))
            time.sleep(0.1)

    def stop(self, mode: str = "fast", *, check: bool = True) -> None:
        """End it: ``fast`` or ``immediate``."""
        run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.data), check=check)

    def kill(self) -> None:
        """End the server as a crash would, its children with it."""
        os.kill(int((self.data / "postmaster.pid").read_text("utf-8").split()[0]), signal.SIGKILL)

    @property
    def is_gone(self) -> bool:
        """Whether nobody of a server that was killed holds a connection any more."""
        return connections_to(self.port) == 0

    def standby(self) -> Postgres:
        """A standby of this server, which runs; whoever asks for it has to end it."""
        other = Postgres(*self.settings[len(QUICK) :])
        source = f"host=127.0.0.1 port={self.port} user={USER} password='{PASSWORD}'"
        arguments = ("-D", str(other.data), "-d", source, "-R", "--checkpoint=fast", "--no-sync")
        run("pg_basebackup", *arguments)
        other.start()
        return other

    def promote(self) -> None:
        """Have a standby take writes, and wait until it does."""
        run("pg_ctl", "promote", "-w", "-t", SECONDS, "-D", str(self.data))

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement by a connection of its own, and return its rows."""
        with psycopg.connect(**self.parameters, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def sessions(self, application: str) -> int:
        """How many connections a client of this name has."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        return int(self.execute(query, application)[0][0])


@contextmanager
def standing_by(primary: Postgres) -> Iterator[Postgres]:
    """A standby of a server, for as long as the block lasts."""
    other = primary.standby()
    try:
        yield other
    finally:
        other.__exit__(None, None, None)

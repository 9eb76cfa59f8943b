"""A PostgreSQL server for the tests of this room, and processes that watch its databases."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from app.healing.kind import Work
from app.kinds.database.declaration import READER, TABLE, Database
from app.kinds.database.kind import DatabaseKind
from app.manifest import parse
from tests.support.postgres import PASSWORD, USER, Postgres
from tests.support.proxy import Proxy

#: Seconds that what happens in the background may take on a machine that is busy.
SECONDS = 30.0
WORK = Work(attempt="0" * 32, claim=-1, deadline=20.0)


@dataclass
class Process:
    """What a process has of databases: their declaration, its environment, the host's home."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    declared: Mapping[str, Database] = field(default_factory=dict)
    kinds: list[DatabaseKind] = field(default_factory=list)

    def declare(self, keys: str = "", *, url: str = "${DATABASE_URL}", name: str = "main") -> None:
        """Declare one database, with these keys beside its URL."""
        found = parse(f'[database.{name}]\nurl = "{url}"\n{keys}\n', {TABLE: READER})
        assert found.faults == ()
        self.declared = {**self.declared, **found.tables[TABLE]}

    def use(self, *ports: int, login: tuple[str, str] = (USER, PASSWORD), rest: str = "") -> None:
        """Have the URL name a port of this machine, or several."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        given = ":".join(quote(each, safe="") for each in login)
        self.environ["DATABASE_URL"] = f"postgresql://{given}@{hosts}/postgres{rest}"

    def kind(
        self, install: Callable[[str], bool] = lambda _: False, *, migrate: bool = False
    ) -> DatabaseKind:
        """The kind as a process of this host has it that begins now."""
        made = DatabaseKind(
            lambda: self.declared, self.environ, self.home, install, migrate=migrate
        )
        self.kinds.append(made)
        return made

    def adjust(self, **changes: object) -> None:
        """Change how the database is declared."""
        self.declared = {
            name: replace(database, **changes)  # type: ignore[arg-type]
            for name, database in self.declared.items()
        }


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A process with one database, whose URL is in its environment."""
    made = Process(tmp_path / "home")
    made.declare("connect_timeout = 2")
    yield made
    for kind in made.kinds:
        kind.databases.close()
        for watch in tuple(kind._watches.values()):
            watch.wait(SECONDS)
    # What a test lost is the test's own, not the next one's.
    gc.collect()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A server that runs; a test that stops it has one of its own."""
    with Postgres() as running:
        yield running


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    """A proxy in front of the server."""
    with Proxy(server.port) as running:
        yield running


def eventually(kind: DatabaseKind, cause: str | None, name: str = "main") -> None:
    """Wait until the kind, which takes its turns meanwhile, says this of a database."""
    deadline = time.monotonic() + SECONDS
    found: str | None = None
    while time.monotonic() < deadline:
        kind.adopt()
        found = {fault.subject: fault.cause for fault in kind.faults()}.get(name)
        if found == cause and kind.last(name).at:
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} is not {cause} but {found}: {kind.last(name)}")

"""A failover as the operator sees it, which the documentation shows as it was recorded."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from app.healing.claims import Claims
from tests.conftest import World
from tests.isolation.shop import Shop
from tests.kinds.database.conftest import SECONDS
from tests.kinds.database.test_served import ORDERS
from tests.support.postgres import PASSWORD, Postgres, standing_by
from tests.support.processes import ROOT, Server, base_environ, wait_until
from tests.support.transcripts import BLOCK, FAILOVER, PROMPT, RECORD, comparable, recorded

DOCUMENT = ROOT / "docs" / "DATABASES.md"
DATABASE = """
[database.main]
url = "${DATABASE_URL}"
critical = true
"""


@dataclass
class Stage:
    """A primary, its standby, and a service whose URL names both; runs what a transcript shows."""

    shop: Shop
    primary: Postgres
    standby: Postgres
    server: Server
    url: str
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, line: str) -> str:
        """What a command of the transcript prints, once what it is about has come."""
        program, *arguments = shlex.split(line, comments=True)
        done = {"pg_ctl": self._control, "curl": self._fetch, "grep": self._grep}
        text = done.get(program, self._command)(arguments)
        for name, host in (("db1", self.primary), ("db2", self.standby)):
            own, shown = f"127.0.0.1:{host.port}", f"{name}:5432"
            # In a table the columns behind it stay where they are.
            text = text.replace(f"{own}  ", f"{shown:<{len(own)}}  ").replace(own, shown)
        text = text.replace(socket.gethostname(), "web-1")
        assert PASSWORD not in text
        self.outputs[line] = text
        return text

    def _control(self, arguments: list[str]) -> str:
        if arguments[0] == "stop":
            self.primary.stop("immediate")
            # A repair that has begun is one that the journal has afterwards.
            wait_until(self._repairing, SECONDS)
        else:
            self.standby.promote()
            wait_until(lambda: self._all("/orders/", 200) and self._all("/readyz", 200), SECONDS)
            if os.environ.get(RECORD):
                wait_until(lambda: "healed" in self._command(["auto-fix", "history"]), SECONDS)
        return ""

    def _repairing(self) -> bool:
        marks = Claims(self.shop.world.settings.home).marks()
        gated = self._all("/orders/", 503, "database_wrong_role") and self._all("/readyz", 503)
        return gated and any(mark.subject == "main" for mark in marks)

    def _all(self, path: str, status: int, code: str = "") -> bool:
        """Whether both workers answer so, and a gate where there is a code."""
        found = [self.server.get(path) for _ in range(8)]
        gates = [answer.json() for answer in found] if code else []
        return all(answer.status == status for answer in found) and all(
            gate.get("code") == code and "blueprint" in gate for gate in gates
        )

    def _fetch(self, arguments: list[str]) -> str:
        return self.server.get(urlsplit(arguments[-1]).path).text.rstrip("\n") + "\n"

    def _grep(self, arguments: list[str]) -> str:
        log = self.shop.world.root / "log"
        wait_until(lambda: "check passes again" in log.read_text(), SECONDS)
        found = [line for line in log.read_text().splitlines() if re.search(arguments[1], line)]
        return "".join(f"{line.partition(' request_id=')[0]}\n" for line in found)

    def _command(self, arguments: list[str]) -> str:
        settings = self.shop.world.settings
        environ = base_environ(
            AUTO_FIX_HOME=str(settings.home),
            AUTO_FIX_LOCK=str(settings.lock),
            AUTO_FIX_MANIFEST=str(self.shop.manifest),
            DATABASE_URL=self.url,
        )
        command = [sys.executable, "-m", "app.cli", *arguments[1:]]
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    """The service serves from the primary."""
    shop = Shop(world)
    shop.code("orders", ORDERS)
    table = shop.text("orders", orders='prefix = "/orders"\ndatabases = ["main"]')
    shop.manifest.write_text(f"{table}{DATABASE}")
    with ExitStack() as until_the_end:
        primary = until_the_end.enter_context(Postgres())
        primary.execute("CREATE TABLE orders (id int)")
        standby = until_the_end.enter_context(standing_by(primary))
        url = primary.url.replace(
            f"127.0.0.1:{primary.port}", f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        )
        server = until_the_end.enter_context(shop.serve(DATABASE_URL=url, LOG_FORMAT="console"))
        wait_until(lambda: server.get("/readyz").status == 200, SECONDS)
        yield Stage(shop, primary, standby, server, url)


def lines(text: str) -> set[str]:
    """The lines of an output without numbers and causes, which a busy machine makes others of."""
    return {re.sub(r"\d+|database_\w+", "N", line) for line in comparable(text).splitlines()}


def test_is_what_the_document_shows(stage: Stage) -> None:
    """Commands, health, log and journal say what was wrong, for how long, and what serves now."""
    text = DOCUMENT.read_text()
    fresh = recorded(text, FAILOVER, stage.run)
    if os.environ.get(RECORD):
        DOCUMENT.write_text(fresh)
        return
    (block,) = [one for one in BLOCK.finditer(text) if one["place"] == FAILOVER]
    shown: dict[str, str] = {}
    command = ""
    for line in block["body"].splitlines(keepends=True):
        if line.startswith(PROMPT):
            command = line.removeprefix(PROMPT).rstrip("\n")
            shown[command] = ""
        else:
            shown[command] += line
    # On a busy machine there may be more than is shown, and a standby that is promoted between two
    # attempts is found by the probe alone.
    for each, output in shown.items():
        missing = lines(output) - lines(stage.outputs[each])
        assert all("healed" in line for line in missing), (each, missing)

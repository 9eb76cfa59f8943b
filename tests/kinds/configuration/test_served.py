"""Files as real workers serve them: blueprints that wait, faults that are told, restarts."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.kinds.configuration.last_good import DIRECTORY
from tests.conftest import World
from tests.isolation.shop import Shop, answers
from tests.serving.house import all_workers, reason
from tests.support.processes import ROOT, Server, wait_until
from tests.support.transcripts import RECORD, RESTARTED, comparable, recorded

DOCUMENT = ROOT / "docs" / "CONFIGURATION.md"
ADDRESS = "http://127.0.0.1:10000"
FUNCTIONS = """\
[[function]]
name = "orders"
url = "https://orders.example.com"
timeout = 5

[[function]]
name = "stock"
url = "https://stock.example.com"
timeout = 9
"""
CODE = """\
from flask import Blueprint, current_app

from app.kinds.configuration.kind import files

bp = Blueprint("tea", __name__)


@bp.get("/")
def tea():
    return {"tea": files(current_app)["pricing"].value["tea"]}
"""


def write(path: Path, text: str) -> None:
    """Put a file in place by a rename, as editors and Kubernetes do."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


class Terminal:
    """Runs the lines of the transcript in a directory with a service that restarts."""

    def __init__(self, shop: Shop, stack: ExitStack) -> None:
        self._shop, self._stack = shop, stack
        self._home = shop.world.settings.home
        self.file = shop.directory / "edge-functions.toml"
        self.server = self._start()

    def _start(self) -> Server:
        environ = {"EDGE_FUNCTIONS_FILE": str(self.file)}
        return self._stack.enter_context(self._shop.serve(**environ))

    def run(self, line: str) -> str:
        """What a line prints."""
        if line.startswith("pkill"):
            for pid in (self.server.process.pid, *all_workers(self.server, 2)):
                os.kill(int(pid), signal.SIGKILL)
            self.server.process.wait()
            return ""
        if line.startswith("gunicorn"):
            self.server = self._start()
            return ""
        if line.startswith("ls"):
            wait_until(lambda: len(tuple((self._home / DIRECTORY).glob("[a-z]*"))) == 3, timeout=60)
        if "auto-fix/health" in line:
            # Each worker sees a change, and makes its health anew, in its own time.
            return wait_until(lambda: self._execute(line), timeout=60)
        return self._execute(line)

    def _execute(self, line: str) -> str:
        ended = subprocess.run(
            ["/bin/bash", "-c", line.replace(ADDRESS, self.server.url)],
            cwd=self._shop.directory,
            env={**os.environ, "AUTO_FIX_HOME": str(self._home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stderr == ""
        return ended.stdout


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop whose tea has its price in a file that is not there yet."""
    made = Shop(world)
    made.code("tea", CODE)
    made.code("apples")
    table = 'prefix = "/tea"\nfiles = ["pricing"]'
    own = """
[blueprint.metrics]
import = "app.routes.metrics:metrics_bp"
paths = ["/metrics"]
[blueprint.edge_functions]
import = "app.routes.edge_functions:edge_functions_bp"
prefix = "/api/edge-functions"
[file.pricing]
path = "pricing.json"
"""
    made.manifest.write_text(f"{made.text('apples', 'tea', tea=table)}{own}")
    return made


@pytest.mark.timeout(300)
def test_transcript(shop: Shop) -> None:
    """A blueprint waits for its file; what was good is served after a kill over broken files."""
    pricing = shop.directory / "pricing.json"
    (shop.directory / "edge-functions.toml").write_text(FUNCTIONS)
    text = DOCUMENT.read_text()
    with ExitStack() as stack:
        terminal = Terminal(shop, stack)
        answers(terminal.server, {"/tea/": {503}, "/apples": {200}}, within=30)
        assert reason(terminal.server, "tea") == "configuration_missing"
        write(pricing, '{"tea": 3}')
        answers(terminal.server, {"/tea/": {200}}, within=30)
        wait_until((shop.world.settings.home / DIRECTORY / "pricing").exists, timeout=60)
        write(pricing, '{"tea": ')
        fresh = recorded(text, RESTARTED, terminal.run)
        answers(terminal.server, {"/tea/": {200}}, within=30)
        assert terminal.server.get("/tea/").json() == {"tea": 3}
        metrics = terminal.server.get("/metrics").text
        assert 'auto_fix_stale_seconds{kind="configuration",subject="pricing"} ' in metrics
    if os.environ.get(RECORD):
        DOCUMENT.write_text(fresh)
    assert comparable(fresh) == comparable(DOCUMENT.read_text())

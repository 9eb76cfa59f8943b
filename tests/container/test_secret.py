"""A container that starts without a secret, which comes later: what the documentation shows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.container.docker import DOCKER, Container, docker, unique
from tests.support.processes import ROOT, http_get, wait_until
from tests.support.transcripts import CONTAINER, RECORD, comparable, recorded

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

DOCUMENT = ROOT / "docs" / "AUTO_FIX_SYSTEM.md"
#: What the transcript calls the container, its image and its address.
NAME, IMAGE, ADDRESS = "shop", "royal-equips-orchestrator", "127.0.0.1:10000"
MANIFEST = """\
[blueprint.main]
import = "app.routes.main:main_bp"
paths = ["/"]

[blueprint.orders]
import = "shop.orders:orders"
prefix = "/orders"
environment = ["SHOPIFY_API_KEY"]

[variable.SHOPIFY_API_KEY]
type = "pattern"
pattern = "shpat_[0-9a-f]{8,}"
secret = true
help = "Admin API token of the shop."
"""
ORDERS = """\
import os

import flask

orders = flask.Blueprint("orders", __name__)
KEY = os.environ["SHOPIFY_API_KEY"]


@orders.get("/")
def index():
    return {"orders": []}
"""


class Terminal:
    """Runs the lines of the transcript in a directory, each in a shell, as an operator would."""

    def __init__(self, directory: Path, image: str) -> None:
        self.directory = directory
        self.container = Container(unique(NAME))
        self.processes: list[str] = []
        self._image = image

    def run(self, line: str) -> str:
        """What a line of the transcript prints."""
        if line.startswith("sleep"):
            # A machine under load may need longer than what is shown.
            orders = f"{self.container.url}/orders/"
            wait_until(lambda: {http_get(orders).status for _ in range(12)} == {200})
            return ""
        own = {"docker": DOCKER, NAME: self.container.id, IMAGE: self._image}
        words = [own.get(word, word) for word in line.split(" ")]
        starts = "run" in words
        # Any port of the host that is free stands for the one that is shown.
        address = "127.0.0.1:" if starts else self.container.url.removeprefix("http://")
        ended = subprocess.run(
            ["bash", "-c", " ".join(words).replace(ADDRESS, address)],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.stderr == ""
        if starts:
            self.container.wait_until_ready()
        if "top" in words:
            self.processes.append(ended.stdout)
        return ended.stdout


def test_a_secret_that_is_mounted_later(image: str, tmp_path: Path) -> None:
    """The others serve, it says what is missing, and it is live in the same processes."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(ORDERS)
    (tmp_path / "orchestrator.toml").write_text(MANIFEST)
    terminal = Terminal(tmp_path, image)
    text = DOCUMENT.read_text()
    try:
        fresh = recorded(text, CONTAINER, terminal.run)
        assert len(terminal.processes) == 2
        assert terminal.processes[0] == terminal.processes[1]
        assert "shpat_0" not in terminal.container.log
    finally:
        docker("rm", "-f", "-v", terminal.container.id)
    if os.environ.get(RECORD):
        DOCUMENT.write_text(fresh)
    assert comparable(fresh) == comparable(DOCUMENT.read_text())

"""A real Prometheus scrapes the image by deploy/prometheus' own settings, and its rules hold."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.container.docker import HARDENED, Container, running
from tests.support.processes import ROOT, answers, base_environ, http_get, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

SETTINGS = ROOT / "deploy/prometheus"
#: The target that the settings name.
TARGET = "127.0.0.1:10000"


@pytest.fixture
def program() -> str:
    """Prometheus; CI counts its absence as a failure."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no prometheus here (Debian: apt-get install prometheus)")
    return found


@pytest.fixture
def container(image: str) -> Iterator[Container]:
    """The image, hardened, with a port on this host."""
    with running(image, *HARDENED, "-p", "127.0.0.1::10000") as started:
        yield started


@contextlib.contextmanager
def scraping(program: str, target: str, directory: Path) -> Iterator[str]:
    """Run Prometheus with the settings of deploy/prometheus for another target; its URL."""
    shutil.copytree(SETTINGS, directory / "settings")
    configuration = directory / "settings/prometheus.yml"
    text = configuration.read_text()
    assert text.count(TARGET) == 1
    configuration.write_text(text.replace(TARGET, target))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (directory / "log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=base_environ(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(f"http://{address}/-/ready", 200), timeout=30)
        yield f"http://{address}"
    finally:
        stop(process)


def asked(url: str, path: str) -> Any:  # noqa: ANN401 - a JSON document
    """The data of an answer of Prometheus' API."""
    answer = http_get(f"{url}/api/v1/{path}").json()
    assert answer["status"] == "success", answer
    return answer["data"]


def value(url: str, query: str) -> float | None:
    """The value of a query that gives one series; None while it gives none."""
    result = asked(url, f"query?query={quote(query)}")["result"]
    return float(result[0]["value"][1]) if result else None


def rules(url: str) -> list[dict[str, Any]]:
    """Every rule with its state."""
    return [rule for group in asked(url, "rules")["groups"] for rule in group["rules"]]


def test_scraped_and_evaluated(container: Container, program: str, tmp_path: Path) -> None:
    """The target is up, rules record what was asked of it, and no alert complains."""
    target = container.url.removeprefix("http://")
    with scraping(program, target, tmp_path) as url:
        wait_until(lambda: value(url, 'up{job="orchestrator"}') == 1, timeout=60)
        assert value(url, 'auto_fix_health_status{job="orchestrator", status="healthy"}') == 1

        def rate() -> float | None:
            # Calls have to go on between two scrapes: a rate needs both.
            assert container.get("/api/edge-functions").status == 200
            return value(url, 'job:http_requests:rate5m{job="orchestrator"}')

        wait_until(rate, timeout=120, interval=0.5)
        wait_until(lambda: all(rule["health"] == "ok" for rule in rules(url)), timeout=60)
        alerts = {rule["name"]: rule["state"] for rule in rules(url) if rule["type"] == "alerting"}
        assert len(alerts) > 10
        assert set(alerts.values()) == {"inactive"}
        errors = value(url, 'job:http_request_errors:ratio_rate5m{job="orchestrator"}')
        assert errors == 0

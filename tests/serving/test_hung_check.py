"""A health check that hangs: nobody who asks the served application notices."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.serving.house import House
from tests.support.dripping_index import DrippingIndex
from tests.support.processes import Server, http_get, wait_until

POLLED = ("/livez", "/readyz", "/healthz", "/api/auto-fix/health", "/metrics", "/")
#: Longer than the check's timeout.
PATIENCE = 20


@pytest.fixture
def index() -> Iterator[DrippingIndex]:
    """One that drips."""
    with DrippingIndex() as dripping:
        yield dripping


def _source(server: Server) -> Any:  # noqa: ANN401 - a JSON document
    return server.get("/api/auto-fix/health").json()["checks"].get("package_source", {})


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["forked", "preloaded"])
def test_an_index_that_never_answers(
    house: House, index: DrippingIndex, arguments: tuple[str, ...]
) -> None:
    """It is asked once, counts as failed from its timeout on, and holds no request up."""
    with house.serve(*arguments, workers=1, UV_DEFAULT_INDEX=index.url) as server:
        wait_until(lambda: index.asked == 1)
        with ThreadPoolExecutor(16) as pool:
            polls = [pool.submit(http_get, server.url + path) for path in POLLED * 8]
            assert {poll.result(PATIENCE).status for poll in polls} == {200}
        assert _source(server) == {}
        wait_until(lambda: _source(server).get("reason") == "timeout", timeout=PATIENCE)
        report = server.get("/api/auto-fix/health").json()
        assert (report["overall_status"], server.get("/readyz").status) == ("degraded", 200)
        forced = server.get("/api/auto-fix/force-health-check").json()
        assert forced["timestamp"] > report["timestamp"]
        assert forced["checks"]["package_source"]["reason"] == "timeout"
        assert index.asked == 1
        index.release()
        wait_until(lambda: _source(server).get("ok"), timeout=PATIENCE)
        assert server.log_text.count("health check hangs") == 1


def test_each_worker_checks_for_itself(house: House) -> None:
    """Every worker of a preloaded application reads fresh results, long after the fork."""
    with house.serve("--preload", workers=2) as server:
        first = {server.get("/api/auto-fix/health").json()["timestamp"] for _ in range(20)}
        newest = max(first)
        wait_until(lambda: min(_timestamps(server)) > newest, timeout=PATIENCE)


def _timestamps(server: Server) -> set[str]:
    return {http_get(server.url + "/api/auto-fix/health").json()["timestamp"] for _ in range(12)}

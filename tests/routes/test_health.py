"""``/livez``, ``/readyz``, ``/startupz`` and ``/healthz``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from app.healing.report import Check
from app.health import Group, HealthCheck, HealthService
from tests.support.http import (
    assert_problem,
    fail,
)

WAIT = 20


class TestProbes:
    """What they answer for a healthy service, and for one that is not."""

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/healthz"])
    def test_up(self, client: FlaskClient, path: str) -> None:
        """A healthy service answers each with 200, uncached."""
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"

    def test_degraded(self, client: FlaskClient) -> None:
        """A degraded service is ready, and its summary says what fails."""
        fail(client, critical=False)
        assert client.get("/readyz").status_code == 200
        body = client.get("/healthz").get_json()
        assert (body["status"], body["failed"]) == ("degraded", {"made_up": "broken"})

    def test_unhealthy(self, client: FlaskClient) -> None:
        """An unhealthy service is alive, not ready, and names the critical check."""
        fail(client, critical=True)
        response = client.get("/readyz")
        assert assert_problem(response, 503, "not_ready")["failed"] == ["made_up"]
        assert int(response.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 503
        assert client.get("/livez").status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/api/auto-fix/health"])
    def test_a_hung_check_delays_no_answer(self, client: FlaskClient, path: str) -> None:
        """While a check hangs everything is answered by what is known."""
        with _hung(client):
            assert client.get(path).status_code == 200

    def test_livez_begins_nothing(self, client: FlaskClient) -> None:
        """Liveness looks at nothing, not even in the background."""
        looked = threading.Event()

        def look() -> list[Check]:
            looked.set()
            return []

        health: HealthService = client.application.extensions["health"]
        health.add(HealthCheck(name="looked", kind="test", run=look, groups=(Group.LIVE,)))
        assert client.get("/livez").text == "alive\n"
        assert not looked.is_set()

    def test_livez_depends_on_its_group(self, client: FlaskClient) -> None:
        """A critical check that liveness is made to depend on ends it."""
        check = Check(
            name="loop", kind="test", subject="x", ok=False, critical=True, reason="stuck"
        )
        health: HealthService = client.application.extensions["health"]
        health.add(HealthCheck(name="loop", kind="test", run=lambda: [check], groups=(Group.LIVE,)))
        health.force()
        body = assert_problem(client.get("/livez"), 503, "not_alive")
        assert body["failed"] == ["loop"]
        assert client.get("/readyz").status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
    def test_plain_text(self, client: FlaskClient, path: str) -> None:
        """A probe that looks at more than the status reads a word."""
        response = client.get(path)
        assert (response.mimetype, response.text) == ("text/plain", f"{_word(path)}\n")


def _word(path: str) -> str:
    return {"/livez": "alive", "/readyz": "ready", "/startupz": "started"}[path]


@contextlib.contextmanager
def _hung(client: FlaskClient) -> Iterator[None]:
    """A check that was begun and does not end before the block does."""
    gate, entered = threading.Event(), threading.Event()

    def hang() -> list[Check]:
        entered.set()
        assert gate.wait(WAIT)
        return []

    health: HealthService = client.application.extensions["health"]
    health.force()
    health.add(HealthCheck(name="hung", kind="test", run=hang, groups=(Group.READY,)))
    health.refresh()
    try:
        assert entered.wait(WAIT)
        yield
    finally:
        gate.set()

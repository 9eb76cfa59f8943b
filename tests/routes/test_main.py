"""The landing page: what is up, what is not and why, what was healed."""

from __future__ import annotations

import re
from dataclasses import replace

from flask.testing import FlaskClient

from app import BLUEPRINTS
from app.healing.report import Check
from app.health import HealthCheck
from tests.support.http import (
    Build,
    add,
    fail,
)


class TestLandingPage:
    """``/``: what is up, what is not and why, what was healed."""

    def test_healthy(self, client: FlaskClient) -> None:
        """It says that everything is up and links to addresses that answer."""
        response = client.get("/")
        assert response.mimetype == "text/html"
        assert "Everything is up" in response.text
        links = re.findall(r'href="(/[^"]*)"', response.text)
        assert len(links) > 5
        for link in links:
            with client.get(link.replace("&amp;", "&")) as linked:
                assert linked.status_code == 200

    def test_addresses(self, client: FlaskClient) -> None:
        """Each part is shown with what it answers for, as the status tells it."""
        text = client.get("/").text
        told = client.get("/api/auto-fix/status").get_json()["blueprints"]
        assert told["health"]["paths"] == ["/livez", "/readyz", "/healthz"]
        for blueprint in told.values():
            for path in blueprint["paths"]:
                assert f"<code>{path}</code>" in text

    def test_loads_nothing_from_elsewhere(self, client: FlaskClient) -> None:
        """It names no other origin and holds no inline style or script."""
        text = client.get("/").text
        assert "://" not in text
        assert "<script" not in text
        assert "style=" not in text

    def test_trouble_is_shown(self, client: FlaskClient) -> None:
        """What fails is named with its reason, escaped."""
        fail(client, critical=True)
        check = Check(
            name="y", kind="test", subject="<script>alert(1)</script>", ok=False, reason="odd",
            fallback="requests",
        )  # fmt: skip
        add(client, HealthCheck(name="y", kind="test", run=lambda: [check]))
        text = client.get("/").text
        assert "Something critical is missing" in text
        assert "<script>" not in text
        assert "runs on requests" in text

    def test_blueprint_that_is_down(self, build: Build) -> None:
        """A blueprint that could not be imported is shown as down, and is not linked to."""
        client = build(BLUEPRINTS=_without_metrics()).test_client()
        text = client.get("/").text
        assert "first_party_missing" in text
        assert 'href="/metrics"' not in text


def _without_metrics() -> tuple[object, ...]:
    return tuple(
        replace(spec, path="app.routes.absent") if spec.name == "metrics" else spec
        for spec in BLUEPRINTS
    )

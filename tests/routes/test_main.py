"""The landing page: what is up, what is not and why, what was healed."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace

from flask.testing import FlaskClient

from app.healing.report import Check
from app.health import HealthCheck
from app.routes.bodies import VERSION
from app.settings.declarations import Mode
from tests.conftest import World
from tests.support.blueprints import BLUEPRINTS
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
        assert told["health"]["paths"] == ["/livez", "/readyz", "/startupz", "/healthz"]
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
        assert text.count("<b>app.routes.absent</b>") == 1
        assert text.count("first_party_missing") == 2  # what is not up, and the features
        assert 'href="/metrics"' not in text

    def test_which_process_answers(self, client: FlaskClient) -> None:
        """It says by whom it was made: host, process, version and mode."""
        text = client.get("/").text
        assert f"process {os.getpid()} on {socket.gethostname()}, version {VERSION}" in text
        assert "Mode: heal" in text

    def test_a_fault_is_told_once(self, world: World, build: Build) -> None:
        """A missing package is one entry, whatever needs it, with what comes next."""
        world.publish("gone")
        fixer = world.fixer(required=("gone",))
        client = build(AUTO_FIXER=fixer).test_client()
        text = client.get("/").text
        assert text.count("<b>gone</b>") == 1
        assert text.count("missing_distribution") == 1
        assert "3 attempts left, the next at once." in text

    def test_when_it_is_tried_again(self, world: World, build: Build) -> None:
        """Once the attempts are used up it says when the next one is, and how the last ended."""
        world.publish("broken", files={"broken/__init__.py": "raise RuntimeError\n"})
        fixer = world.fixer(required=("broken",))
        client = build(AUTO_FIXER=fixer).test_client()
        for _ in range(3):
            assert not fixer.safe_import("broken")[0]
        text = client.get("/").text
        assert re.search(r"0 attempts left, the next in \d+ s\. The last one: the installed", text)

    def test_where_nothing_may_be_healed(self, world: World, build: Build) -> None:
        """In mode report it says that no fix will be tried, and why."""
        world.publish("gone")
        fixer = world.fixer(required=("gone",), mode=Mode.REPORT)
        text = build(AUTO_FIXER=fixer).test_client().get("/").text
        assert "No fix will be tried: healing is switched off" in text
        assert "attempts left" not in text
        assert "came with the image" not in text


def _without_metrics() -> tuple[object, ...]:
    return tuple(
        replace(spec, module="app.routes.absent") if spec.name == "metrics" else spec
        for spec in BLUEPRINTS
    )

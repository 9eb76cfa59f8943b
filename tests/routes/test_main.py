"""``/``: the state in one sentence, what is wrong, worst first, and what was healed."""

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
from tests.support.http import BEARER, Build, add, fail

#: What a subject of a stranger's may hold.
UGLY = "<script>alert(1)</script>\x1b[31m\u202egnirts" + "x" * 10_000


def heading(text: str) -> str:
    """The one sentence of a page, without its markup."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", text, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", "", found[1]).split())


class TestSentence:
    """The first thing that is read."""

    def test_healthy(self, client: FlaskClient) -> None:
        """It says that nothing is wrong, and links to addresses that answer."""
        response = client.get("/")
        assert response.mimetype == "text/html"
        assert re.match(r"Serving\. Nothing is wrong: all \d+ checks pass", heading(response.text))
        links = re.findall(r'(?:href|src)="(/[^"]*)"', response.text)
        assert len(links) > 10
        for link in links:
            with client.get(link.replace("&amp;", "&")) as linked:
                assert linked.status_code == 200

    def test_a_blueprint_that_is_down(self, build: Build) -> None:
        """It names the part that is down, since when and why; nothing links to it."""
        text = build(BLUEPRINTS=_without_metrics()).test_client().get("/").text
        said = r"Serving\. metrics is down since \d\d:\d\d:\d\d UTC: app\.routes\.absent belongs"
        assert re.match(said, heading(text)), heading(text)
        assert text.count("first_party_missing") == 2  # what is wrong, and the blueprints
        assert 'href="/metrics"' not in text

    def test_critical(self, client: FlaskClient) -> None:
        """It says that the service is not ready."""
        fail(client, critical=True)
        assert heading(client.get("/").text).startswith("Not ready. x: mend ")


class TestFaults:
    """Each with what was tried and what comes next."""

    def test_it_is_told_once(self, world: World, build: Build) -> None:
        """A missing package is one entry, whatever needs it, with what comes next."""
        world.publish("gone")
        text = build(AUTO_FIXER=world.fixer(required=("gone",))).test_client().get("/").text
        assert text.count('class="fault"') == 1
        assert text.count("missing_distribution") == 1
        assert "The next try comes at once." in text
        assert "Show the fix" in text

    def test_when_it_is_tried_again(self, world: World, build: Build) -> None:
        """Once the attempts are used up it says when the next one is, and how the last ended."""
        world.publish("broken", files={"broken/__init__.py": "raise RuntimeError\n"})
        fixer = world.fixer(required=("broken",))
        client = build(AUTO_FIXER=fixer).test_client()
        for _ in range(3):
            assert not fixer.safe_import("broken")[0]
        text = client.get("/").text
        assert re.search(
            r"Outcome: <code>probe_failed</code>, .*0 attempts left, next try <time", text
        )

    def test_where_nothing_may_be_healed(self, world: World, build: Build) -> None:
        """In mode report it says that nothing is tried, and why."""
        world.publish("gone")
        fixer = world.fixer(required=("gone",), mode=Mode.REPORT)
        text = build(AUTO_FIXER=fixer).test_client().get("/").text
        assert "healing is switched off" in text
        assert "Nothing is tried by itself." in text
        assert "Show the fix" not in text

    def test_text_of_strangers_is_text(self, client: FlaskClient) -> None:
        """Markup, escapes and marks of direction are shown as text, cut."""
        check = Check(
            name="y", kind="test", subject=UGLY, ok=False, reason="odd", fallback="requests"
        )
        add(client, HealthCheck(name="y", kind="test", run=lambda: [check]))
        text = client.get("/").text
        assert "<script>" not in text.replace('<script src="', "")
        assert not {"\x1b", "\u202e"} & set(text)
        assert "runs on <bdi>requests</bdi>" in text
        assert len(text) < 10_000

    def test_details_need_the_token(self, world: World, build: Build) -> None:
        """Without it, there is what the cause means, and no advice and no plan."""
        world.publish("gone")
        client = build(AUTO_FIXER=world.fixer(required=("gone",)), token="t" * 20).test_client()
        anyone, known = (
            client.get("/").text,
            client.get("/", headers={"Authorization": "Bearer " + "t" * 20}).text,
        )
        assert "Show the fix" in known
        assert "gone" in anyone
        assert "Show the fix" not in anyone
        assert "gone is not installed" not in anyone


class TestPage:
    """What holds for every page."""

    def test_loads_nothing_from_elsewhere(self, client: FlaskClient) -> None:
        """It names no other origin, and holds no inline style and no inline script."""
        response = client.get("/")
        assert "://" not in response.text
        assert "style=" not in response.text
        assert set(re.findall(r"<script[^>]*>([^<]*)", response.text)) == {""}
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy

    def test_who_has_it_is_told_so(self, client: FlaskClient) -> None:
        """An unchanged page is a 304 without a body."""
        first = client.get("/")
        again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")

    def test_which_process_answers(self, client: FlaskClient) -> None:
        """It says by whom it was made: host, process, version and mode."""
        text = client.get("/").text
        assert f"by process {os.getpid()} on {socket.gethostname()}" in text
        assert f"Version {VERSION}" in text
        assert "Mode: heal" in text

    def test_addresses(self, client: FlaskClient) -> None:
        """Each part that serves is shown with what it answers for, as the status tells it."""
        text = client.get("/").text
        told = client.get("/api/auto-fix/status", headers=BEARER).get_json()["blueprints"]
        for blueprint in told.values():
            for path in blueprint["paths"]:
                assert f"<code>{path}</code>" in text


def _without_metrics() -> tuple[object, ...]:
    return tuple(
        replace(spec, module="app.routes.absent") if spec.name == "metrics" else spec
        for spec in BLUEPRINTS
    )

"""``GET /api/auto-fix/drift``: JSON, or requirement lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.settings.declarations import Settings

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.conftest import World

DRIFT = "/api/auto-fix/drift"


@pytest.fixture
def client(world: World) -> FlaskClient:
    """The application on an engine that has healed one module."""
    world.publish("healable")
    fixer = world.fixer()
    assert fixer.safe_import("healable")[0]
    settings = Settings(healing=fixer.settings)
    return create_app({"SETTINGS": settings, "AUTO_FIXER": fixer}).test_client()


def test_tells_what_was_healed(client: FlaskClient) -> None:
    """By default as JSON, uncached, different by Accept."""
    answer = client.get(DRIFT)
    assert answer.json is not None
    assert (answer.json["drift"], answer.json["requirements"]) == (True, ["healable>=1.0"])
    (item,) = answer.json["items"]
    assert (item["subject"], item["listed"]) == ("healable", False)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain", "text/plain"),
        ("text/plain, application/json;q=0.5", "text/plain"),
        ("application/json, text/plain;q=0.5", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_follows_accept(client: FlaskClient, accept: str, expected: str) -> None:
    """What cannot be had gets JSON."""
    answer = client.get(DRIFT, headers={"Accept": accept})
    assert answer.mimetype == expected
    if expected == "text/plain":
        assert answer.text == "healable>=1.0\n"


def test_exact_versions_are_details(world: World) -> None:
    """With a token configured only its bearer sees what was installed."""
    settings = Settings(healing=world.settings, token="t0ken")  # noqa: S106 - loopback
    application = create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer()})
    client = application.test_client()
    assert client.get(DRIFT).json == {"drift": False, "requirements": []}
    answer = client.get(DRIFT, headers={"Authorization": "Bearer t0ken"})
    assert answer.json == {"drift": False, "requirements": [], "items": []}


def test_what_is_listed_is_no_drift(client: FlaskClient, world: World) -> None:
    """The requirements beside the lock name it: the next image has it."""
    world.settings.lock.with_suffix(".txt").write_text("healable>=1.0\n")
    body = client.get(DRIFT).json
    assert body is not None
    assert (body["drift"], body["requirements"]) == (False, [])
    assert body["items"][0]["listed"] is True
    assert client.get(DRIFT, headers={"Accept": "text/plain"}).text == ""

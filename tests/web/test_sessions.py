"""Sessions: none unless a blueprint's application can sign them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from flask import Blueprint, session
from flask.testing import FlaskClient

from app import create_app, manifest
from app.settings.declarations import Settings
from tests.conftest import World
from tests.support.blueprints import BLUEPRINTS

MODULE = "app.a_blueprint_with_sessions"


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> manifest.Blueprint:
    """A blueprint that counts a caller's visits."""
    bp = Blueprint("visits", MODULE)

    @bp.get("/seen")
    def seen() -> str:
        return str(session.get("visits", 0))

    @bp.post("/visit")
    def visit() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    module = ModuleType(MODULE)
    module.bp = bp  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return manifest.Blueprint("visits", MODULE, "bp", "/visits")


def _client(world: World, spec: manifest.Blueprint, **config: object) -> FlaskClient:
    settings = Settings(healing=world.settings)
    given = {"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "BLUEPRINTS": (*BLUEPRINTS, spec)}
    return create_app({**given, **config}).test_client()


@pytest.fixture
def unsigned(world: World, spec: manifest.Blueprint) -> Iterator[FlaskClient]:
    """A client of the application as it is."""
    with _client(world, spec) as client:
        yield client


@pytest.fixture
def signed(world: World, spec: manifest.Blueprint) -> Iterator[FlaskClient]:
    """A client of one that can sign sessions."""
    with _client(world, spec, SECRET_KEY="made up") as client:  # noqa: S106
        yield client


def test_none_without_a_key(unsigned: FlaskClient) -> None:
    """It can be read, is empty, and refuses to be written; no answer sets or minds a cookie."""
    response = unsigned.get("/visits/seen")
    assert (response.text, response.headers.get("Set-Cookie")) == ("0", None)
    assert "Cookie" not in response.headers.get("Vary", "")
    assert unsigned.post("/visits/visit").status_code == 500
    assert unsigned.get("/visits/seen").text == "0"


def test_flasks_own_with_a_key(signed: FlaskClient) -> None:
    """A blueprint that needs sessions gets them from the configuration."""
    assert [signed.post("/visits/visit").text for _ in range(3)] == ["1", "2", "3"]
    assert signed.get("/visits/seen").text == "3"

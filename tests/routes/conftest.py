"""An application of the whole manifest, with an engine of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.settings.declarations import Settings
from tests.conftest import World


@pytest.fixture
def app(world: World) -> Iterator[Flask]:
    """An application that serves everything."""
    settings = Settings(healing=world.settings)
    made = create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "TESTING": True})
    yield made
    made.extensions["edge"].close()


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    """The description that the application serves."""
    document: dict[str, Any] = app.test_client().get("/api/openapi.json").get_json()
    return document

"""A house for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import World
from tests.serving.house import House


@pytest.fixture
def house(tmp_path: Path, world: World) -> House:
    """A directory to serve, with a package index of its own."""
    return House(tmp_path, world)

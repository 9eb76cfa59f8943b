"""A house for each test, and environments that lack what a test is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import World
from tests.serving.environments import Wheelhouse, environment, pack
from tests.serving.house import House


@pytest.fixture
def house(tmp_path: Path, world: World) -> House:
    """A directory to serve, with a package index of its own."""
    return House(tmp_path, world)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Wheelhouse:
    """Wheels of everything that the service runs on, with their lock."""
    return pack(tmp_path_factory.mktemp("wheelhouse"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has pip and nothing else."""
    return environment(tmp_path_factory.mktemp("bare"), pip=True)


@pytest.fixture(scope="session")
def without_aiohttp(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Wheelhouse) -> Path:
    """The interpreter of an environment that has everything but aiohttp, and no installer."""
    python = environment(tmp_path_factory.mktemp("without-aiohttp"))
    wheelhouse.install(python, wheelhouse.projects() - {"aiohttp"})
    return python

"""A house for each test, and environments that lack what a test is about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from uv import find_uv_bin

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


@pytest.fixture
def environ(tmp_path: Path, wheelhouse: Wheelhouse) -> dict[str, str]:
    """Heals by the lock of the wheelhouse, with uv."""
    uv = str(Path(find_uv_bin()).parent)
    return {
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "AUTO_FIX_LOCK": str(wheelhouse.lock),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "PATH": os.pathsep.join((uv, os.environ["PATH"])),
    }


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

"""Checkouts for the commands' tests."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli.support import Checkout, copy_project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World

INSTALLERS = (
    *("UV_DEFAULT_INDEX", "UV_CACHE_DIR", "UV_NO_CONFIG", "UV_HTTP_RETRIES"),
    *("PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_RETRIES"),
)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give a test its own copy of the project, with a home of its own."""
    root = copy_project(tmp_path / "project")
    # No index answers there: what needs one has to say so.
    environ = {
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple/",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
        "PIP_RETRIES": "0",
    }
    return Checkout(root, environ)


@pytest.fixture
def small(world: World, checkout: Checkout) -> Checkout:
    """A checkout that locks and heals a few small wheels from an index on loopback.

    alpha 1.0 is required, redis 5.9 approved; redis needs beta 2.0.
    """
    world.publish("alpha")
    world.publish("redis", "5.9", requires=["beta>=2"])
    world.publish("beta", "2.0", needed_by=["redis"])
    checkout.write("requirements-flask.txt", "# what is served\nalpha>=1.0  # the first\n")
    approved = 'redis = "redis>=5.0"\n'
    blueprints = checkout.read("orchestrator.toml").partition("[blueprint.")
    checkout.write("orchestrator.toml", f"[packages]\n{approved}\n{''.join(blueprints[1:])}")
    shutil.copy(world.settings.lock, checkout.root / "requirements-flask.lock")
    environ = {name: os.environ[name] for name in INSTALLERS}
    return Checkout(checkout.root, {**checkout.environ, **environ})

"""What the tests share: an engine with its own home, lock and package index."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings.declarations import HealingSettings, Settings
from app.utils.auto_fix import AutoFixer
from tests.support import canaries
from tests.support.http import TOKEN, Build
from tests.support.index import SimpleIndex
from tests.support.wheels import build_wheel, lock_text, project_of

#: Settings of this project and of the installers: none of them leaks into a test.
FOREIGN_SETTINGS = (
    "AUTO_FIX_",
    "UV_",
    "PIP_",
    "EDGE_FUNCTIONS_FILE",
    "PORT",
    "LOG_",
    "ACCESS_LOG",
    "OTEL_",
)
#: Seconds that a check which still runs at the end of a test is waited for.
LAST_CHECK = 10.0


def pytest_configure() -> None:
    """Make ready what no test may have to think of.

    A run in the background of a shell ignores Ctrl-C, and so would the processes that it starts.
    Every error response that tests receive is inspected for what it must not say.
    """
    os.environ.update(canaries.ENVIRON)
    Flask.test_client_class = canaries.inspected_client()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class World:
    """A lock, a package index on loopback and engines that use them and nothing else."""

    root: Path
    index: SimpleIndex
    settings: HealingSettings
    dependency_map: dict[str, str] = field(default_factory=dict)
    _wheels: list[Path] = field(default_factory=list)
    _parents: dict[str, Sequence[str]] = field(default_factory=dict)

    def publish(
        self,
        name: str,
        version: str = "1.0",
        *,
        files: Mapping[str, str | bytes] | None = None,
        requires: Sequence[str] = (),
        needed_by: Sequence[str] = (),
        approved: bool = True,
        **wheel: Any,  # noqa: ANN401 - passed on
    ) -> Path:
        """Put a wheel on the index and into the lock; approve its import name."""
        content = {f"{name}/__init__.py": f"version = {version!r}\n"} if files is None else files
        path = build_wheel(
            self.index.directory, name, version, files=content, requires=requires, **wheel
        )
        self._wheels.append(path)
        if needed_by:
            self._parents[project_of(path.name)[0]] = tuple(needed_by)
        elif approved:
            self.dependency_map[name] = f"{name}>={version}"
        self.write_lock()
        return path

    def write_lock(self) -> None:
        """Lock what was published so far."""
        text = lock_text(self._wheels, parents=self._parents)
        self.settings.lock.write_text(text, encoding="utf-8")

    def fixer(self, *, required: Sequence[str] = (), **changes: Any) -> AutoFixer:  # noqa: ANN401
        """Return an engine with the world's settings, some of them changed."""
        return AutoFixer(
            replace(self.settings, **changes),
            dependency_map=self.dependency_map,
            required=required,
            first_party=("app", "tests", "ours"),
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give a test its own small world."""
    wheels = tmp_path / "index"
    wheels.mkdir()
    settings = HealingSettings(home=tmp_path / "home", lock=tmp_path / "test.lock")
    settings.lock.touch()
    with SimpleIndex(wheels) as index:
        use_index(monkeypatch, index, tmp_path)
        yield World(tmp_path, index, settings)


def use_index(monkeypatch: pytest.MonkeyPatch, index: SimpleIndex, root: Path) -> None:
    """Point both installers at ``index``, with a cache of their own."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    monkeypatch.setenv("UV_CACHE_DIR", str(root / "uv-cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(root / "pip-cache"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


@pytest.fixture
def build(world: World) -> Iterator[Build]:
    """Make applications over the test's own engine, and close them."""
    made: list[Flask] = []

    def make(*, edge_file: Path | None = None, **given: object) -> Flask:
        """Settings by the names of their fields, configuration of the application in capitals."""
        fields: dict[str, Any] = {name: given[name] for name in given if name.islower()}
        config = {name: given[name] for name in given if not name.islower()}
        fields.setdefault("edge_functions_file", edge_file)
        settings = Settings(healing=world.settings, **fields)
        made.append(
            create_app(
                {"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "TESTING": True, **config}
            )
        )
        return made[-1]

    yield make
    for app in made:
        app.extensions["edge"].close()


@pytest.fixture
def client(build: Build) -> FlaskClient:
    """A client of a service without a token and without edge functions."""
    return build().test_client()


@pytest.fixture
def guarded(build: Build) -> FlaskClient:
    """A client of a service with a token; it sends none by itself."""
    return build(token=TOKEN).test_client()


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(FOREIGN_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _health_checks_end(_no_foreign_settings: None) -> Iterator[None]:
    """No check of a test's application runs on while the environment goes back to what it was.

    The C library reads the environment without a lock when an address is looked up.
    """
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("health "):
            thread.join(LAST_CHECK)


@pytest.fixture(autouse=True)
def _imports_are_undone(tmp_path: Path) -> Iterator[None]:
    """What a test imports from its own directory is gone after it, and so are its paths."""
    paths = list(sys.path)
    yield
    sys.path[:] = paths
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
        if str(place).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()

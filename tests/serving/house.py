"""A served directory: the project's own blueprints, and beside them those of a test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import World
from tests.support.processes import ROOT, Server, http_get, serve, wait_until

SHARED = ("app", "deploy", "gunicorn.conf.py", "orchestrator.toml")
WSGI = '''"""Serves the project's blueprints and those of a test."""

import json
import os
from pathlib import Path

from app import CORE, create_app
from app.manifest import Blueprint
from app.settings.declarations import Settings
from app.isolation.hot_application import HotApplication
from app.telemetry.logs import configure_logging
from app.utils.auto_fix import AutoFixer

given = json.loads(Path(__file__).with_name("house.json").read_text())
settings = Settings.from_environ(os.environ)
configure_logging(settings.log_level, settings.log_format)
fixer = AutoFixer(
    settings.healing,
    dependency_map=given["map"],
    required=given["required"],
    first_party=given["ours"],
)
own = fixer.manifest.current.blueprints
manifest = (*CORE, *own, *(Blueprint(**spec) for spec in given["specs"]))


def build(config):
    """Build as create_app does, with the test's manifest; a rebuild can be made to fail."""
    if config and Path(__file__).with_name("rebuild_fails").exists():
        raise RuntimeError("this rebuild fails")
    return create_app({"BLUEPRINTS": manifest, "AUTO_FIXER": fixer, **(config or {})})


application = app = HotApplication(build)
if "WITHOUT_RECONCILER" in os.environ:
    app.start = lambda *_: None
'''
#: A blueprint that works; ``bp_NAME.py`` answers ``NAME`` at ``/NAME``.
WORKING = """
import os
from flask import Blueprint

bp = Blueprint({name!r}, __name__)


@bp.get("")
def index():
    return {name!r}


@bp.get("/pid")
def pid():
    return str(os.getpid())
"""


@dataclass
class House:
    """A directory that gunicorn can serve; blueprints are added to it, and mended in it."""

    root: Path
    world: World
    required: tuple[str, ...] = ()
    specs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        """What is served."""
        return self.root / "house"

    @property
    def home(self) -> Path:
        """The auto-fix home."""
        return self.world.settings.home

    def add(self, name: str, code: str | None = None, **spec: Any) -> None:  # noqa: ANN401
        """Put a blueprint into the manifest, its module into the directory unless it is None."""
        known = {"module": f"bp_{name}", "attribute": "bp", "prefix": f"/{name}"}
        self.specs.append({"name": name, **known, **spec})
        if code is not None:
            self.write(name, code)

    def write(self, name: str, code: str) -> None:
        """Put a blueprint's module in place, all at once."""
        self.directory.mkdir(exist_ok=True)
        fresh = self.directory / f".bp_{name}"
        fresh.write_text(code, encoding="utf-8")
        fresh.rename(self.directory / f"bp_{name}.py")

    def needs(self, name: str, module: str, **spec: Any) -> None:  # noqa: ANN401
        """Add a blueprint that cannot be imported without ``module``."""
        self.add(name, f"import {module}\n{working(name)}", **spec)

    def furnish(self) -> None:
        """Write what the specs, the map and the world say by now."""
        self.directory.mkdir(exist_ok=True)
        for name in SHARED:
            if not (self.directory / name).exists():
                (self.directory / name).symlink_to(ROOT / name)
        ours = ["app", "wsgi", *(spec["module"] for spec in self.specs)]
        given = {
            "specs": self.specs,
            "map": self.world.dependency_map,
            "required": self.required,
            "ours": ours,
        }
        (self.directory / "house.json").write_text(json.dumps(given), encoding="utf-8")
        (self.directory / "wsgi.py").write_text(WSGI, encoding="utf-8")

    def environ(self, **more: str) -> dict[str, str]:
        """The settings of a server of this house, a package index included."""
        settings = self.world.settings
        installers = {k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_"))}
        wheelhouse = settings.wheelhouse
        return {
            **installers,
            "AUTO_FIX_HOME": str(settings.home),
            "AUTO_FIX_LOCK": str(settings.lock),
            **({"AUTO_FIX_WHEELHOUSE": str(wheelhouse)} if wheelhouse else {}),
            "THREADS": "4",
            "LOG_FORMAT": "json",
            **more,
        }

    @contextlib.contextmanager
    def serve(
        self,
        *arguments: str,
        workers: int = 2,
        python: str = sys.executable,
        ready: str = "/livez",
        **environ: str,
    ) -> Iterator[Server]:
        """Serve with the real gunicorn until the block ends."""
        self.furnish()
        settings = self.environ(WEB_CONCURRENCY=str(workers), **environ)
        with serve(
            self.root / "log",
            settings,
            arguments=arguments,
            directory=self.directory,
            python=python,
            ready=ready,
        ) as server:
            yield server

    def run(self, code: str, **environ: str) -> str:
        """Run Python code in the directory, in a process of its own; what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.directory,
            env={**os.environ, **self.environ(**environ)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        return done.stdout


def working(name: str) -> str:
    """The code of a blueprint that works."""
    return WORKING.format(name=name)


def status(server: Server) -> Any:  # noqa: ANN401
    """Return what /api/auto-fix/status says."""
    return server.get("/api/auto-fix/status").json()


def workers(server: Server) -> dict[int, dict[str, Any]]:
    """What each worker says of itself, by process id."""
    return {worker["pid"]: worker for worker in status(server)["workers"]}


def all_workers(server: Server, count: int, **seen: object) -> dict[int, dict[str, Any]]:
    """Wait until ``count`` workers say ``seen`` of themselves, and return what they say."""

    def found() -> dict[int, dict[str, Any]] | None:
        told = workers(server)
        agreed = [w for w in told.values() if all(w[name] == v for name, v in seen.items())]
        return told if len(agreed) == len(told) == count else None

    return wait_until(found, timeout=30) or {}


def serving(server: Server, count: int, *names: str) -> dict[int, dict[str, Any]]:
    """Wait until ``count`` workers serve the blueprints ``names``, and return what they say."""

    def found() -> dict[int, dict[str, Any]] | None:
        told = workers(server)
        serve = [w for w in told.values() if set(names) <= set(w["active"])]
        return told if len(serve) == len(told) == count else None

    return wait_until(found, timeout=40) or {}


def reason(server: Server, name: str) -> object:
    """Why a blueprint is in quarantine, by the process that answers; None when it is not."""
    return status(server)["blueprints"][name]["reason"]


def statuses(server: Server, path: str, times: int = 12) -> set[int]:
    """The statuses of several requests, each on a connection of its own."""
    return {http_get(server.url + path).status for _ in range(times)}


def journal(server: Server) -> Sequence[dict[str, Any]]:
    """The attempts, newest first."""
    attempts: Sequence[dict[str, Any]] = status(server)["recent_attempts"]
    return attempts

"""A checkout with a manifest, and blueprints in a package of the owner's own, to be served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from app.manifest import FILE
from tests.conftest import World
from tests.serving.house import all_workers, statuses, working
from tests.support.processes import ROOT, Server, serve, wait_until

SHARED = ("app", "deploy", "gunicorn.conf.py", "wsgi.py")
#: Seconds within which every worker is to serve an edited manifest.
LIVE = 1.0
#: What a machine under load may add to that in a test.
LOAD = 4.0


class Shop:
    """A checkout whose blueprints live in a package of the owner's own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.directory = world.root / "checkout"
        self.directory.mkdir()
        for name in SHARED:
            (self.directory / name).symlink_to(ROOT / name)
        (self.directory / "shop" / "parts").mkdir(parents=True)
        self.manifest = self.directory / FILE

    def code(self, name: str, code: str | None = None) -> None:
        """Write a blueprint's module, one that works if no other code is given."""
        fresh = self.directory / "shop" / "parts" / f"{name}.py"
        fresh.write_text(working(name) if code is None else code)

    def name(self, *names: str, packages: str = "", **more: str) -> None:
        """Write a manifest of these blueprints at once, each at its own name's prefix.

        ``more`` has keys of blueprints as TOML, by their names.
        """
        fresh = self.directory / "fresh.toml"
        fresh.write_text(self.text(*names, packages=packages, **more))
        fresh.replace(self.manifest)

    def text(self, *names: str, packages: str = "", **more: str) -> str:
        """The text of such a manifest."""
        tables = [
            f"[blueprint.{name}]\n"
            f'import = "shop.parts.{name}:bp"\n' + more.get(name, f'prefix = "/{name}"') + "\n"
            for name in names
        ]
        return "\n".join([f"[packages]\n{packages}\n", *tables])

    @contextmanager
    def serve(self, **more: str) -> Iterator[Server]:
        """Serve with two workers of the real gunicorn."""
        settings = self.world.settings
        installers = {k: v for k, v in os.environ.items() if k.startswith(("UV_", "PIP_"))}
        environ = {
            **installers,
            "AUTO_FIX_HOME": str(settings.home),
            "AUTO_FIX_LOCK": str(settings.lock),
            "AUTO_FIX_MANIFEST": str(self.manifest),
            "WEB_CONCURRENCY": "2",
            "LOG_FORMAT": "json",
            **more,
        }
        with serve(self.world.root / "log", environ, directory=self.directory) as server:
            all_workers(server, 2)
            yield server


def answers(server: Server, expected: dict[str, set[int]], within: float = LIVE + LOAD) -> None:
    """Wait until every path answers as expected on every one of several connections."""
    wait_until(
        lambda: {path: statuses(server, path) for path in expected} == expected, timeout=within
    )

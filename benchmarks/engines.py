"""Engines in processes of their own, with wheels at hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pip as this_pip

from app.kinds.dependency.lock import Lock, LockedDistribution
from benchmarks.harness import KEPT, ROOT
from tests.support.wheels import build_wheel, lock_text

#: What a child starts with: ``fixer``, an engine that has not touched anything yet.
PREAMBLE = """
import json, os, sys, time
from pathlib import Path
from app.settings.declarations import HealingSettings
from app.utils.auto_fix import AutoFixer
given = json.loads(sys.argv[1])
fixer = AutoFixer(
    HealingSettings(
        home=Path(given["home"]),
        lock=Path(given["lock"]),
        wheelhouse=given["wheelhouse"] and Path(given["wheelhouse"]),
    ),
    dependency_map=given["map"],
    required=(),
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A lock, where the wheels are that it names, and an interpreter that has none of them."""

    lock: Path
    wheelhouse: Path | None
    dependency_map: Mapping[str, str]
    index: str | None = None
    python: str = sys.executable

    def command(self, home: Path, code: str) -> list[str]:
        """Return the command line of a child that runs ``code`` with an engine for ``home``."""
        given = {
            "home": str(home),
            "lock": str(self.lock),
            "wheelhouse": self.wheelhouse and str(self.wheelhouse),
            "map": dict(self.dependency_map),
        }
        return [self.python, "-c", PREAMBLE + code, json.dumps(given)]

    def run(self, home: Path, code: str) -> str:
        """Run such a child and return what it printed."""
        command = self.command(home, code)
        done = subprocess.run(
            command, cwd=ROOT, env=self.environ(), check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    def environ(self) -> dict[str, str]:
        """Return the environment that its children get."""
        return environ(**({"UV_DEFAULT_INDEX": self.index} if self.index else {}))


def environ(**values: str) -> dict[str, str]:
    """Return this process's environment with uv on the path and none of our own settings.

    Python's own are none of it either: without bytecode an import is not what it is in a service.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AUTO_FIX_", "PYTHON"))
    }
    path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
    return {**kept, "PATH": path, "LOG_LEVEL": "ERROR", **values}


def uv() -> str:
    """Return the uv of this environment.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which("uv", path=environ()["PATH"])
    if found is None:
        raise RuntimeError("the benchmarks need uv: make setup")
    return found


def bare_interpreter(place: Path) -> str:
    """Create an environment with pip and nothing else, and return its interpreter."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/*/site-packages")
    (packages / "pip").symlink_to(Path(this_pip.__file__).parent)
    return str(place / "bin" / "python")


def small(root: Path, names: list[str]) -> Setting:
    """Build one small wheel for each name, and their lock."""
    wheels = [
        build_wheel(root / "wheels", name, "1.0", files={f"{name}/__init__.py": "version = 1\n"})
        for name in names
    ]
    lock = root / "small.lock"
    lock.write_text(lock_text(wheels), encoding="utf-8")
    approved = {name: f"{name}>=1" for name in names}
    return Setting(lock=lock, wheelhouse=root / "wheels", dependency_map=approved)


def real(root: Path, packages: Mapping[str, str]) -> tuple[Setting, Path]:
    """Get the project's own locked wheels, and a requirements file of exactly those.

    ``packages`` are distributions by the names that they are imported by. The first run downloads
    their wheels and those that they need; they are kept for the next.
    """
    lock = ROOT / "requirements-flask.lock"
    locked = Lock.read(lock)
    closure = {pin for name in packages.values() for pin in locked.closure(name)}
    listed = root / "closure.txt"
    listed.write_text("".join(sorted(map(_line, closure))), encoding="utf-8")
    kept = "-".join((*sorted(packages)[:2], str(len(packages))))
    wheelhouse = KEPT / f"{kept}-{sys.version_info.major}.{sys.version_info.minor}"
    if len(list(wheelhouse.glob("*.whl"))) < len(closure):
        download = ["download", "-qq", "--disable-pip-version-check", "--no-deps"]
        download += ["--require-hashes", "--only-binary", ":all:", "-d", str(wheelhouse)]
        subprocess.run([sys.executable, "-m", "pip", *download, "-r", str(listed)], check=True)
    python = bare_interpreter(root / "bare")
    return (
        Setting(lock=lock, wheelhouse=wheelhouse, dependency_map=packages, python=python),
        listed,
    )


def _line(pin: LockedDistribution) -> str:
    return f"{pin.pin} {' '.join(f'--hash={value}' for value in pin.hashes)}\n"

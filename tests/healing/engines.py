"""Runs engines in processes of their own, and looks for what processes leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.healing.budget import Budgets
from app.healing.journal import Journal, Standing
from tests.conftest import World
from tests.support.processes import ROOT

#: What every child starts with: ``fixer``, an engine with the world's settings and map.
PREAMBLE = """
import json, os, sys, time
from dataclasses import fields
from pathlib import Path
from app.settings.declarations import HealingSettings
from app.utils.auto_fix import AutoFixer
given = json.loads(sys.argv[1])
paths = {key: given["settings"].pop(key) for key in ("home", "lock", "wheelhouse")}
settings = HealingSettings(
    **{key: value and Path(value) for key, value in paths.items()}, **given["settings"]
)
fixer = AutoFixer(
    settings, dependency_map=given["map"], required=(), first_party=("app", "tests", "ours")
)
def say(*words):
    print(*words, flush=True)
def at_barrier():
    say("ready")
    sys.stdin.readline()
"""


def command(world: World, code: str, *, python: str = sys.executable, **settings: Any) -> list[str]:  # noqa: ANN401
    """Return the command line of a child that runs ``code`` after ``PREAMBLE``."""
    chosen = {
        "home": str(world.settings.home),
        "lock": str(world.settings.lock),
        "wheelhouse": world.settings.wheelhouse and str(world.settings.wheelhouse),
        **settings,
    }
    given = json.dumps({"settings": chosen, "map": world.dependency_map})
    return [python, "-c", PREAMBLE + code, given]


def start(world: World, code: str, **settings: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    """Start such a child; it reads ``go`` from stdin where it calls ``at_barrier``."""
    return subprocess.Popen(
        command(world, code, **settings),
        cwd=ROOT,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(world: World, code: str, **settings: Any) -> str:  # noqa: ANN401
    """Run such a child to its end and return what it said."""
    done = subprocess.run(
        command(world, code, **settings),
        cwd=ROOT,
        env=dict(os.environ),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


@contextlib.contextmanager
def crowd(world: World, count: int, code: str, **settings: Any) -> Iterator[list[Any]]:  # noqa: ANN401
    """Start ``count`` such children, and kill at the end whichever is still there."""
    children = [start(world, code, **settings) for _ in range(count)]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def release(children: list[subprocess.Popen[str]]) -> None:
    """Wait until all stand at the barrier, then let them go at once."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def answers(children: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for all children and return what each said after the barrier."""
    return [child.communicate(timeout=60)[0].strip() for child in children]


def processes_at(root: Path) -> list[int]:
    """Return the processes whose command line, directory or open files name ``root``, but us."""
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in found if pid != os.getpid() and _names(pid, str(root))]


def openers(path: Path) -> int:
    """Return how many open files of all processes are ``path``."""
    return sum(
        link == str(path)
        for directory in Path("/proc").glob("[0-9]*/fd")
        for link in _links(directory)
    )


def staged(home: Path) -> list[str]:
    """Return what is left in the staging directories of a home."""
    return [path.name for path in home.glob("staging/*/*")]


def committed(home: Path) -> list[str]:
    """Return the subjects of the committed layers of a home."""
    layers = [path for path in home.glob("layers/*/*") if path.is_dir()]
    return sorted(path.name.rpartition(".")[0] for path in layers)


def quarantined(home: Path) -> list[str]:
    """Return the subjects in quarantine."""
    return sorted(path.name.rpartition(".")[0] for path in home.glob("quarantine/*"))


def _names(pid: int, root: str) -> bool:
    directory = Path("/proc", str(pid))
    try:
        told = (directory / "cmdline").read_text(errors="replace")
        told += str((directory / "cwd").readlink())
    except OSError:
        return False
    return root in told or any(link.startswith(root) for link in _links(directory / "fd"))


def _links(directory: Path) -> list[str]:
    links = []
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            with contextlib.suppress(OSError):
                links.append(str(entry.readlink()))
    return links


def standing(
    journal: Journal, subject: str = "prey", basis: str | None = None, kind: str = "dependency"
) -> Standing:
    """Return how it stands with one subject now."""
    return Budgets(lambda: journal, lambda _: basis).standing(kind, subject)

"""An environment to serve with, whose uv does not do its part."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from uv import find_uv_bin

from tests.support.processes import ROOT

#: What stands in the place of uv: the text of a program. In the first line it is the real one.
TOOLS: dict[str, str | None] = {
    "uv": f'exec "{find_uv_bin()}" "$@"\n',
    "no uv": None,
    "uv is killed": "kill -9 $$\n",
    "uv says nothing": "exit 1\n",
    "uv does nothing": "exit 0\n",
    "uv hangs": "exec sleep 15\n",
    "uv cannot be run": "",
    "uv is slow": f'sleep 2; exec "{find_uv_bin()}" "$@"\n',
    "uv raves": "head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 2\n",
    "no locks": f'exec "{find_uv_bin()}" "$@"\n',
}
GUNICORN = """#!{python}
import runpy, sys
if {lockless}:
    calls = runpy.run_path({calls!r})
    calls["forbid"](calls["Lack"].NO_LOCKS)
from gunicorn.app.wsgiapp import run
sys.exit(run())
"""


def environment(root: Path, tool: str) -> Path:
    """Make an environment of what is installed here but for uv; its interpreter."""
    programs = root / "environment" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"
    python.symlink_to(Path(sys.executable).resolve())
    configuration = f"home = {Path(sys.executable).resolve().parent}\n"
    (root / "environment" / "pyvenv.cfg").write_text(configuration)
    packages = Path(sysconfig.get_path("purelib"))
    ours = root / "environment" / packages.relative_to(sys.prefix)
    ours.parent.mkdir(parents=True)
    ours.symlink_to(packages)
    calls = str(ROOT / "tests" / "support" / "system_calls.py")
    gunicorn = GUNICORN.format(python=python, lockless=tool == "no locks", calls=calls)
    _program(programs / "gunicorn", gunicorn)
    text = TOOLS[tool]
    if text is not None:
        _program(programs / "uv", f"#!/bin/sh\n{text}", runs=bool(text))
    return python


def _program(path: Path, text: str, *, runs: bool = True) -> None:
    path.write_text(text)
    path.chmod(0o755 if runs else 0o644)

"""What the factory adds to importing and registering the same blueprints plainly.

Each in a fresh interpreter, from before the first import of the application or Flask until the
application is there, the home warm from an earlier start. Both import the same modules.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from app.manifest import CORE, read
from app.settings.declarations import DEFAULT_MANIFEST
from benchmarks.harness import ROOT, Measurement, directory, interleaved, medians, spread
from tests.support.processes import base_environ

REPEATS = 31
CLOCK = """
import importlib, json, sys, time
started = time.perf_counter()
{work}
seconds = time.perf_counter() - started
assert len(app.blueprints) == {count}
print(seconds)
"""
FACTORY = "from app import create_app\napp = create_app()"
PLAIN = """
from flask import Flask
app = Flask("app")
for path, attribute, prefix in json.loads(sys.argv[1]):
    app.register_blueprint(getattr(importlib.import_module(path), attribute), url_prefix=prefix)
"""


def measure() -> Iterator[Measurement]:
    """The ratio of the medians."""
    with directory() as home:
        times = interleaved(
            REPEATS,
            {"factory": lambda: _start(FACTORY, home), "plain": lambda: _start(PLAIN, home)},
        )
    middle = medians(times)
    yield Measurement(
        what="create_app() against the same blueprints registered plainly",
        rule="at most",
        target=1.10,
        measured=middle["factory"] / middle["plain"],
        unit="times",
        details=spread(times),
    )


def _start(work: str, home: Path) -> float:
    manifest = [
        (spec.module, spec.attribute, spec.prefix)
        for spec in (*CORE, *read(DEFAULT_MANIFEST).blueprints)
    ]
    code = CLOCK.format(work=work, count=len(manifest))
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(manifest)],
        cwd=ROOT,
        env=base_environ(AUTO_FIX_HOME=str(home)),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)

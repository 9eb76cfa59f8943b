"""The manifest: how soon an edit is served, and what following it costs while nothing changes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.harness import Measurement
from benchmarks.served import house, installers
from tests.isolation.shop import Shop, answers
from tests.support.processes import base_environ

EDITS = 10
BLUEPRINTS, PASSES = 500, 400
#: Runs passes of a worker's reconciler, every fourth with a look for faults as in a real one, and
#: prints the seconds that each took.
PASS = f"""
import json, logging, sys, time
sys.path.insert(0, "")
logging.disable()
from app import create_app
from app.isolation.hot_application import HotApplication
application = HotApplication(create_app)
assert sum(state.active for state in application.services.board.states) > {BLUEPRINTS}
reconciler = application._reconciler
seconds = {{"without a look for faults": [], "with one": []}}
for number in range({PASSES} + 8):
    looks = number % 4 == 0
    reconciler._look_at = 0.0 if looks else float("inf")
    began = time.thread_time()
    reconciler._pass()
    took = time.thread_time() - began
    if number >= 8:
        seconds["with one" if looks else "without a look for faults"].append(took)
print(json.dumps(seconds))
"""


def measure() -> Iterator[Measurement]:
    """The targets of the manifest."""
    yield _edited()
    yield _idle()


def _edited() -> Measurement:
    """A blueprint that comes and goes, in both workers of a server."""
    with house() as here:
        shop = Shop(here.world)
        shop.code("apples")
        shop.code("plums")
        shop.name("apples")
        seconds = []
        with shop.serve() as server:
            for edit in range(EDITS):
                shop.name(*(("apples", "plums") if edit % 2 == 0 else ("apples",)))
                began = time.monotonic()
                answers(server, {"/plums": {200 if edit % 2 == 0 else 404}}, within=30)
                seconds.append(time.monotonic() - began)
    return Measurement(
        what="an edited manifest, to served by all workers",
        rule="at most",
        target=1.0,
        measured=max(seconds),
        unit="s",
        details={"seconds": sorted(seconds)},
    )


def _idle() -> Measurement:
    """The mean of all passes, as the processor's time of the reconciler's thread."""
    with house() as here:
        shop = Shop(here.world)
        names = [f"part_{number}" for number in range(BLUEPRINTS)]
        for name in names:
            code = f'from flask import Blueprint\nbp = Blueprint("{name}", __name__)\n'
            shop.code(name, f"{code}bp.add_url_rule('/', 'index', lambda: 'well')\n")
        shop.name(*names)
        ran = subprocess.run(
            [sys.executable, "-c", PASS],
            cwd=shop.directory,
            env=base_environ(
                AUTO_FIX_HOME=str(here.world.settings.home),
                AUTO_FIX_MANIFEST=str(shop.manifest),
                **installers(here),
            ),
            check=True,
            stdout=subprocess.PIPE,
            timeout=300,
        )
    seconds: dict[str, list[float]] = json.loads(ran.stdout)
    passes = [one for found in seconds.values() for one in found]
    return Measurement(
        what=f"a pass of the reconciler over {BLUEPRINTS} blueprints with nothing to do",
        rule="at most",
        target=2.0,
        measured=sum(passes) / len(passes) * 1000,
        unit="ms",
        parts={name: sum(found) / len(found) * 1000 for name, found in seconds.items()},
    )

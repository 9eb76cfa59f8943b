"""Whether swapping applications leaves memory behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import ROOT, Measurement, directory
from tests.support.processes import base_environ

SWAPS = 100
#: Swaps made beforehand, until allocators and caches have settled.
WARM_UP = 100
CODE = f"""
import gc, json, weakref
from pathlib import Path
from app import create_app
from app.isolation.hot_application import HotApplication

served = HotApplication(create_app)
applications = weakref.WeakSet()


def resident():
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def swap(times):
    most = 0
    for _ in range(times):
        applications.add(served.app)
        assert served.app.test_client().get("/").status_code == 200
        assert served.rebuild()
        most = max(most, len(applications))
    return most


swap({WARM_UP})
before = resident()
uncollected = swap({SWAPS})
after = resident()
print(json.dumps([before, after, len(applications), uncollected]))
"""


def measure() -> Iterator[Measurement]:
    """One process, a request to each application before it is replaced."""
    with directory() as home:
        done = subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env=base_environ(AUTO_FIX_HOME=str(home)),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    before, after, alive, uncollected = json.loads(done.stdout)
    details: dict[str, object] = {
        "KiB before": before,
        "KiB after": after,
        "most alive between collections": uncollected,
    }
    yield Measurement(
        what=f"replaced applications still alive after {SWAPS} swaps",
        rule="exactly",
        target=0,
        measured=alive,
        unit="",
        details=details,
    )
    yield Measurement(
        what=f"resident memory after {SWAPS} swaps, more than before them",
        rule="at most",
        target=1.0,
        measured=(after - before) / 1024,
        unit="MiB",
        details=details,
    )

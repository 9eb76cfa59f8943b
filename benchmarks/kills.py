"""Heals that are killed at random moments: ``INTERRUPTIONS=5000 python -m benchmarks kills``."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.engines import environ, small
from benchmarks.harness import ROOT, Measurement, directory

TIMES = int(os.environ.get("INTERRUPTIONS", "200"))


def measure() -> Iterator[Measurement]:
    """After each, a new process looks at what there is, and heals."""
    seed = random.randrange(1 << 32)  # noqa: S311 - no secret
    with directory() as root:
        setting = small(root, ["prey"])
        given = {
            "root": str(root / "homes"),
            "lock": str(setting.lock),
            "wheelhouse": str(setting.wheelhouse),
            "tools": ["uv"],
            "times": TIMES,
            "seed": seed,
        }
        command = [sys.executable, "-m", "tests.healing.interruptions", json.dumps(given)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environ(),
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    found = json.loads(done.stdout)["found"]
    yield Measurement(
        what=f"faults found after {TIMES:,} kills at random moments of a heal",
        rule="exactly",
        target=0,
        measured=sum(count for word, count in found.items() if word.startswith("WRONG")),
        unit="",
        details={"seed": seed, **found},
    )

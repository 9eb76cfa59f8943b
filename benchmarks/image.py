"""Measures the image: its size, how soon it serves, heals and is healthy, what a check costs.

``make bench-image`` prints a table, and the same as one line of JSON. Needs a Docker engine.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.container.docker import (
    Container,
    built,
    built_without_aiohttp,
    docker,
    engine_answers,
    running,
    unique,
)
from tests.support.processes import ROOT, answers, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 5
CHECKS = 20
# CPU seconds of one health check, everything that its process did included.
CHECK_COST = f"""
import resource, subprocess
for _ in range({CHECKS}):
    subprocess.run(["python", "-I", "-S", "deploy/healthcheck.py"], check=True, stdout=-3)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print((used.ru_utime + used.ru_stime) / {CHECKS})
"""


def size(image: str) -> int:
    """The bytes of an image, its base included."""
    return int(docker("image", "inspect", "-f", "{{.Size}}", image))


def base() -> str:
    """The image that the Dockerfile builds on."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    version = re.search(r"^ARG PYTHON_VERSION=(\S+)", dockerfile, re.MULTILINE)
    assert version
    return f"python:{version[1]}-slim"


def seconds_until(image: str, reached: Callable[[Container], bool]) -> float:
    """From `docker run` until ``reached`` holds: the median of some runs."""
    return statistics.median(_once(image, reached) for _ in range(RUNS))


def _once(image: str, reached: Callable[[Container], bool]) -> float:
    started = time.monotonic()
    options = ("--name", unique("bench"), "-p", "127.0.0.1::10000")
    container = Container(docker("run", "-d", *options, image))
    try:
        wait_until(lambda: reached(container), timeout=60, interval=0.02)
        return time.monotonic() - started
    except (RuntimeError, TimeoutError) as error:
        error.add_note(container.log)
        raise
    finally:
        docker("rm", "-f", "-v", container.id)


def _ready(container: Container) -> bool:
    return answers(f"{container.url}/livez") and container.get("/readyz").status == 200


def _healed(container: Container) -> bool:
    if not answers(f"{container.url}/livez"):
        return False
    return bool(container.get("/api/edge-functions/status").json()["transport"] == "aiohttp")


def _check_cost(image: str) -> float:
    with running(image) as container:
        return float(container.execute("python", "-c", CHECK_COST))


def measure() -> dict[str, float]:
    """Build both images, run them and return what was measured, by name and unit."""
    with (
        tempfile.TemporaryDirectory() as directory,
        built(ROOT, "image") as image,
        built_without_aiohttp(Path(directory)) as broken,
    ):
        return {
            "image, MB": size(image) / 1e6,
            "image above its base, MB": (size(image) - size(base())) / 1e6,
            "start to ready, s": seconds_until(image, _ready),
            "start to healthy, s": seconds_until(image, lambda c: c.health == "healthy"),
            "start to aiohttp healed, s": seconds_until(broken, _healed),
            "CPU of one health check, ms": _check_cost(image) * 1e3,
        }


def main() -> int:
    """Print the table and its JSON."""
    if not engine_answers():
        print("no Docker engine answers", file=sys.stderr)
        return 1
    measured = measure()
    for name, value in measured.items():
        print(f"{name:<32}{value:>10.2f}")
    print(json.dumps({name: round(value, 4) for name, value in measured.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

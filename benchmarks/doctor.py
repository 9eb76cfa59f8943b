"""The operator's commands: the doctor's speed and sight, and how soon ``status`` answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import ROOT, Measurement, directory, interleaved, medians, spread
from tests.doctor import test_imports as corpus

REPEATS = 9
BIN = Path(sys.executable).parent
BLUEPRINTS = """
from app.doctor.project import Project
for module in Project().blueprints: __import__(module)
"""
WORKS: dict[str, Sequence[str]] = {
    # as the image's build and the Makefile run it
    "doctor": (sys.executable, "-m", "app.cli", "doctor", "--offline"),
    "deptry": (str(BIN / "deptry"), "."),
    "blueprints": (sys.executable, "-c", BLUEPRINTS),
    "flask auto-fix status": (str(BIN / "flask"), "auto-fix", "status"),
    "python -m app.cli status": (sys.executable, "-m", "app.cli", "status"),
}


def measure() -> Iterator[Measurement]:
    """Every target of the commands."""
    works: dict[str, Callable[[], float | None]] = {
        name: partial(_run, command) for name, command in WORKS.items()
    }
    times = interleaved(REPEATS, works)
    middle = medians(times)
    floor = middle["deptry"] + middle["blueprints"]
    details = spread(times)
    yield _seconds("doctor, all offline checks of this project", 3.0, middle["doctor"], details)
    yield Measurement(
        what="doctor against deptry plus one process that imports every blueprint",
        rule="at most",
        target=1.5,
        measured=middle["doctor"] / floor,
        unit="times",
        details=details,
    )
    for name in ("flask auto-fix status", "python -m app.cli status"):
        yield _seconds(f"{name}, cold", 0.35, middle[name], details)
    yield from _sight()


def _run(command: Sequence[str]) -> None:
    """Run a command in the checkout; it has to succeed."""
    with directory() as home:
        environ = {**os.environ, "AUTO_FIX_HOME": str(home)}
        subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, timeout=60)


def _seconds(what: str, target: float, measured: float, details: dict[str, object]) -> Measurement:
    return Measurement(
        what=what, rule="at most", target=target, measured=measured, unit="s", details=details
    )


def _sight() -> Iterator[Measurement]:
    """The corpus: what is planted and found, and what is found without having been planted."""
    planted = found = false = variants = 0
    for parameters in corpus.variants():
        (variant,) = parameters.values
        with directory() as root:
            told = {
                f"{one.severity} {one.code} {one.place} {one.subject}"
                for one in corpus.examined(corpus.plant(variant, root))
            }
        expected = set(variant.get("expect", []))
        planted += len(expected)
        found += len(expected & told)
        false += len(told - expected)
        variants += bool(expected)
    details: dict[str, object] = {"variants": variants, "planted": planted}
    yield Measurement(
        what=f"planted findings of {variants} faulty variants that the doctor finds",
        rule="exactly",
        target=planted,
        measured=found,
        unit="",
        details=details,
    )
    yield Measurement(
        what="false alarms over the whole corpus",
        rule="exactly",
        target=0,
        measured=false,
        unit="",
        details=details,
    )

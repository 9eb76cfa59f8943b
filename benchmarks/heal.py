"""A heal of aiohttp against the least that installing and importing it can cost, and against pip.

The wheels are at hand: in a directory for the heal and the floor, in its cache for pip, which is
called as such systems call it and so asks its index which version to take. The interpreter has
none of them. The details have pip with the directory, too.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import Setting, environ, real, uv
from benchmarks.harness import Measurement, directory, interleaved, medians, spread

REPEATS = 5
MODULE = "aiohttp"
HEAL = f"""
started = time.perf_counter()
done, module = fixer.safe_import("{MODULE}")
seconds = time.perf_counter() - started
assert done and module.ClientSession
print(seconds)
"""


def measure() -> Iterator[Measurement]:
    """From the failing import to the usable module, the probe included."""
    with directory() as root:
        setting, listed = real(root, MODULE)
        times = interleaved(
            REPEATS,
            {
                "heal": lambda: _heal(setting, root),
                "floor": lambda: _floor(setting, listed, root),
                "pip": lambda: _pip(setting, root),
                "pip, from the directory": lambda: _pip(
                    setting, root, "--no-index", "--find-links", str(setting.wheelhouse)
                ),
            },
        )
    middle, details = medians(times), spread(times)
    yield Measurement(
        what=f"heal of {MODULE}, wheels at hand, against the bare floor",
        rule="at most",
        target=2.0,
        measured=middle["heal"] / middle["floor"],
        unit="times",
        details=details,
    )
    yield Measurement(
        what=f"the same against pip install {MODULE} and the import",
        rule="at least",
        target=5.0,
        measured=middle["pip"] / middle["heal"],
        unit="times faster",
        details=details,
    )


def _heal(setting: Setting, root: Path) -> float:
    return float(setting.run(root / uuid.uuid4().hex, HEAL))


def _floor(setting: Setting, listed: Path, root: Path) -> None:
    target = root / uuid.uuid4().hex
    target.mkdir()
    command = [uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-index"]
    command += ["--find-links", str(setting.wheelhouse), "--python", setting.python]
    _run(*command, "--target", str(target), "-r", str(listed))
    _run(setting.python, "-c", f"import {MODULE}", path=target)


def _pip(setting: Setting, root: Path, *options: str) -> None:
    target = root / uuid.uuid4().hex
    command = [setting.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    _run(*command, *options, "--target", str(target), MODULE)
    _run(setting.python, "-c", f"import {MODULE}", path=target)


def _run(*command: str, path: Path | None = None) -> None:
    settings = {} if path is None else {"PYTHONPATH": str(path)}
    subprocess.run(command, env=environ(**settings), check=True)

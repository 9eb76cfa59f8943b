"""Heals against the least that installing and importing can cost, and against pip.

The wheels are at hand: in a directory for the heal and the floor, in its cache for pip, which is
called as such systems call it and so asks its index which version to take. The interpreter has
none of them. The details have pip with the directory, too. One boot that misses ten packages is
measured against one install of them all.
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
#: Packages that one boot misses, by the names that they are imported by.
TOGETHER = {
    "aiohttp": "aiohttp",
    "click": "click",
    "flask": "flask",
    "flask_limiter": "flask-limiter",
    "gunicorn": "gunicorn",
    "msgspec": "msgspec",
    "prometheus_client": "prometheus-client",
    "psutil": "psutil",
    "redis": "redis",
    "requests": "requests",
}
TEN_HEALS = """
fixer = AutoFixer(fixer.settings, dependency_map=given["map"], required=given["map"])
started = time.perf_counter()
assert all([fixer.safe_import(name)[0] for name in given["map"]])
print(time.perf_counter() - started)
"""


def measure() -> Iterator[Measurement]:
    """From the failing import to the usable module, the probe included."""
    with directory() as root:
        setting, listed = real(root, {MODULE: MODULE})
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
        (root / "boot").mkdir()
        boot, boot_listed = real(root / "boot", TOGETHER)
        boot_times = interleaved(
            REPEATS,
            {
                "heals": lambda: _heal(boot, root, TEN_HEALS),
                "floor": lambda: _floor(boot, boot_listed, root, ", ".join(TOGETHER)),
            },
        )
    middle, details = medians(times), spread(times)
    yield Measurement(
        what=f"heal of {MODULE}, wheels at hand, against the bare floor",
        rule="at most",
        target=1.25,
        measured=middle["heal"] / middle["floor"],
        unit="times",
        details=details,
    )
    yield Measurement(
        what=f"the same against pip install {MODULE} and the import",
        rule="at least",
        target=6.0,
        measured=middle["pip"] / middle["heal"],
        unit="times faster",
        details=details,
    )

    boot_middle = medians(boot_times)
    yield Measurement(
        what=f"heals of {len(TOGETHER)} packages of one boot against one install and import of all",
        rule="at most",
        target=1.5,
        measured=boot_middle["heals"] / boot_middle["floor"],
        unit="times",
        details=spread(boot_times),
    )


def _heal(setting: Setting, root: Path, code: str = HEAL) -> float:
    return float(setting.run(root / uuid.uuid4().hex, code))


def _floor(setting: Setting, listed: Path, root: Path, modules: str = MODULE) -> None:
    target = root / uuid.uuid4().hex
    target.mkdir()
    command = [uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-index"]
    command += ["--find-links", str(setting.wheelhouse), "--python", setting.python]
    _run(*command, "--target", str(target), "-r", str(listed))
    _run(setting.python, "-c", f"import {modules}", path=target)


def _pip(setting: Setting, root: Path, *options: str) -> None:
    target = root / uuid.uuid4().hex
    command = [setting.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    _run(*command, *options, "--target", str(target), MODULE)
    _run(setting.python, "-c", f"import {MODULE}", path=target)


def _run(*command: str, path: Path | None = None) -> None:
    settings = {} if path is None else {"PYTHONPATH": str(path)}
    subprocess.run(command, env=environ(**settings), check=True)

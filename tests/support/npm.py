"""What the tests take from npm; versions and hashes are those of ``tests/npm/package-lock.json``.

It is kept in ``build/npm`` from one run to the next.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from tests.support.processes import ROOT

SOURCES = ROOT / "tests" / "npm"
KEPT = ROOT / "build" / "npm"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def installed(file: str) -> Path:
    """A file of a package, installed when it is not there yet; one process does that at a time.

    Raises:
        OSError: npm is not there.
        subprocess.CalledProcessError: npm could not install it.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    found, here = KEPT / "node_modules" / file, KEPT / "package-lock.json"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (SOURCES / here.name).read_bytes()
        if not (found.exists() and here.exists() and here.read_bytes() == wanted):
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, KEPT)
            subprocess.run(INSTALL, cwd=KEPT, check=True, capture_output=True)
    return found

"""How much larger a process gets by requests of anybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, base_environ

CODE = """
import sys
from pathlib import Path
from werkzeug.test import EnvironBuilder, run_wsgi_app
from app import create_app

ask = create_app().wsgi_app
requests, addresses, *names = sys.argv[1:]
paths = [f"/api/auto-fix/test-import?module={name}" for name in names]
environs = [EnvironBuilder(path=path).get_environ() for path in paths]


def send(count):
    for number in range(count):
        low = number % int(addresses)
        address = f"10.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
        environ = environs[number % len(environs)]
        body, _, _ = run_wsgi_app(ask, {**environ, "REMOTE_ADDR": address}, buffered=True)


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


# What the first request imports, and the first look at what is installed, is no growth.
send(len(names))
before, loaded = resident(), set(sys.modules)
send(int(requests))
print(resident() - before, *sorted(sys.modules.keys() - loaded))
"""


def growth(home: Path, requests: int, addresses: int, names: list[str]) -> tuple[float, list[str]]:
    """MiB by which a process grows, and the modules that it imports, when it is asked for names.

    Args:
        home: of the process, an empty directory.
        requests: how many; each name and each address in turn.
        addresses: from how many addresses.
        names: of modules, for ``test-import``.
    """
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(requests), str(addresses), *names],
        cwd=ROOT,
        env=base_environ(AUTO_FIX_MODE="report", AUTO_FIX_HOME=str(home), ACCESS_LOG="off"),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    kibibytes, *modules = done.stdout.split()
    return int(kibibytes) / 1024, modules

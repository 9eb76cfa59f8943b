"""What a service costs that has no Flask and waits for the index to bring it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

from benchmarks.harness import Measurement, directory
from tests.serving.environments import environment, pack
from tests.support.index import Fault, SimpleIndex
from tests.support.processes import ROOT, base_environ, stop, wait_until

#: The window, in seconds.
WINDOW = 30.0
WORKERS = 2


def measure() -> Iterator[Measurement]:
    """Boots and processor time in half a minute, from when it first says that it waits."""
    with directory() as root:
        wheelhouse = pack(root / "wheels")
        python = environment(root / "environment")
        wheelhouse.install(python, wheelhouse.projects() - {"flask"})
        with SimpleIndex(wheelhouse.directory) as index:
            index.page_faults["flask"] = Fault.SERVER_ERROR
            environ = {
                "AUTO_FIX_HOME": str(root / "home"),
                "AUTO_FIX_LOCK": str(wheelhouse.lock),
                "PATH": os.pathsep.join((str(Path(find_uv_bin()).parent), os.environ["PATH"])),
                "UV_CACHE_DIR": str(root / "uv-cache"),
                "UV_DEFAULT_INDEX": index.url,
                "UV_HTTP_RETRIES": "0",
                "WEB_CONCURRENCY": str(WORKERS),
            }
            seconds, boots = _wait(python, environ, root / "log")
    yield Measurement(
        what=f"Flask missing, index away: processor time of {WORKERS} workers that wait for it",
        rule="at most",
        target=5,
        measured=seconds / WINDOW * 100,
        unit="%",
    )
    yield Measurement(
        what=f"boots of these workers in {WINDOW:.0f} s",
        rule="at most",
        target=3,
        measured=boots,
        unit="",
    )


def _wait(python: Path, environ: dict[str, str], log: Path) -> tuple[float, int]:
    """Serve for the window: seconds of processor time in it, and boots of workers in all."""
    command = [str(python), "-m", "deploy.serve", "-b", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=base_environ(**environ),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        said = "nothing to serve with yet"
        wait_until(lambda: log.read_text().count(said) >= WORKERS, timeout=120)
        before = _processor_time(process.pid)
        time.sleep(WINDOW)
        return _processor_time(process.pid) - before, log.read_text().count("Booting worker")
    finally:
        stop(process)


def _processor_time(session: int) -> float:
    """Seconds that the processes of a session, and what these have waited for, have used so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # What stands before is the name, which may have spaces.
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")

"""The probe: import a module in a fresh interpreter before any worker does.

A wheel may raise, exit, hang or crash while it is imported. Exit code 0 proves nothing, since the
module itself may end the process, so the child writes its verdict to a pipe that only it knows.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Runs in the child. The import writes the bytecode of what it loads, so the first import in a
#: worker is fast without compiling what nobody imports. ``os._exit``: a module's exit handlers
#: and threads have no say.
CHILD = """
import json, os, sys
fd, module, paths = json.loads(sys.argv[1])
sys.argv[1:] = []
sys.path[:] = paths
try:
    __import__(module)
except BaseException as error:
    verdict = {"error": type(error).__name__, "name": getattr(error, "name", None),
               "text": str(error)[:500]}
else:
    verdict = {"error": None, "name": None, "text": ""}
os.write(fd, json.dumps(verdict).encode())
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the child saw. ``error_class`` is the exception's type, or ``signal 11`` and the like.

    ``crashed`` means that no verdict came: the interpreter died, left or did not end in time.
    ``detail`` is for the log alone.
    """

    ok: bool
    crashed: bool = False
    error_class: str = ""
    missing: str | None = None
    detail: str = ""


def probe(
    module: str, extra_paths: Sequence[Path], *, deadline: float, environ: Mapping[str, str]
) -> Verdict:
    """Import ``module`` in a child that sees this process's paths and ``extra_paths``.

    Nothing is raised for what the module does; after ``deadline`` seconds the child and all that
    it started are killed.

    Raises:
        OSError: when no child can be started.
    """
    here = [entry for entry in sys.path if Path(entry).is_absolute()]
    paths = [*here, *map(str, extra_paths)]
    reader, writer = os.pipe()
    try:
        child = _start([writer, module, paths], environ)
    finally:
        os.close(writer)
    try:
        message = _message(reader, deadline)
    finally:
        os.close(reader)
        kill_group(child)
    return _verdict(message, child.returncode)


def _start(task: Sequence[object], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Isolated mode keeps the child from the current directory and from ``PYTHON*`` settings."""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", CHILD, json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[int(str(task[0]))],
        env=dict(environ),
        cwd="/",
        start_new_session=True,
    )


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the session that ``child`` leads, and reap the child."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _message(descriptor: int, deadline: float) -> bytes | None:
    """What the child wrote; empty when it closed the pipe in silence, None at the deadline."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return os.read(descriptor, 65536) if poller.poll(deadline * 1000) else None


def _verdict(message: bytes | None, returncode: int) -> Verdict:
    if message is None:
        return Verdict(ok=False, crashed=True, error_class="deadline")
    if not message:
        left = f"signal {-returncode}" if returncode < 0 else f"exit {returncode}"
        return Verdict(ok=False, crashed=True, error_class=left)
    told = json.loads(message)
    return Verdict(
        ok=told["error"] is None,
        error_class=told["error"] or "",
        missing=told["name"],
        detail=told["text"],
    )

"""The probe: import a module in a fresh interpreter before any worker does.

A wheel may raise, exit, hang or crash while it is imported. Exit code 0 proves nothing, since the
module itself may end the process, so the child writes its verdict to a pipe that only it knows.
"""

from __future__ import annotations

import os
import selectors
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.healing.children import child_group

#: Parts of a verdict: the error's class, empty when there was none, its name and its text.
PARTS = 3
#: Runs in the child. The import writes the bytecode of what it loads, so the first import in a
#: worker is fast without compiling what nobody imports. ``os._exit``: a module's exit handlers
#: and threads have no say. Nothing is imported that the interpreter has not loaded by itself.
CHILD = """
import os, sys
_, writer, modules, *sys.path = sys.argv
sys.argv[1:] = []
try:
    for module in modules.split(","):
        __import__(module)
except BaseException as error:
    verdict = type(error).__name__, str(getattr(error, "name", "")), str(error)[:500]
else:
    verdict = "", "", ""
os.write(int(writer), chr(0).join(verdict).encode(errors="replace"))
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
    module: str,
    extra_paths: Sequence[Path],
    *,
    deadline: float,
    environ: Mapping[str, str],
    keep: Sequence[int] = (),
) -> Verdict:
    """Import ``module`` in a child that sees this process's paths and ``extra_paths``.

    Several names, with commas between them, are imported one after another.

    Nothing is raised for what the module does; after ``deadline`` seconds the child and all that
    it started are killed. ``keep`` are descriptors that it inherits.

    Raises:
        OSError: when no child can be started.
    """
    here = [entry for entry in sys.path if Path(entry).is_absolute()]
    reader, writer = os.pipe()
    # Isolated mode keeps the child from the current directory and from PYTHON* settings.
    command = [sys.executable, "-I", "-c", CHILD, str(writer), module, *here]
    command += map(str, extra_paths)
    inherited = (writer, *keep)
    with (
        os.fdopen(reader, "rb"),
        os.fdopen(writer, "wb") as ours,
        child_group(
            command, environ=environ, directory=Path("/"), keep=inherited, sweep=True
        ) as child,
        # The module's choice: a process that eventlet has patched has no select.poll.
        selectors.DefaultSelector() as selector,
    ):
        ours.close()
        selector.register(reader, selectors.EVENT_READ)
        if not selector.select(deadline):
            return Verdict(ok=False, crashed=True, error_class="deadline")
        message = os.read(reader, 65536)
    if not message:
        # The pipe was closed in silence.
        status = child.wait()
        end = "no verdict" if status is None else f"exit {status}"
        end = f"signal {-status}" if status is not None and status < 0 else end
        return Verdict(ok=False, crashed=True, error_class=end)
    parts = message.decode(errors="replace").split("\0", PARTS - 1)
    if len(parts) != PARTS or not f"_{parts[0]}".isidentifier():
        return Verdict(ok=False, crashed=True, error_class="garbled verdict")
    error, missing, text = parts
    return Verdict(ok=not error, error_class=error, missing=missing or None, detail=text)

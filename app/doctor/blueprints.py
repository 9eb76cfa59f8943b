"""Each blueprint imported in a process of its own, as a worker would, without healing."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from app.doctor.findings import Code, Finding, error
from app.healing.children import child_group

#: Seconds that all blueprints together may take.
DEADLINE = 60.0
#: Runs in the child: it loads once what all blueprints share, then forks for each of them. A line
#: of JSON goes to the pipe for each; a fork that dies without one leaves its name unanswered.
CHILD = """
import json, os, sys, traceback
writer, root, *names = sys.argv[1:]
sys.path[:0] = [root]
sys.dont_write_bytecode = True
sys.argv[1:] = []
try:
    import flask, app
except BaseException:
    pass

def place(error):
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 0
    inside = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(root)]
    return (inside[-1].filename, inside[-1].lineno) if inside else ("", 0)

def examine(name):
    try:
        __import__(name)
    except BaseException as error:
        file, line = place(error)
        told = {"error": type(error).__name__, "missing": str(getattr(error, "name", "") or ""),
                "file": file, "line": line}
    else:
        told = {"error": ""}
    os.write(int(writer), (json.dumps({"name": name, **told}) + chr(10)).encode())

for name in names:
    child = os.fork()
    if not child:
        examine(name)
        os._exit(0)
for name in names:
    os.wait()
os._exit(0)
"""


@dataclass
class BlueprintRun:
    """The import of all blueprints in the background: ``start``, do something else, ``findings``.

    Leaving the context ends whatever still runs.
    """

    root: Path
    names: Sequence[str]
    environ: Mapping[str, str]
    deadline: float = DEADLINE
    _reader: int = -1
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> BlueprintRun:
        reader, writer = os.pipe()
        self._stack.callback(os.close, reader)
        self._reader = reader
        command = [sys.executable, "-P", "-c", CHILD, str(writer)]
        command += [str(self.root), *self.names]
        # What a blueprint prints, or logs because it cannot import, is not the doctor's to show.
        environ = {**self.environ, "AUTO_FIX_MODE": "off"}
        try:
            child = child_group(command, environ=environ, directory=self.root, keep=(writer,))
            self._stack.enter_context(child)
        finally:
            os.close(writer)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def findings(self) -> Iterator[Finding]:
        """What failed, once all have ended or the deadline is over."""
        told = {line["name"]: line for line in self._lines()}
        for name in self.names:
            verdict = told.get(name)
            if verdict is None:
                message = f"importing {name} ended or hung this Python"
                yield error(Code.BLUEPRINT_FAILS, message, _ADVICE, subject=name)
            elif verdict["error"]:
                yield self._failed(name, verdict)

    def _failed(self, name: str, told: Mapping[str, str]) -> Finding:
        file, line = told["file"], int(told["line"])
        inside = Path(file).is_relative_to(self.root) if file else False
        missing = f" for {told['missing']}" if told["missing"] else ""
        return error(
            Code.BLUEPRINT_FAILS,
            f"importing {name} raises {told['error']}{missing}",
            _ADVICE,
            file=str(Path(file).relative_to(self.root)) if inside else "",
            line=line if inside else 0,
            subject=name,
        )

    def _lines(self) -> Iterator[dict[str, str]]:
        until = time.monotonic() + self.deadline
        pending = b""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        while poller.poll(max(0.0, until - time.monotonic()) * 1000):
            chunk = os.read(self._reader, 65536)
            pending += chunk
            *whole, pending = pending.split(b"\n")
            yield from (json.loads(line) for line in whole)
            if not chunk:
                return


_ADVICE = "python -c 'import NAME' shows the trace; mend the code or its requirement"

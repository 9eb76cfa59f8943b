"""Running other people's programs: to the end, or stopped with all that they started."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.doctor.errors import Unavailable
from app.healing.children import Child, child_group
from app.kinds.dependency.installer import find_tool


@dataclass(frozen=True, slots=True)
class Run:
    """How a program ended, and all that it printed."""

    status: int | None
    words: str


def run_tool(
    command: Sequence[str], environ: Mapping[str, str], directory: Path, deadline: float
) -> Run:
    """Run a program in a session of its own; an interruption of ours ends it too.

    Raises:
        Unavailable: when it cannot be started or has not ended after ``deadline`` seconds.
    """
    late = threading.Event()

    def end(child: Child) -> None:
        late.set()
        child.kill()

    with tempfile.TemporaryFile() as output:
        try:
            with child_group(command, environ=environ, directory=directory, output=output) as child:
                timer = threading.Timer(deadline, end, (child,))
                timer.daemon = True
                timer.start()
                try:
                    child.wait()
                finally:
                    timer.cancel()
        except OSError as error:
            raise Unavailable(f"{Path(command[0]).name} cannot be run: {error.strerror}") from error
        output.seek(0)
        words = output.read().decode(errors="replace")
    if late.is_set():
        raise Unavailable(f"{Path(command[0]).name} did not end within {deadline:.0f} s")
    return Run(child.wait(), words)


def find_uv(environ: Mapping[str, str]) -> str:
    """The path of uv.

    Raises:
        Unavailable: when there is none.
    """
    tool = find_tool(("uv",), environ)
    if tool is None:
        raise Unavailable("uv is not here, and nothing else resolves a lock for every Python")
    return tool.command[0]


def find_pip(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The start of pip's command line, up to where the subcommand stands.

    Raises:
        Unavailable: when this interpreter has none.
    """
    tool = find_tool(("pip",), environ)
    if tool is None:
        raise Unavailable("this interpreter has no pip, and uv cannot download wheels")
    return tool.command[: tool.command.index("install")]

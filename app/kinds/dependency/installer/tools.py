"""The tools that install: uv when it is there, else pip; and which of them do not work here."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.healing.background import free_after_fork
from app.healing.children import Child, child_group
from app.kinds.dependency.installer.configuration import tool_environ
from app.kinds.dependency.on_disk import find_on_disk

logger = logging.getLogger(__name__)

#: Seconds in which a tool says its version, on a machine that is busy, and after which one that is
#: still installing is asked for it: an index may be slow, a tool that hangs does not even say that.
TOOL_PATIENCE = 5.0
#: No bytecode: the probe's own import writes that of exactly the modules that are loaded.
UV_OPTIONS = ("--no-progress", "--color=never", "--no-compile-bytecode", "--link-mode=copy")
PIP_OPTIONS = (
    *("--no-input", "--no-compile", "--no-color", "--progress-bar=off"),
    *("--disable-pip-version-check", "--no-warn-script-location"),
    # Otherwise it keeps to itself why it passed a link or an index over.
    "-vv",
)


@dataclass(frozen=True, slots=True)
class Tool:
    """An installer: its name, the program with its first arguments, and options of an install."""

    name: str
    program: tuple[str, ...]
    options: tuple[str, ...]
    #: The file that tells one installation of it from the next.
    file: Path

    @property
    def install(self) -> tuple[str, ...]:
        """The start of the command line of an install."""
        words = ("pip", "install") if self.name == "uv" else ("install",)
        return (*self.program, *words, *self.options)

    def __str__(self) -> str:
        return self.name


def find_tools(allowed: Sequence[str], environ: Mapping[str, str]) -> Iterator[Tool]:
    """Those of ``allowed`` that are here: uv beside this interpreter or on PATH, and its pip.

    A uv that nobody may execute is one that does not work.
    """
    places = os.pathsep.join((str(Path(sys.executable).parent), environ.get("PATH", os.defpath)))
    for name in allowed:
        if name == "uv":
            uv = shutil.which("uv", path=places) or shutil.which("uv", os.F_OK, path=places)
            if uv is not None:
                yield Tool("uv", (uv,), ("--python", sys.executable, *UV_OPTIONS), Path(uv))
        elif name == "pip" and (pip := find_on_disk("pip")) is not None:
            program = (sys.executable, "-I", "-m", "pip")
            yield Tool("pip", program, PIP_OPTIONS, Path(str(pip.origin)))


class Tools:
    """The installers of this process, and what is known of those that do not work.

    A tool that crashed says nothing about a package: the next one takes over, and comes first from
    then on, until the file of the broken one has changed.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        environ: Mapping[str, str],
        patience: float = TOOL_PATIENCE,
    ) -> None:
        self.environ = environ
        self.patience = patience
        self._allowed = allowed
        #: Why, by the file that it was found in and what that was like then.
        self._broken: dict[object, str] = {}
        self._mutex = free_after_fork(threading.Lock())

    def preferred(self) -> list[Tool]:
        """The tools that are here, in the order in which they are wanted."""
        return list(find_tools(self._allowed, self.environ))

    def here(self) -> list[Tool]:
        """The tools that are here, in the order in which they are to be tried."""
        return sorted(self.preferred(), key=lambda tool: self.trouble(tool) is not None)

    def trouble(self, tool: Tool) -> str | None:
        """Why a tool does not work, such as ``signal 9``; None while nothing is known of it."""
        return self._broken.get(_state(tool))

    def broken(self, tool: Tool, reason: str) -> None:
        """Remember and log that a tool does not work."""
        with self._mutex:
            known = self._broken.setdefault(_state(tool), reason)
        if known is reason:
            fields = {"tool": tool.name, "reason": reason}
            logger.warning("an installer does not work", extra={"fields": fields})

    def examine(self, tool: Tool) -> str | None:
        """Why a tool does not work, asking it for its version when nothing is known of it."""
        known = self.trouble(tool)
        if known is not None:
            return known
        reason = self._no_answer(tool)
        if reason is not None:
            self.broken(tool, reason)
        return reason

    def _no_answer(self, tool: Tool) -> str | None:
        """Why a tool does not say its version, None when it does."""
        command, given = (*tool.program, "--version"), tool_environ(tool.name, self.environ)
        with tempfile.TemporaryFile() as output:
            try:
                with child_group(
                    command, environ=given, directory=Path("/"), output=output
                ) as child:
                    if not wait(child, self.patience):
                        return "it does not answer"
                    status = child.wait()
            except OSError as error:
                return f"it cannot be run: {error.strerror}"
            said = output.seek(0, os.SEEK_END) > 0
        if status not in {0, None}:
            return ending(status)
        return None if said else "it says nothing"


def ending(status: int | None) -> str:
    """A child's end in words: ``exit 3``, ``signal 9``."""
    if status is None:
        return "an unknown end"
    return f"exit {status}" if status >= 0 else f"signal {-status}"


def wait(child: Child, deadline: float) -> bool:
    """Wait for a child's end and kill it after ``deadline`` seconds: whether it came in time.

    Without the polling of ``Popen.wait(timeout)``, which sleeps up to 50 ms too long.
    """
    expired = threading.Event()

    def expire() -> None:
        if not child.ended:
            expired.set()
            child.kill()

    timer = threading.Timer(deadline, expire)
    timer.daemon = True
    timer.start()
    try:
        child.wait()
    finally:
        timer.cancel()
    return not expired.is_set()


def _state(tool: Tool) -> object:
    """What changes when somebody mends it."""
    try:
        stat = tool.file.stat()
    except OSError:
        return tool.file
    return tool.file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

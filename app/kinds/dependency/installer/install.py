"""An install: exactly the pins that are given, into an empty directory, by a tool that works.

Every file is hash-checked, nothing is added that was not asked for, and wheels alone are used. A
tool that crashes, hangs or says nothing is no verdict about a package: the next one takes over.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.healing.children import Child, child_group, limit_file_size
from app.healing.home import can_be_written
from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome as Install
from app.kinds.dependency.installer.configuration import tool_environ
from app.kinds.dependency.installer.tools import Tool, Tools, ending, wait
from app.kinds.dependency.installer.verdict import messages, outcome, redact
from app.kinds.dependency.lock import LockedDistribution

#: How much of an installer's output is read, from its end.
OUTPUT_BYTES = 1 << 20
#: Seconds that a tool may take to clean its cache.
CLEANING_DEADLINE = 30.0
#: Part of the deadline after which, at the latest, a tool that hangs has to be suspected.
SUSPICION = 0.25
LOCKED = ("--no-deps", "--require-hashes")
DRY_RUN = "--dry-run"


@dataclass(frozen=True, slots=True)
class Installed:
    """How an install ended. ``detail`` is for the log, without credentials.

    ``uncertain`` means that it was judged by its output alone: its exit status was lost.
    """

    outcome: str
    detail: str = ""
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """What every tool is asked for, and until when (monotonic seconds)."""

    options: tuple[str, ...]
    names: tuple[str, ...]
    work: Path
    target: Path
    ends_at: float
    last: Tool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """Runs one installer at a time into a directory; durations are seconds."""

    tools: Tools
    wheelhouse: Path | None
    deadline: float
    max_file_bytes: int
    #: Descriptors that the installer inherits: the claim that it works under.
    keep: Sequence[int] = ()

    def install(self, pins: Sequence[LockedDistribution], work: Path, target: Path) -> Installed:
        """Install exactly ``pins`` into ``target``; working files go into ``work``.

        Nothing is raised for what the installer or the index does: the outcome says it.
        """
        return self._run("".join(f"{pin.line}\n" for pin in pins), LOCKED, work, target)

    def install_unlocked(self, requirement: str, work: Path, target: Path) -> Installed:
        """Install a requirement that is not in the lock, with what it needs, hashes unchecked."""
        return self._run(f"{requirement}\n", (), work, target)

    def rehearse(self, pins: Sequence[LockedDistribution], work: Path) -> Installed:
        """Ask the index for ``pins`` as an install would, and install nothing."""
        lines = "".join(f"{pin.line}\n" for pin in pins)
        return self._run(lines, (*LOCKED, DRY_RUN), work, work / "site")

    def _run(
        self, requirements: str, options: Sequence[str], work: Path, target: Path
    ) -> Installed:
        here, listed = self.tools.here(), work / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        source = ("--no-index", "--find-links", str(self.wheelhouse)) if self.wheelhouse else ()
        order = _Order(
            options=("--only-binary", ":all:", *options, *source, "-r", str(listed)),
            names=tuple(re.findall(r"(?m)^[\w.-]+", requirements)),
            work=work,
            target=target,
            ends_at=time.monotonic() + self.deadline,
            last=here[-1] if here else None,
        )
        run, passed_over = Installed(Install.INSTALLER_MISSING), []
        for tool in here:
            environ = install_environ(tool, self.tools.environ, work)
            run = self._try(tool, order, environ)
            if tool.name == "uv" and run.outcome in {Outcome.PERMISSION, Outcome.DISK_FULL}:
                # It may be its cache that cannot be written, and not the home.
                run = self._try(tool, order, {**environ, "UV_CACHE_DIR": str(work / "cache")})
            if run.outcome != Install.INSTALLER_FAILED:
                break
            passed_over.append(tool)
        if run.outcome == Outcome.HEALED:
            for tool in passed_over:
                self.tools.broken(tool, "it fails where another one does not")
        return run

    def _try(self, tool: Tool, order: _Order, environ: Mapping[str, str]) -> Installed:
        """Run one tool to its end; what a broken one has left is gone before the next begins."""
        shutil.rmtree(order.target, ignore_errors=True)
        command = (*tool.install, "--target", str(order.target), *order.options)
        # In memory where that goes, so that a full disk can be reported.
        in_memory = hasattr(os, "memfd_create")
        file = os.memfd_create("installer") if in_memory else order.work / "installer.log"
        try:
            with (
                open(file, "w+b") as output,  # noqa: PTH123 - a path or a descriptor
                # A configuration that uv finds above its directory is that of a project.
                child_group(
                    command,
                    environ=environ,
                    directory=Path("/"),
                    output=output,
                    keep=self.keep,
                    umask=0o077,
                ) as child,
            ):
                in_time = self._watch(tool, child, order)
                output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_BYTES))
                lines = output.read().decode(errors="replace").splitlines()
                status = child.wait()
        except OSError as error:
            self.tools.broken(tool, f"it cannot be run: {error.strerror}")
            return Installed(Install.INSTALLER_FAILED, f"{tool} cannot be run: {error.strerror}")
        detail = redact(messages(tool.name, lines), environ)
        if not in_time:
            return Installed(Outcome.DEADLINE, detail)
        crash = _crash(status, lines, None if DRY_RUN in order.options else order.target)
        if crash is not None:
            self.tools.broken(tool, crash)
            return Installed(Install.INSTALLER_FAILED, f"{tool}: {self.tools.trouble(tool)}")
        end = outcome(tool.name, status, lines, (*order.names, str(order.work.parent)))
        if end == Install.INVALID_WHEEL and tool.name == "uv":
            # From its cache uv would install a refused wheel without a warning.
            cleaning = (*tool.program, "cache", "clean", *order.names)
            with child_group(cleaning, environ=environ, directory=Path("/")) as child:
                wait(child, min(self.deadline, CLEANING_DEADLINE))
        return Installed(end, "" if end == Outcome.HEALED else detail, uncertain=status is None)

    def _watch(self, tool: Tool, child: Child, order: _Order) -> bool:
        """Whether a tool ended in time; one that hangs is not waited for where there is another."""
        deadline = order.ends_at - time.monotonic()

        def ask() -> None:
            if not child.ended and self.tools.examine(tool) is not None and not child.ended:
                child.kill()

        limit_file_size(child, self.max_file_bytes)
        suspicion = threading.Timer(min(self.tools.patience, deadline * SUSPICION), ask)
        suspicion.daemon = True
        if tool != order.last and self.tools.trouble(tool) is None:
            suspicion.start()
        try:
            return wait(child, deadline)
        finally:
            suspicion.cancel()


def install_environ(tool: Tool, environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The environment of an install; uv is asked to say which files it leaves out of a wheel.

    Temporary files go where the working files are, and with them when the installer is killed.
    """
    given = tool_environ(tool.name, environ) | {"RUST_LOG": "uv_extract=warn", "TMPDIR": str(work)}
    return with_cache(given, work) if tool.name == "uv" else given


def with_cache(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The environment of uv; its cache goes into ``work`` where it can write none of its own."""
    usual = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "/", ".cache")
    cache = Path(environ.get("UV_CACHE_DIR") or Path(usual, "uv"))
    own = {} if can_be_written(cache) else {"UV_CACHE_DIR": str(work / "cache")}
    return {**environ, **own}


def _crash(status: int | None, lines: Sequence[str], target: Path | None) -> str | None:
    """Why an end says nothing about the packages, None when it does.

    ``target`` is where something has to be installed after a success.
    """
    if status is not None and status < 0 and status != -signal.SIGXFSZ:
        return ending(status)
    nothing = target is not None and not any(target.glob("*.dist-info"))
    if nothing and status == 0:
        return "it says that it has installed, and has not"
    return f"{ending(status)} without a word" if not lines and (nothing or status != 0) else None

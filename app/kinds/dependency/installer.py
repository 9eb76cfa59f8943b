"""The installer: uv when it is there, pip otherwise, as a subprocess into an empty directory.

Exactly the pins it is given, every file hash-checked, no dependencies of its own choosing, wheels
only. Neither tool's exit code tells tampering from an outage, so their last words are read; tests
hold that reading against the real tools and a real, faulty index.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.healing.children import Child, child_group
from app.healing.outcomes import Outcome
from app.kinds.dependency.lock import LockedDistribution
from app.kinds.dependency.lookup import find_on_disk

#: How much of an installer's output is read, from its end.
OUTPUT_BYTES = 1 << 20
#: Seconds that a tool may take to clean its cache.
FORGETTING_DEADLINE = 30.0
#: How much of it may go to the log.
DETAIL_CHARACTERS = 2000
#: No bytecode: the probe's own import writes that of exactly the modules that are loaded.
UV_OPTIONS = ("--no-progress", "--color=never", "--no-compile-bytecode", "--link-mode=copy")
PIP_OPTIONS = (
    *("--no-input", "--no-compile", "--no-color", "--progress-bar=off"),
    *("--disable-pip-version-check", "--no-warn-script-location"),
    # Otherwise it keeps to itself why it passed a link or an index over.
    "-vv",
)
PIP_TELLS = (
    r"ERROR|WARNING|Could not fetch|Discarding |Skipping link: (none|No) |Expected|Got "
    r"|[\w.]+Error: "
)
#: An address; its host is all that may be told: user names, tokens in paths and queries are not.
ADDRESS = re.compile(r"(?P<scheme>\b[a-z][a-z+]*://)(?:\S*@)?(?P<host>[\w.:\[\]-]*)[^\s'\"`)]*")
#: What the clients print of an address without its host.
REST_OF_ADDRESS = re.compile(r"(?<=url: )/\S*")

#: What the tools say, most telling first. Read off uv 0.13 and pip 23 to 26 against each fault.
SIGNS: Sequence[tuple[Outcome, str]] = (
    (Outcome.DISK_FULL, r"no space left on device|(os error|errno) 28\b|disk quota"),
    (Outcome.TOO_LARGE, r"file too large|(os error|errno) 27\b"),
    (Outcome.HASH_MISMATCH, r"hash mismatch|do not match the hashes"),
    (Outcome.PERMISSION, r"permission denied|read-only file system|(os error|errno) (13|30)\b"),
    (Outcome.INVALID_WHEEL, r"unsafe file name|outside the target|does not match filename"),
    (Outcome.INVALID_WHEEL, r"malformed|inconsistent \w+|failed to extract|invalid zip"),
    (Outcome.INVALID_WHEEL, r"wheel .{0,300}is invalid|\.dist-info|error decoding metadata"),
    (Outcome.NO_WHEEL, r"has no (usable )?wheels|none of the wheel's tags|no sources permitted"),
    (Outcome.NOT_FOUND, r"\b404\b|not found in the package registry"),
    (Outcome.NETWORK, r"(failed|could not|failure) (to )?(fetch|download)|request failed"),
    (Outcome.NETWORK, r"error sending request|http error|connection|max retries|timed? ?out"),
    (Outcome.NETWORK, r"content-type|not a trusted|certificate"),
    (Outcome.NOT_FOUND, r"no version of|no matching distribution|could not find a version"),
    (Outcome.NOT_FOUND, r"not found in the provided package locations"),
)


@dataclass(frozen=True, slots=True)
class Installed:
    """How one run of an installer ended. ``detail`` is for the log, without credentials.

    ``uncertain`` means that it was judged by its words alone: its exit status was lost.
    """

    outcome: Outcome
    tool: str
    seconds: float
    detail: str = ""
    uncertain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """Runs one installer at a time into a directory; durations are seconds."""

    wheelhouse: Path | None
    deadline: float
    max_file_bytes: int
    tools: Sequence[str]
    environ: Mapping[str, str]
    #: Descriptors that the installer inherits: the claim that it works under.
    keep: Sequence[int] = ()

    def install(self, pins: Sequence[LockedDistribution], work: Path, target: Path) -> Installed:
        """Install exactly ``pins`` into ``target``; working files go into ``work``.

        Nothing is raised for what the installer or the index does: the outcome says it.
        """
        lines = "".join(map(_requirement_line, pins))
        run = self._run(lines, ("--no-deps", "--require-hashes"), work, target)
        if run.outcome is Outcome.INVALID_WHEEL:
            self._forget([pin.name for pin in pins], work)
        return run

    def install_unlocked(self, requirement: str, work: Path, target: Path) -> Installed:
        """Install a requirement that is not in the lock, with what it needs, hashes unchecked."""
        return self._run(f"{requirement}\n", (), work, target)

    def _run(
        self, requirements: str, options: Sequence[str], work: Path, target: Path
    ) -> Installed:
        tool = find_tool(self.tools, self.environ)
        if tool is None:
            return Installed(Outcome.INSTALLER_MISSING, "", 0.0)
        listed = work / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        source = ("--no-index", "--find-links", str(self.wheelhouse)) if self.wheelhouse else ()
        command = [
            *(*tool.command, "--target", str(target), "--only-binary", ":all:"),
            *(*options, *source, "-r", str(listed)),
        ]
        return self._watch(tool, command, work)

    def _forget(self, names: Sequence[str], work: Path) -> None:
        """Take refused wheels out of the cache: from there uv installs them without a warning."""
        tool = find_tool(self.tools, self.environ)
        if tool is None or not tool.forgetting:
            return
        environ = _environ(self.environ, work)
        with child_group((*tool.forgetting, *names), environ=environ, directory=work) as child:
            _wait(child, min(self.deadline, FORGETTING_DEADLINE))

    def _watch(self, tool: Tool, command: Sequence[str], work: Path) -> Installed:
        started = time.monotonic()
        environ = _environ(self.environ, work)
        with (
            _open_output(work) as output,
            child_group(
                command, environ=environ, directory=work, output=output, keep=self.keep
            ) as child,
        ):
            limit_file_size(child.pid, self.max_file_bytes)
            in_time = _wait(child, self.deadline)
            said = _telling_lines(output, tool.telling)
        seconds = time.monotonic() - started
        status = child.wait()
        outcome = _outcome(status, said) if in_time else Outcome.DEADLINE
        detail = "" if outcome is Outcome.HEALED else redact(said)
        return Installed(outcome, tool.name, seconds, detail, uncertain=status is None)


@dataclass(frozen=True, slots=True)
class Tool:
    """An installer: its name, the start of its command line, and which of its lines tell."""

    name: str
    command: tuple[str, ...]
    telling: str = ""
    #: The start of the command line that takes distributions out of its cache.
    forgetting: tuple[str, ...] = ()


def find_tool(allowed: Sequence[str], environ: Mapping[str, str]) -> Tool | None:
    """The first of ``allowed`` that is here: uv beside this interpreter or on PATH, or its pip."""
    finders = {"uv": _find_uv, "pip": _find_pip}
    found = (finders[name](environ) for name in allowed)
    return next((tool for tool in found if tool is not None), None)


def _find_uv(environ: Mapping[str, str]) -> Tool | None:
    beside = str(Path(sys.executable).parent)
    uv = shutil.which("uv", path=os.pathsep.join((beside, environ.get("PATH", os.defpath))))
    command = ("pip", "install", "--python", sys.executable, *UV_OPTIONS)
    return Tool("uv", (uv, *command), forgetting=(uv, "cache", "clean")) if uv else None


def _find_pip(_environ: Mapping[str, str]) -> Tool | None:
    if find_on_disk("pip") is None:
        return None
    return Tool("pip", (sys.executable, "-I", "-m", "pip", "install", *PIP_OPTIONS), PIP_TELLS)


def limit_file_size(pid: int, limit: int) -> None:
    """Bound every file that the process writes, where the platform can do so from outside."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))


def redact(text: str) -> str:
    """The begin and the end of an installer's output; of every address in it only the host."""
    safe = REST_OF_ADDRESS.sub("/...", ADDRESS.sub(r"\g<scheme>\g<host>/...", text)).strip()
    half = DETAIL_CHARACTERS // 2
    return safe if len(safe) <= 2 * half else f"{safe[:half]}\n...\n{safe[-half:]}"


def _requirement_line(pin: LockedDistribution) -> str:
    return f"{pin.pin} {' '.join(f'--hash={value}' for value in pin.hashes)}\n"


def _environ(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The installers' own settings stand; uv is asked to say which files it leaves out.

    Temporary files go where the working files are, and with them when the installer is killed.
    uv wants a cache that it can write: without one of its own or a home directory (a read-only
    root) it gets one there, too.
    """
    environ = {**environ, "RUST_LOG": "uv_extract=warn", "TMPDIR": str(work)}
    cache = environ.get("XDG_CACHE_HOME") or environ.get("HOME") or "/nonexistent"
    if "UV_CACHE_DIR" in environ or os.access(cache, os.W_OK):
        return environ
    return {**environ, "UV_CACHE_DIR": str(work / "cache")}


def _wait(child: Child, deadline: float) -> bool:
    """Wait without the polling of ``Popen.wait(timeout)``, which sleeps up to 50 ms too long."""
    expired = threading.Event()
    timer = threading.Timer(deadline, _expire, (child, expired))
    timer.daemon = True
    timer.start()
    try:
        child.wait()
    finally:
        timer.cancel()
    return not expired.is_set()


def _expire(child: Child, expired: threading.Event) -> None:
    if not child.ended:
        expired.set()
        child.kill()


def _open_output(work: Path) -> IO[bytes]:
    """A file for what the tool says: in memory where that goes, so that a full disk gets told."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("installer"), "w+b")
    return (work / "installer.log").open("w+b")


def _telling_lines(output: IO[bytes], telling: str) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_BYTES))
    lines = output.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if re.match(rf"\s*({telling})", line))


def _outcome(status: int | None, said: str) -> Outcome:
    """A clean exit is a success, but not when uv has left a file out of a wheel for its name.

    Without a status it is one when nothing tells of a failure; what was installed has to show it.
    """
    if status == 0 and "unsafe file name" not in said:
        return Outcome.HEALED
    if status == -signal.SIGXFSZ:
        return Outcome.TOO_LARGE
    found = (outcome for outcome, sign in SIGNS if re.search(sign, said, re.IGNORECASE))
    return next(found, Outcome.HEALED if status is None else Outcome.INSTALLER_FAILED)

"""The installer: uv when it is there, pip otherwise, as a subprocess into an empty directory.

Exactly the pins it is given, every file hash-checked, no dependencies of its own choosing, wheels
only. Neither tool's exit code tells tampering from an outage, so the end of their output is read;
tests hold that reading against the real tools and a real, faulty index.
"""

from __future__ import annotations

import configparser
import os
import re
import resource
import shutil
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.healing.children import Child, child_group
from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome as Install
from app.kinds.dependency.lock import LockedDistribution
from app.kinds.dependency.on_disk import find_on_disk
from app.settings.errors import without_credentials
from app.settings.variable import YES

#: How much of an installer's output is read, from its end.
OUTPUT_BYTES = 1 << 20
#: Seconds that a tool may take to clean its cache.
CLEANING_DEADLINE = 30.0
#: How much of the output may go to the log.
DETAIL_CHARACTERS = 2000
#: No bytecode: the probe's own import writes that of exactly the modules that are loaded.
UV_OPTIONS = ("--no-progress", "--color=never", "--no-compile-bytecode", "--link-mode=copy")
PIP_OPTIONS = (
    *("--no-input", "--no-compile", "--no-color", "--progress-bar=off"),
    *("--disable-pip-version-check", "--no-warn-script-location"),
    # Otherwise it keeps to itself why it passed a link or an index over.
    "-vv",
)
PIP_MESSAGES = (
    r"ERROR|WARNING|Could not fetch|Discarding |Skipping link: (none|No) |Expected|Got "
    r"|[\w.]+Error: "
)
#: An address; its host is all that may be shown: tokens in paths and queries may not, nor what
#: stands where a port should: that is the begin of a password with a ``/`` or a ``#`` in it.
ADDRESS = re.compile(
    r"(?:(?P<scheme>\b[a-z][a-z+]*://)(?:\.\.\.@)?|\.\.\.@)"
    r"(?P<host>(?:\[[\da-fA-F:.]*\]|[\w.-]*)(?::\d+\b)?)[^\s'\"`)]*"
)
#: What the clients print of an address without its host.
REST_OF_ADDRESS = re.compile(r"(?<=url: )/\S*")

#: What the tools say, most specific first. Read off uv 0.13 and pip 23 to 26 against each fault.
SIGNS: Sequence[tuple[str, str]] = (
    (Outcome.DISK_FULL, r"no space left on device|(os error|errno) 28\b|disk quota"),
    (Install.TOO_LARGE, r"file too large|(os error|errno) 27\b"),
    (Install.HASH_MISMATCH, r"hash mismatch|do not match the hashes"),
    (Outcome.PERMISSION, r"permission denied|read-only file system|(os error|errno) (13|30)\b"),
    (Install.INVALID_WHEEL, r"unsafe file name|outside the target|does not match filename"),
    (Install.INVALID_WHEEL, r"malformed|inconsistent \w+|failed to extract|invalid zip"),
    (Install.INVALID_WHEEL, r"wheel .{0,300}is invalid|\.dist-info|error decoding metadata"),
    (
        Install.NO_WHEEL,
        r"has no (usable )?wheels|none of the wheel's tags|no sources permitted",
    ),
    (Install.NOT_FOUND, r"\b404\b|not found in the package registry"),
    (Install.NETWORK, r"(failed|could not|failure) (to )?(fetch|download)|request failed"),
    (
        Install.NETWORK,
        r"error sending request|http error|connection|max retries|timed? ?out",
    ),
    (Install.NETWORK, r"content-type|not a trusted|certificate"),
    (Install.NOT_FOUND, r"no version of|no matching distribution|could not find a version"),
    (Install.NOT_FOUND, r"not found in the provided package locations"),
)


@dataclass(frozen=True, slots=True)
class Tool:
    """An installer: its name and the start of its command line."""

    name: str
    command: tuple[str, ...]
    #: The lines of its output that are read; empty for all.
    messages: str = ""
    #: The start of the command line that takes distributions out of its cache.
    cleaning: tuple[str, ...] = ()


def find_tool(allowed: Sequence[str], environ: Mapping[str, str]) -> Tool | None:
    """The first of ``allowed`` that is here: uv beside this interpreter or on PATH, or its pip."""
    places = (str(Path(sys.executable).parent), environ.get("PATH", os.defpath))
    for name in allowed:
        if name == "uv" and (uv := shutil.which("uv", path=os.pathsep.join(places))):
            options = ("--python", sys.executable, *UV_OPTIONS)
            return Tool("uv", (uv, "pip", "install", *options), cleaning=(uv, "cache", "clean"))
        if name == "pip" and find_on_disk("pip") is not None:
            start = (sys.executable, "-I", "-m", "pip", "install")
            return Tool("pip", (*start, *PIP_OPTIONS), PIP_MESSAGES)
    return None


@dataclass(frozen=True, slots=True)
class Installed:
    """How one run of an installer ended. ``detail`` is for the log, without credentials.

    ``uncertain`` means that it was judged by its output alone: its exit status was lost.
    """

    outcome: str
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
        lines = "".join(f"{pin.line}\n" for pin in pins)
        run = self._run(lines, ("--no-deps", "--require-hashes"), work, target)
        tool = find_tool(self.tools, self.environ)
        if run.outcome is Install.INVALID_WHEEL and tool is not None and tool.cleaning:
            # From its cache uv would install a refused wheel without a warning.
            command = (*tool.cleaning, *(pin.name for pin in pins))
            environ = _environ(self.environ, work)
            with child_group(command, environ=environ, directory=work) as child:
                _wait(child, min(self.deadline, CLEANING_DEADLINE))
        return run

    def install_unlocked(self, requirement: str, work: Path, target: Path) -> Installed:
        """Install a requirement that is not in the lock, with what it needs, hashes unchecked."""
        return self._run(f"{requirement}\n", (), work, target)

    def _run(
        self, requirements: str, options: Sequence[str], work: Path, target: Path
    ) -> Installed:
        tool = find_tool(self.tools, self.environ)
        if tool is None:
            return Installed(Install.INSTALLER_MISSING)
        listed = work / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        source = ("--no-index", "--find-links", str(self.wheelhouse)) if self.wheelhouse else ()
        command = [
            *(*tool.command, "--target", str(target), "--only-binary", ":all:"),
            *(*options, *source, "-r", str(listed)),
        ]
        environ = _environ(self.environ, work)
        # In memory where that goes, so that a full disk can be reported.
        in_memory = hasattr(os, "memfd_create")
        file = os.memfd_create("installer") if in_memory else work / "installer.log"
        with (
            open(file, "w+b") as output,  # noqa: PTH123 - a path or a descriptor
            child_group(
                command, environ=environ, directory=work, output=output, keep=self.keep
            ) as child,
        ):
            if sys.platform == "linux":
                with suppress(ProcessLookupError, PermissionError):
                    limits = (self.max_file_bytes, self.max_file_bytes)
                    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, limits)
            in_time = _wait(child, self.deadline)
            output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_BYTES))
            lines = output.read().decode(errors="replace").splitlines()
        said = "\n".join(line for line in lines if re.match(rf"\s*({tool.messages})", line))
        status = child.wait()
        outcome = _outcome(status, said) if in_time else Outcome.DEADLINE
        detail = "" if outcome is Outcome.HEALED else redact(said, self.environ)
        return Installed(outcome, detail, uncertain=status is None)


def _environ(environ: Mapping[str, str], work: Path) -> dict[str, str]:
    """The installers' own settings stand; uv is asked to say which files it leaves out.

    Temporary files go where the working files are, and with them when the installer is killed.
    uv wants a cache that it can write: without one of its own or a home directory (a read-only
    root) it gets one there, too.
    """
    environ = {**environ, "RUST_LOG": "uv_extract=warn", "TMPDIR": str(work)}
    cache = environ.get("XDG_CACHE_HOME") or environ.get("HOME")
    if "UV_CACHE_DIR" in environ or (cache and os.access(cache, os.W_OK)):
        return environ
    return {**environ, "UV_CACHE_DIR": str(work / "cache")}


def _wait(child: Child, deadline: float) -> bool:
    """Wait without the polling of ``Popen.wait(timeout)``, which sleeps up to 50 ms too long."""
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


def _outcome(status: int | None, said: str) -> str:
    """A clean exit is a success, but not when uv has left a file out of a wheel for its name.

    Without a status it is one when no line reports a failure; what was installed has to show it.
    """
    if status == 0 and "unsafe file name" not in said:
        return Outcome.HEALED
    if status == -signal.SIGXFSZ:
        return Install.TOO_LARGE
    found = (outcome for outcome, sign in SIGNS if re.search(sign, said, re.IGNORECASE))
    return next(found, Outcome.HEALED if status is None else Install.INSTALLER_FAILED)


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """The begin and the end of an installer's output; of every address in it only the host.

    ``environ`` is what the installer ran in: clients that take a raw ``/`` in a password for the
    end of the host print pieces of it that look like nothing.
    """
    addresses: list[str] = []
    if environ is not None:
        configured = [named_index("uv", environ), named_index("pip", environ)]
        configured += [
            value
            for name, value in environ.items()
            if name.startswith(("UV_", "PIP_")) or name.lower().endswith("_proxy")
        ]
        addresses = [word for value in configured if value for word in value.split()]
    safe = ADDRESS.sub(r"\g<scheme>\g<host>/...", without_credentials(text, addresses))
    safe = REST_OF_ADDRESS.sub("/...", safe).strip()
    half = DETAIL_CHARACTERS // 2
    return safe if len(safe) <= 2 * half else f"{safe[:half]}\n...\n{safe[-half:]}"


# -- which index the tools are configured with -------------------------------------------------


def named_index(tool: str, environ: Mapping[str, str]) -> str | None:
    """The address that ``uv`` or ``pip`` is configured to install from, None when it has none.

    Only what a host is configured with is read: a project's own files count for whoever works in
    it, and installers are run elsewhere. The address may hold credentials. A file that cannot be
    read, or is none of the tool's, counts as absent: the tool itself reports it when it is run.
    """
    home = Path(environ.get("HOME", "/"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    found = _uv_indexes(environ, config) if tool == "uv" else _pip_indexes(environ, home, config)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), None)


def _uv_indexes(environ: Mapping[str, str], config: Path) -> Iterator[object]:
    yield environ.get("UV_DEFAULT_INDEX")
    yield environ.get("UV_INDEX_URL")
    if environ.get("UV_NO_CONFIG", "").lower() in YES:
        return
    given = environ.get("UV_CONFIG_FILE")
    for place in [Path(given)] if given else [config / "uv/uv.toml", Path("/etc/uv/uv.toml")]:
        try:
            content = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        indexes, section = content.get("index"), content.get("pip")
        for index in indexes if isinstance(indexes, list) else ():
            if isinstance(index, dict) and index.get("default") is True:
                yield index.get("url")
        yield section.get("index-url") if isinstance(section, dict) else None
        yield content.get("index-url")


def _pip_indexes(environ: Mapping[str, str], home: Path, config: Path) -> Iterator[object]:
    yield environ.get("PIP_INDEX_URL")
    given = environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return
    # The weakest first: what a later file says replaces what one before said.
    places = [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    places += [Path(sys.prefix) / "pip.conf", *([Path(given)] if given else [])]
    parser = configparser.RawConfigParser()
    for place in places:
        with suppress(configparser.Error, OSError, ValueError):
            parser.read(place, encoding="utf-8")
    for section in ("install", "global"):
        yield parser.get(section, "index-url", fallback=None)

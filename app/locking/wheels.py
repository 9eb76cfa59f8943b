"""What the lock names, as files: a wheelhouse, known vulnerabilities, and layers as installed."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from app.kinds.dependency.installer.configuration import tool_environ
from app.kinds.dependency.installer.tools import find_tools
from app.kinds.dependency.layers import Layer
from app.kinds.dependency.requirements import normalize
from app.locking.locks import lock_text, read_lock, run_tool
from app.settings.errors import BadFile, CannotWrite, Unavailable

DOWNLOAD_DEADLINE = 1800.0
AUDIT_DEADLINE = 300.0
DOWNLOAD_OPTIONS = (
    *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input", "--no-color"),
    *("--progress-bar=off", "--disable-pip-version-check"),
)
#: What Python writes by itself.
CACHE = "__pycache__"


# -- a wheelhouse ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filled:
    """What a wheelhouse has got: the wheels of the lock, and files that are none of them."""

    added: tuple[str, ...]
    kept: tuple[str, ...]
    strangers: tuple[str, ...]


def fitting(directory: Path) -> dict[str, frozenset[str]]:
    """The hashes, as a lock writes them, of the wheels that fit here, by distribution."""
    supported = frozenset(sys_tags())
    found: dict[str, frozenset[str]] = {}
    for path in sorted(directory.glob("*.whl")):
        try:
            name, _, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if tags & supported:
            key = normalize(name)
            found[key] = found.get(key, frozenset()) | {digest(path)}
    return found


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file as a lock writes it: ``sha256:`` and hexadecimal digits."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def fill(lock_path: Path, directory: Path, environ: Mapping[str, str]) -> Filled:
    """Bring every wheel of the lock that fits here into ``directory``.

    They are downloaded aside and checked against the lock, then moved one by one; what is there
    and right is not downloaded again. An interruption leaves whole, verified wheels.

    Raises:
        CommandError: when the lock cannot be read, the directory not be written, or a wheel not be
            had; nothing is added then.
    """
    entries = sorted(read_lock(lock_path).entries.values(), key=lambda entry: entry.name)
    if not entries:
        raise BadFile(f"{lock_path.name} locks nothing: run auto-fix lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Inside the wheelhouse, so that moving a wheel is one rename.
        staging = tempfile.TemporaryDirectory(prefix=".incoming-", dir=directory)
    except OSError as error:
        raise CannotWrite(f"{directory} cannot be written ({error.strerror})") from error
    added: list[str] = []
    with staging as name:
        have = fitting(directory)
        wanted = [e for e in entries if not have.get(e.name, frozenset()) & set(e.hashes)]
        before = {path.name for path in directory.glob("*.whl")}
        if wanted:
            listed = Path(name) / "lock.txt"
            listed.write_text(lock_text(wanted), encoding="utf-8")
            pip = next(find_tools(("pip",), environ), None)
            if pip is None:
                raise Unavailable("this interpreter has no pip, and uv cannot download wheels")
            command = [*pip.program, "download", *DOWNLOAD_OPTIONS, "-d", name, "-r", str(listed)]
            status, words = run_tool(
                command, tool_environ("pip", environ), Path(name), DOWNLOAD_DEADLINE
            )
            if status != 0:
                raise Unavailable(f"the wheels could not be downloaded: {words}")
            hashes = {value: entry.name for entry in wanted for value in entry.hashes}
            found = {path: hashes.get(digest(path)) for path in sorted(Path(name).glob("*.whl"))}
            lacking = {entry.name for entry in wanted} - set(found.values())
            if lacking or None in found.values():
                names = ", ".join(sorted(lacking))
                raise Unavailable(f"these wheels are not what the lock names: {names}")
            added = [path.rename(directory / path.name).name for path in found]
    known = {value for entry in entries for value in entry.hashes}
    strangers = [path.name for path in directory.glob("*.whl") if digest(path) not in known]
    kept = before - set(added) - set(strangers)
    return Filled(tuple(sorted(added)), tuple(sorted(kept)), tuple(sorted(strangers)))


# -- known vulnerabilities -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One known vulnerability of a locked version."""

    distribution: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked up, what was found, and what the service does not know."""

    audited: tuple[str, ...]
    skipped: tuple[str, ...]
    vulnerabilities: tuple[Vulnerability, ...]


def audit(lock_path: Path, environ: Mapping[str, str], osv_url: str | None = None) -> Audit:
    """Look every pin of the lock up; ``osv_url`` asks that OSV service in place of the index.

    Raises:
        Unavailable: without pip-audit, or when the service knows nothing about anything: no news
            is not good news.
        BadFile: when there is no lock.
    """
    if not lock_path.is_file():
        raise BadFile(f"{lock_path.name} does not exist: run auto-fix lock")
    program = [sys.executable, "-m", "pip_audit"]
    if find_spec("pip_audit") is None:
        found = shutil.which("pip-audit")
        if found is None:
            raise Unavailable("pip-audit is not installed; it is in requirements-dev.txt")
        program = [found]
    service = ["-s", "osv", "--osv-url", osv_url] if osv_url else []
    with tempfile.TemporaryDirectory(prefix="auto-fix-audit-") as directory:
        path = Path(directory) / "audit.json"
        command = [*program, "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command += ["-r", str(lock_path), "-f", "json", "-o", str(path), *service]
        _, words = run_tool(command, environ, Path(directory), AUDIT_DEADLINE)
        if not path.is_file():
            raise Unavailable(f"pip-audit gave no answer: {words[-300:]}")
        entries = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    skipped = tuple(str(entry["name"]) for entry in entries if "skip_reason" in entry)
    known = [entry for entry in entries if "skip_reason" not in entry]
    if skipped and not known:
        raise Unavailable(f"nothing was audited: the service knows none of {len(skipped)} pins")
    vulnerabilities = tuple(
        Vulnerability(
            distribution=str(entry["name"]),
            version=str(entry["version"]),
            id=str(one["id"]),
            aliases=tuple(map(str, one.get("aliases", ()))),
            fixed_in=tuple(map(str, one.get("fix_versions", ()))),
        )
        for entry in known
        for one in entry.get("vulns") or ()
    )
    return Audit(tuple(str(entry["name"]) for entry in known), skipped, vulnerabilities)


# -- layers as they were installed -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flaw:
    """A file of a layer that is not as it was installed."""

    file: str
    reason: str


def verify(layer: Layer, site: Path) -> tuple[Flaw, ...]:
    """What of a layer has changed since its heal.

    The manifest has the hash of each RECORD, and each RECORD the hashes of its files: a file, or a
    file with its line in RECORD, cannot change unseen. Symbolic links are in no RECORD.
    """
    listed: dict[str, str] = {}
    flaws: list[Flaw] = []
    records: set[str] = set()
    for path in sorted(site.glob("*.dist-info/RECORD")):
        text = path.read_text(encoding="utf-8", errors="replace")
        record = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        records.add(record)
        if record not in layer.hashes:
            flaws.append(Flaw(str(path.relative_to(site)), "changed since the heal"))
        listed |= {
            row[0]: "".join(row[1:2]) for row in csv.reader(text.splitlines(keepends=True)) if row
        }
    flaws += [Flaw("RECORD", f"none has the hash {value}") for value in {*layer.hashes} - records]
    for name, expected in sorted(listed.items()):
        path = site / name
        algorithm, _, value = expected.partition("=")
        if not path.resolve().is_relative_to(site.resolve()):
            flaws.append(Flaw(name, "lies outside the layer"))
        elif not path.is_file():
            flaws.append(Flaw(name, "missing"))
        elif expected:
            here = bytes.fromhex(digest(path, algorithm).partition(":")[2])
            if base64.urlsafe_b64encode(here).rstrip(b"=").decode() != value:
                flaws.append(Flaw(name, "changed since the heal"))
    for path in sorted(site.rglob("*")):
        name = str(path.relative_to(site))
        known = name in listed or CACHE in path.parts or path.name == ".lock"
        if (path.is_file() or path.is_symlink()) and not known:
            flaws.append(Flaw(name, "in no RECORD"))
    return tuple(flaws)

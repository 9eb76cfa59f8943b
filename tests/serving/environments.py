"""Wheels of what is installed here, and environments made of them: no index is asked.

A distribution's RECORD names its files, so its wheel can be put together again. The lock of these
wheels has the versions and the shape of the committed one and hashes of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from uv import find_uv_bin

from tests.support.processes import ROOT, base_environ
from tests.support.wheels import normalise, project_of, sha256

COMMITTED = ROOT / "requirements-flask.lock"
#: What an installer adds to a distribution; uv is too large to be worth the packing.
ADDED = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"})
LEFT_OUT = frozenset({"uv"})
ENTRY = re.compile(r"^([\w.-]+)==", re.MULTILINE)


@dataclass(frozen=True)
class Wheelhouse:
    """A directory of wheels with the lock that names them."""

    directory: Path

    @property
    def lock(self) -> Path:
        """The hashed lock of all wheels here."""
        return self.directory / "test.lock"

    def wheels(self) -> list[Path]:
        """Every wheel."""
        return sorted(self.directory.glob("*.whl"))

    def projects(self) -> set[str]:
        """The names of what is here."""
        return {project_of(wheel.name)[0] for wheel in self.wheels()}

    def install(self, python: Path, names: Iterable[str]) -> None:
        """Install distributions of the wheelhouse, without what they need, into an environment."""
        wheels = {project_of(wheel.name)[0]: str(wheel) for wheel in self.wheels()}
        command = [find_uv_bin(), "pip", "install", "--quiet", "--offline", "--no-deps"]
        command += ["--no-config", "--python", str(python), *(wheels[name] for name in names)]
        cache = self.directory / "uv-cache"
        subprocess.run(command, env=base_environ(UV_CACHE_DIR=str(cache)), check=True)


def pack(directory: Path) -> Wheelhouse:
    """Pack what the committed lock names and this interpreter has installed."""
    directory.mkdir(parents=True, exist_ok=True)
    locked = ENTRY.findall(COMMITTED.read_text())
    found = {normalise(d.name): d for d in importlib.metadata.distributions()}
    wheels = [_repack(found[n], directory) for n in locked if n in found and n not in LEFT_OUT]
    house = Wheelhouse(directory)
    house.lock.write_text(_own_lock(wheels), encoding="utf-8")
    return house


def environment(directory: Path, *, pip: bool = False) -> Path:
    """Make an empty virtual environment and return its interpreter."""
    options = [] if pip else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", *options, str(directory)], check=True)
    return directory / "bin" / "python"


def path_without(name: str) -> str:
    """PATH without the directories that have a program of this name."""
    places = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(place for place in places if not Path(place, name).exists())


def _repack(distribution: importlib.metadata.Distribution, directory: Path) -> Path:
    wheel = distribution.read_text("WHEEL") or ""
    tag = re.findall(r"^Tag: (?!py2-)(\S+)", wheel, re.MULTILINE)[0]
    name = normalise(distribution.name).replace("-", "_")
    path = directory / f"{name}-{distribution.version}-{tag}.whl"
    members = [file for file in distribution.files or () if _belongs(file)]
    info = next(file.parent for file in members if file.name == "METADATA")
    with zipfile.ZipFile(path, "w") as archive:
        for file in members:
            archive.write(distribution.locate_file(file), str(file))  # type: ignore[arg-type]
        record = "".join(f"{file},,\n" for file in [*members, info / "RECORD"])
        archive.writestr(str(info / "RECORD"), record)
    return path


def _belongs(file: PurePosixPath) -> bool:
    """Whether it came with the wheel, not with its installation."""
    return file.suffix != ".pyc" and file.parts[0] != ".." and file.name not in ADDED


def _own_lock(wheels: Iterable[Path]) -> str:
    """The committed lock with the wheels' own hashes in the place of its hashes."""
    hashes = {project_of(wheel.name)[0]: sha256(wheel) for wheel in wheels}
    lines: list[str] = []
    kept = True
    for line in COMMITTED.read_text().splitlines():
        if entry := ENTRY.match(line):
            kept = entry[1] in hashes
            lines += [line, f"    --hash=sha256:{hashes[entry[1]]}"] if kept else []
        elif kept and "--hash" not in line:
            lines.append(line)
    return "\n".join(lines) + "\n"

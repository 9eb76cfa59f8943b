"""Public reports of services that died of an import, rebuilt, and what is to be said of each.

One TOML file a case. ``report`` names where people met it, ``seen`` is what Python said to them in
its own words. The circumstances are ``[[installed]]`` distributions (``gone`` files are in their
RECORD and not on disk), ``[project]`` files of the application, the ``packages`` that are approved
and the ``lock`` (``name==version``, and ``via`` who needs it). ``module`` is then imported, in a
process without any other package, and ``[expected]`` has the diagnosis: ``cause``, ``culprit``,
``advice`` and, where a heal mends it, ``heals``. ``python`` is the oldest version with the fault.

Compiled code that cannot be loaded is rebuilt by a module that raises what the loader says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kinds.dependency.catalog import Catalog
from app.kinds.dependency.diagnosing.diagnostician import Diagnostician
from app.kinds.dependency.diagnosing.failure import import_cleanly

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: The application's own packages, in every case.
FIRST_PARTY = frozenset({"shop"})
CHILD = "import sys; sys.path.append({root!r}); from benchmarks import cases; cases.{call}()"


@dataclass(frozen=True, slots=True)
class Case:
    """One report: where it was made, its circumstances, and the diagnosis that is right."""

    name: str
    report: str
    seen: str
    circumstances: Mapping[str, Any]
    expected: Mapping[str, str | None]

    @classmethod
    def read(cls, path: Path) -> Case:
        """Read a file of this directory."""
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            name=path.stem,
            report=document.pop("report"),
            seen=document.pop("seen"),
            expected={"heals": None, **document.pop("expected")},
            circumstances=document,
        )

    @property
    def applies(self) -> bool:
        """Whether this Python has the fault at all."""
        oldest = str(self.circumstances.get("python", "3.11"))
        return sys.version_info >= tuple(map(int, oldest.split(".")))


def all_cases() -> list[Case]:
    """Every case, by name."""
    return [Case.read(path) for path in sorted(HERE.glob("*.toml"))]


def diagnose_all() -> dict[str, Mapping[str, str | None]]:
    """What is said of each case that applies, rebuilt in a process of its own."""
    found: dict[str, Mapping[str, str | None]] = _child("print_diagnoses")
    return found


def time_diagnoses() -> tuple[float, list[float]]:
    """Seconds of the first diagnosis in a fresh process and of later ones: a stranger's module."""
    first, *later = _child("print_times")
    return first, later


def _child(call: str) -> Any:  # noqa: ANN401 - what the function of that name prints as JSON
    # Neither the environment's packages nor anything of its user: what a case has is all there is.
    command = [sys.executable, "-I", "-S", "-c", CHILD.format(root=str(ROOT), call=call)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)


# -- in the child --------------------------------------------------------------------------------


def print_diagnoses() -> None:
    """Print what is said of each case; each is imported in a fork, so that none meets another."""
    found: dict[str, object] = {}
    for case in all_cases():
        if not case.applies:
            continue
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, json.dumps(_diagnose(case)).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        found[case.name] = json.loads(said or "{}")
    sys.stdout.write(json.dumps(found))


def print_times() -> None:
    """Print the seconds of diagnoses, each of a module that is neither here nor approved."""
    diagnostician = Diagnostician(Catalog({}, HERE / "none.lock"), FIRST_PARTY)
    found = []
    for number in range(50):
        name = f"not_there_{number}"
        try:
            import_cleanly(name)
        except ImportError as error:
            begun = time.perf_counter()
            diagnostician.diagnose(error, name)
            found.append(time.perf_counter() - begun)
    sys.stdout.write(json.dumps(found))


def _diagnose(case: Case) -> dict[str, object]:
    given = case.circumstances
    with tempfile.TemporaryDirectory() as directory:
        site, project = Path(directory, "site-packages"), Path(directory, "project")
        for distribution in given.get("installed", ()):
            _install(site, **distribution)
        _write(project, given.get("project", {}))
        lock = Path(directory, "case.lock")
        lock.write_text("".join(map(_locked, given.get("lock", ()))), encoding="utf-8")
        sys.path[:0] = [str(project), str(site)]
        diagnostician = Diagnostician(Catalog(given.get("packages", {}), lock), FIRST_PARTY)
        name = given.get("module", "shop")
        try:
            import_cleanly(name)
        except BaseException as error:  # noqa: BLE001 - whatever the report says
            found = diagnostician.diagnose(error, name)
            return {
                "cause": str(found.cause),
                "culprit": found.module,
                "advice": found.advice,
                "heals": found.heals if found.fixable else None,
            }
    return {}


def _install(
    site: Path, name: str, version: str, files: Mapping[str, str], gone: tuple[str, ...] = ()
) -> None:
    """Leave what an installer leaves of a distribution."""
    stem = name.replace("-", "_").lower()
    records = []
    for file, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=")
        records.append(f"{file},sha256={digest.decode()},{len(content)}\n")
    info = f"{stem}-{version}.dist-info"
    _write(site, {file: content for file, content in files.items() if file not in gone})
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    _write(site, {f"{info}/METADATA": metadata, f"{info}/RECORD": "".join(records)})


def _write(root: Path, files: Mapping[str, str]) -> None:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _locked(entry: str) -> str:
    pin, _, via = entry.partition(" via ")
    return (
        f"{pin} \\\n    --hash=sha256:{'0' * 64}\n    # via {via or '-r requirements-flask.txt'}\n"
    )

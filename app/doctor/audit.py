"""Known vulnerabilities in the lock, by pip-audit."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.doctor.errors import BadFile, Unavailable
from app.doctor.tools import run_tool
from app.kinds.dependency.installer import redact

DEADLINE = 300.0


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One known vulnerability of a locked version."""

    distribution: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The vulnerability as JSON shows it."""
        return {
            "distribution": self.distribution,
            "version": self.version,
            "id": self.id,
            "aliases": list(self.aliases),
            "fixed_in": list(self.fixed_in),
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked up, what was found, and what nobody could tell about."""

    audited: tuple[str, ...]
    skipped: tuple[str, ...]
    vulnerabilities: tuple[Vulnerability, ...]


def audit(lock_path: Path, environ: Mapping[str, str], osv_url: str | None = None) -> Audit:
    """Look every pin of the lock up; ``osv_url`` asks that OSV service in place of the index.

    Raises:
        Unavailable: without pip-audit, or when the service told nothing about anything: no news
            is not good news.
        BadFile: when there is no lock.
    """
    if not lock_path.is_file():
        raise BadFile(f"{lock_path.name} does not exist: run flask auto-fix lock")
    service = ["-s", "osv", "--osv-url", osv_url] if osv_url else []
    with tempfile.TemporaryDirectory(prefix="auto-fix-audit-") as directory:
        report = Path(directory) / "audit.json"
        command = [*_program(), "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command += ["-r", str(lock_path), "-f", "json", "-o", str(report), *service]
        run = run_tool(command, environ, Path(directory), DEADLINE)
        if not report.is_file():
            raise Unavailable(f"pip-audit could not tell: {redact(run.words)[-300:]}")
        return _read(json.loads(report.read_text(encoding="utf-8")))


def _program() -> list[str]:
    if find_spec("pip_audit") is not None:
        return [sys.executable, "-m", "pip_audit"]
    program = shutil.which("pip-audit")
    if program is None:
        raise Unavailable("pip-audit is not installed; it is in requirements-dev.txt")
    return [program]


def _read(report: dict[str, list[dict[str, object]]]) -> Audit:
    entries = report["dependencies"]
    skipped = tuple(str(entry["name"]) for entry in entries if "skip_reason" in entry)
    known = [entry for entry in entries if "skip_reason" not in entry]
    if skipped and not known:
        raise Unavailable(f"nothing was audited: the service knows none of {len(skipped)} pins")
    found = [vulnerability for entry in known for vulnerability in _vulnerabilities(entry)]
    return Audit(tuple(str(entry["name"]) for entry in known), skipped, tuple(found))


def _vulnerabilities(entry: Mapping[str, object]) -> Iterator[Vulnerability]:
    told = entry.get("vulns")
    for one in told if isinstance(told, list) else ():
        yield Vulnerability(
            distribution=str(entry["name"]),
            version=str(entry["version"]),
            id=str(one["id"]),
            aliases=tuple(map(str, one.get("aliases", ()))),
            fixed_in=tuple(map(str, one.get("fix_versions", ()))),
        )

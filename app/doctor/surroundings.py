"""What stands around the code: settings, edge functions, the home, installer, wheels and index."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.doctor.findings import Code, Finding, error, warning
from app.doctor.project import Project
from app.edge.errors import RegistryError
from app.edge.registry import load_registry
from app.healing.home import can_be_written
from app.kinds.dependency.installer import Tool, find_tool, redact
from app.kinds.dependency.lock import LockedDistribution
from app.settings.declarations import Settings
from app.settings.engine import HealingSettings, Mode
from app.settings.errors import SettingsError

#: Seconds that the index has to answer for everything that is asked of it.
INDEX_DEADLINE = 60.0


def settings_of(environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings of the environment, defaults where they cannot be used, and what is wrong."""
    try:
        return Settings.from_environ(environ), []
    except SettingsError as faults:
        findings = [
            error(Code.SETTING_INVALID, f"{fault}", "correct or unset it", subject=fault.name)
            for fault in faults.faults
        ]
        return Settings(), findings


def edge_functions(path: Path | None) -> Iterator[Finding]:
    """What keeps the file of edge functions from being used."""
    failure: RegistryError | None = load_registry(path).error
    for fault in failure.faults if failure else ():
        advice = "the example in edge-functions.example.toml shows the format"
        yield error(
            Code.EDGE_FILE_INVALID, fault.message, advice, file=str(path), line=fault.line or 0
        )


def home(settings: HealingSettings) -> Iterator[Finding]:
    """Whether fixes can be kept; creates nothing."""
    if settings.mode is Mode.HEAL and not can_be_written(settings.home):
        message = "AUTO_FIX_HOME cannot be written, so nothing will be healed"
        yield warning(Code.HOME_UNWRITABLE, message, "give the service's user a home that it owns")


def installer(settings: HealingSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether there is anything to install with."""
    if find_tool(settings.tools, environ) is None:
        message = "neither uv nor pip is available to this interpreter"
        yield warning(Code.INSTALLER_MISSING, message, "install uv into the environment")


def wheelhouse(settings: HealingSettings, project: Project) -> Iterator[Finding]:
    """Whether the wheelhouse has a wheel, with a locked hash, for whatever may be healed here."""
    if settings.wheelhouse is None or not settings.wheelhouse.is_dir():
        return
    from app.doctor.wheels import fitting

    have = fitting(settings.wheelhouse)
    for name, entry in sorted(project.lock.entries.items()):
        if not have.get(name, frozenset()) & frozenset(entry.hashes):
            message = f"the wheelhouse has no wheel of {entry.pin} that fits here and is locked"
            advice = "run flask auto-fix wheelhouse DIR where there is a network"
            yield warning(Code.WHEEL_MISSING, message, advice, subject=name)


def index(
    settings: HealingSettings, project: Project, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether the index serves, for this Python and platform, what the lock names."""
    tool = find_tool(settings.tools, environ)
    entries = list(project.lock.entries.values())
    if tool is None or settings.wheelhouse is not None or not entries:
        return
    # pip downloads what it resolves, so it is asked for the smallest part alone.
    asked = entries if tool.name == "uv" else [min(entries, key=lambda one: len(one.hashes))]
    failure = _dry_run(tool, asked, environ)
    if failure is not None:
        message = "the index does not serve what the lock names for this Python and platform"
        advice = "check the index settings and the network; where there is none, use a wheelhouse"
        yield warning(Code.INDEX_UNREACHABLE, f"{message}: {failure}", advice)


def _dry_run(
    tool: Tool, entries: list[LockedDistribution], environ: Mapping[str, str]
) -> str | None:
    """None when the tool found all, else its last words."""
    lines = [f"{e.pin} {' '.join(f'--hash={value}' for value in e.hashes)}\n" for e in entries]
    with tempfile.TemporaryDirectory(prefix="auto-fix-") as directory:
        listed = Path(directory) / "lock.txt"
        listed.write_text("".join(lines), encoding="utf-8")
        command = [*tool.command, "--dry-run", "--target", f"{directory}/site", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "-r", str(listed)]
        # A cache would answer in the place of the index.
        fresh = {"UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1", "TMPDIR": directory}
        try:
            run = subprocess.run(
                command,
                env={**environ, **fresh},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INDEX_DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {INDEX_DEADLINE:.0f} s"
    words = " ".join(redact(run.stderr).split())
    return None if run.returncode == 0 else words[-300:]

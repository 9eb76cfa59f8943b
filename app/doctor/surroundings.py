"""What stands around the code: settings, edge functions, the home, installer, wheels and index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.doctor.findings import Code, Finding, error, warning
from app.doctor.locking import lock_text, run_tool
from app.doctor.project import Project
from app.edge.errors import RegistryError
from app.edge.registry import load_registry
from app.healing.home import can_be_written
from app.kinds.dependency.installer import find_tool
from app.settings.declarations import HealingSettings, Mode, Settings
from app.settings.errors import SettingsError, Unavailable

#: Seconds that the index has to answer for everything that is asked of it.
INDEX_DEADLINE = 60.0


def settings_of(environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings of the environment, defaults where they cannot be used, and what is wrong."""
    try:
        return Settings.from_environ(environ), []
    except SettingsError as faults:
        advice = "correct or unset it"
        return Settings(), [
            error(Code.SETTING_INVALID, f"{fault}", advice, subject=fault.name)
            for fault in faults.faults
        ]


def check_surroundings(
    settings: Settings, project: Project, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """What keeps edge functions from being served and fixes from being made; changes nothing."""
    healing, path = settings.healing, settings.edge_functions_file
    failure: RegistryError | None = load_registry(path).error
    for fault in failure.faults if failure else ():
        advice = "the example in edge-functions.example.toml shows the format"
        yield error(Code.EDGE_FILE_INVALID, fault.message, advice, str(path), fault.line or 0)
    if healing.mode is Mode.HEAL and not can_be_written(healing.home):
        message = "AUTO_FIX_HOME cannot be written, so nothing will be healed"
        yield warning(Code.HOME_UNWRITABLE, message, "give the service's user a home that it owns")
    if find_tool(healing.tools, environ) is None:
        message = "neither uv nor pip is available to this interpreter"
        yield warning(Code.INSTALLER_MISSING, message, "install uv into the environment")
    if healing.wheelhouse is not None and healing.wheelhouse.is_dir():
        from app.doctor.wheels import fitting

        have = fitting(healing.wheelhouse)
        for name, entry in sorted(project.lock.entries.items()):
            if have.get(name, frozenset()).isdisjoint(entry.hashes):
                message = f"the wheelhouse has no wheel of {entry.pin} that fits here and is locked"
                advice = "run auto-fix wheelhouse DIR where there is a network"
                yield warning(Code.WHEEL_MISSING, message, advice, subject=name)


def check_index(
    settings: HealingSettings, project: Project, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether the index serves, for this Python and platform, what the lock names."""
    tool = find_tool(settings.tools, environ)
    entries = list(project.lock.entries.values())
    if tool is None or settings.wheelhouse is not None or not entries:
        return
    # pip downloads what it resolves, so it is asked for the smallest part alone.
    asked = entries if tool.name == "uv" else [min(entries, key=lambda one: len(one.hashes))]
    with tempfile.TemporaryDirectory(prefix="auto-fix-") as directory:
        listed = Path(directory) / "lock.txt"
        listed.write_text(lock_text(asked), encoding="utf-8")
        command = [*tool.command, "--dry-run", "--target", f"{directory}/site", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "-r", str(listed)]
        # A cache would answer in the place of the index.
        fresh = {"UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1", "TMPDIR": directory}
        try:
            status, words = run_tool(command, {**environ, **fresh}, Path(directory), INDEX_DEADLINE)
        except Unavailable as late:
            status, words = None, str(late)
    if status != 0:
        message = "the index does not serve what the lock names for this Python and platform"
        advice = "check the index settings and the network; where there is none, use a wheelhouse"
        said = " ".join(words.split())[-300:]
        yield warning(Code.INDEX_UNREACHABLE, f"{message}: {said}", advice)

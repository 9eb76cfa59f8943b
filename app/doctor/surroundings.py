"""What stands around the code: settings, edge functions, the home, installer, wheels and index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.doctor.findings import Code, Finding, error, warning
from app.doctor.project import Project
from app.edge.errors import RegistryError
from app.edge.registry import load_registry
from app.healing.home import can_be_written
from app.healing.kind import Outcome
from app.kinds.dependency.catalog import INSTALL_ADVICE
from app.kinds.dependency.catalog import InstallOutcome as Install
from app.kinds.dependency.installer.install import Installed, Installer
from app.kinds.dependency.installer.tools import Tools
from app.kinds.dependency.installer.verdict import blamed
from app.kinds.dependency.requirements import normalize
from app.settings.declarations import HealingSettings, Mode, Settings
from app.settings.errors import SettingsError

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
    if not Tools(healing.tools, environ).here():
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
    """Whether the index serves, for this Python and platform, what the lock names.

    It is asked as a heal asks it: by the same tools, with the same settings.
    """
    # A cache would answer in the place of the index.
    tools = Tools(settings.tools, {**environ, "UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"})
    asked = list(project.lock.entries.values())
    if not tools.here() or settings.wheelhouse is not None:
        return
    installer = Installer(
        tools=tools,
        wheelhouse=None,
        deadline=INDEX_DEADLINE,
        max_file_bytes=settings.max_file_bytes,
    )
    while asked:
        # pip downloads what it resolves, so it is asked for the smallest part alone.
        if tools.here()[0].name != "uv":
            asked = [min(asked, key=lambda one: len(one.hashes))]
        with tempfile.TemporaryDirectory(prefix="auto-fix-") as directory:
            run = installer.rehearse(asked, Path(directory))
        for tool in tools.here():
            if trouble := tools.trouble(tool):
                message = f"{tool} does not work here: {trouble}"
                yield warning(Code.INSTALLER_BROKEN, message, "install uv again")
        names = {normalize(name) for name in blamed(run.detail)} & {one.name for one in asked}
        if run.outcome not in {Install.NO_WHEEL, Install.NOT_FOUND} or not names:
            yield from _index_findings(run)
            return
        # A tool names the first one that it meets: the others are asked for again.
        for one in (one for one in asked if one.name in names):
            if run.outcome == Install.NO_WHEEL:
                message = f"{one.pin} has no wheel for this Python and platform"
                advice = "nothing is built from an sdist: choose a version that has wheels"
                yield error(Code.NO_WHEEL, message, advice, subject=one.name)
            else:
                message = f"the index does not have {one.pin}, which the lock names"
                yield warning(Code.NOT_ON_INDEX, message, "run auto-fix lock", subject=one.name)
        asked = [one for one in asked if one.name not in names]


def _index_findings(run: Installed) -> Iterator[Finding]:
    """What an index that was asked for the whole lock says of no single distribution."""
    said = " ".join(run.detail.split())[-300:]
    if run.outcome in {Install.NETWORK, Outcome.DEADLINE}:
        advice = "check the index settings and the network; where there is none, use a wheelhouse"
        message = "the package index could not be reached or answered with an error"
        yield warning(Code.INDEX_UNREACHABLE, f"{message}: {said}", advice)
    elif run.outcome != Outcome.HEALED:
        message = "the index does not serve what the lock names for this Python and platform"
        advice = INSTALL_ADVICE.get(run.outcome, "the installer says why")
        yield warning(Code.INDEX_DIFFERS, f"{message}: {said}", advice)

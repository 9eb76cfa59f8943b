"""What stands around the code: settings, edge functions, the home, installer, wheels and index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.doctor.findings import Code, Finding, error, note, warning
from app.doctor.project import Graph, Project
from app.doctor.scan import SourceFile
from app.edge.registry import RegistryFile
from app.healing.home import TROUBLE, trouble
from app.healing.kind import Fault, Outcome
from app.healing.locks import has_locks
from app.kinds.dependency.catalog import INSTALL_ADVICE
from app.kinds.dependency.catalog import InstallOutcome as Install
from app.kinds.dependency.installer.install import Installed, Installer
from app.kinds.dependency.installer.tools import Tools
from app.kinds.dependency.installer.verdict import blamed
from app.kinds.dependency.requirements import normalize, top_level
from app.kinds.environment import variables
from app.kinds.environment.kind import EnvironmentKind
from app.kinds.environment.reads import Read
from app.manifest import FILE, Blueprint
from app.settings.declarations import HealingSettings, Mode, Settings
from app.settings.sources import Environment
from app.utils.auto_fix import FIRST_PARTY

#: What is the service itself, which declares its settings.
SERVICE = FIRST_PARTY | {"deploy"}
#: Seconds that the index has to answer for everything that is asked of it.
INDEX_DEADLINE = 60.0


def settings_of(environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings of the environment, defaults where they cannot be used, and what is wrong."""
    given = Environment.of(environ)
    settings, wrong = Settings.read(given)
    return settings, [
        error(Code.SETTING_INVALID, f"{fault}", "correct or unset it", subject=fault.name)
        for fault in (*given.faults, *wrong)
    ]


def check_variables(graph: Graph) -> Iterator[Finding]:
    """What the owner's code reads of the environment beside what the manifest declares of it.

    The service itself reads its settings, which are declared in it.
    """
    manifest = graph.project.manifest
    declared = manifest.tables.get(variables.TABLE, {})
    needed = {name for one in manifest.blueprints for name in one.needs.get(variables.NEED, ())}
    entries = (entry for table in manifest.tables.values() for entry in table.values())
    named = {name for entry in entries for name in getattr(entry, "variables", ())}
    read: dict[str, tuple[SourceFile, Read]] = {}
    for module, scan in graph.scans.items():
        for found in scan.reads if top_level(module) not in SERVICE else ():
            if found.name not in read or found.required > read[found.name][1].required:
                read[found.name] = (graph.files[module], found)
    for name, (file, found) in read.items():
        if name in declared or name in variables.OF_THE_SERVICE:
            continue
        need = "without a default" if found.required else "with a default"
        message = f"{name} is read {need}, and {FILE} does not declare it"
        say = warning if found.required else note
        yield say(
            Code.VARIABLE_UNDECLARED,
            message,
            f"declare [{variables.TABLE}.{name}] in {FILE}",
            file.file,
            found.line,
            name,
            declares=name if found.required else None,
        )
    for name, variable in declared.items():
        if name not in read and name not in needed and name not in named:
            message = f"{name} is declared, and no code of the project reads it"
            advice = f"remove [variable.{name}], unless a package or an edge function reads it"
            yield note(Code.VARIABLE_UNUSED, message, advice, FILE, subject=name)
        if not variable.meaning and name in needed:
            message = f"{name} is needed, and nothing says what it is for"
            yield note(Code.VARIABLE_UNEXPLAINED, message, "give it a help", FILE, subject=name)


def unmet_variables(
    project: Project, environ: Mapping[str, str]
) -> Iterator[tuple[Blueprint, Fault]]:
    """The blueprints of this project that wait for a variable here, each with the first one."""
    secrets = settings_of(environ)[0].healing.secrets
    kind = EnvironmentKind.of(project.manifest, environ, secrets)
    for blueprint in filter(project.leads, project.manifest.blueprints):
        unmet = map(kind.unmet, blueprint.needs.get(kind.need, ()))
        if (first := next(filter(None, unmet), None)) is not None:
            yield blueprint, first


def check_surroundings(
    settings: Settings, project: Project, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """What keeps edge functions from being served and fixes from being made."""
    healing, path = settings.healing, settings.edge_functions_file
    registry = RegistryFile(path).current()
    for fault in registry.error.faults if registry.error else ():
        advice = "the example in edge-functions.example.toml shows the format"
        yield error(Code.EDGE_FILE_INVALID, fault.message, advice, str(path), fault.line or 0)
    for function in registry.functions:
        if function.timeout > settings.graceful_timeout:
            message = (
                f"{function.name} may take {function.timeout:g} s, and a stop cuts its calls off"
                f" after GRACEFUL_TIMEOUT, {settings.graceful_timeout} s"
            )
            advice = "raise GRACEFUL_TIMEOUT, and what stops the service after it, or lower timeout"
            yield warning(Code.EDGE_TIMEOUT_LONG, message, advice, str(path), subject=function.name)
    if healing.mode is Mode.HEAL:
        yield from _check_home(healing.home)
    if not Tools(healing.tools, environ).here():
        message = "neither uv nor pip is available to this interpreter"
        yield warning(Code.INSTALLER_MISSING, message, "install uv into the environment")
    if healing.wheelhouse is not None and healing.wheelhouse.is_dir():
        from app.locking.wheels import fitting

        have = fitting(healing.wheelhouse)
        for name, entry in sorted(project.lock.entries.items()):
            if have.get(name, frozenset()).isdisjoint(entry.hashes):
                message = f"the wheelhouse has no wheel of {entry.pin} that fits here and is locked"
                advice = "run auto-fix wheelhouse DIR where there is a network"
                yield warning(Code.WHEEL_MISSING, message, advice, subject=name)


def _check_home(home: Path) -> Iterator[Finding]:
    """What the home lacks; a file that goes again is all that is written there."""
    reason = trouble(home)
    if reason in {Code.HOME_UNWRITABLE, Code.HOME_UNTRUSTED}:
        what, advice = TROUBLE[reason]
        yield warning(Code(reason), f"{what}, so nothing will be healed", advice)
    elif reason is None and home.is_dir() and not has_locks(home):
        message = "the home's file system has no locks: lease files take their place"
        yield note(Code.HOME_WITHOUT_LOCKS, message, "choose a file system that has them")


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

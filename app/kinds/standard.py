"""The one list of the kinds of fault: what the parts around the engine are put together from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

from app.healing.kind import ADVICE, Kind
from app.kinds.configuration import declaration
from app.kinds.configuration.fixing import Corrections
from app.kinds.configuration.kind import ConfigurationKind
from app.kinds.configuration.last_good import LastGoods
from app.kinds.configuration.manifest_file import ManifestFile
from app.kinds.configuration.served import ServedFile
from app.kinds.database import declaration as databases
from app.kinds.database.kind import DatabaseKind
from app.kinds.dependency.kind import DependencyKind
from app.kinds.environment import variables
from app.kinds.environment.kind import EnvironmentKind
from app.manifest import Table
from app.settings.declarations import HealingSettings

#: The tables of the manifest that belong to kinds.
TABLES: Mapping[str, Table] = {
    variables.TABLE: variables.READER,
    declaration.TABLE: declaration.READER,
    databases.TABLE: databases.READER,
}
NOTHING: Mapping[str, Any] = {}
KINDS = (DependencyKind, EnvironmentKind, ConfigurationKind, DatabaseKind)
#: What each cause of each kind means for somebody who only asked for a page.
MEANINGS: Mapping[str, str] = {
    cause: meaning for kind in KINDS for cause, meaning in kind.causes.items()
}
#: What can be done about each outcome of an attempt at a fault of any kind.
OUTCOMES: Mapping[str, str] = {
    **ADVICE,
    **{outcome: advice for kind in KINDS for outcome, advice in kind.outcomes.items()},
}


def standard_kinds(
    settings: HealingSettings,
    manifest: ManifestFile,
    environ: MutableMapping[str, str],
    install: Callable[[str], bool] = lambda _: False,
    files: Iterable[ServedFile[Any]] = (),
) -> tuple[Kind, ...]:
    """The kinds that a process has beside that of packages, for its manifest and environment.

    Args:
        settings: where state is kept, and secrets are.
        manifest: what declares their subjects.
        environ: the environment of the process.
        install: heals a package that is missing; says whether it can be imported by then.
        files: those of the service itself, which the manifest does not declare.
    """

    def table(name: str) -> Mapping[str, Any]:
        return manifest.current.tables.get(name, NOTHING)

    declared = partial(table, variables.TABLE)
    declared_files = partial(table, declaration.TABLE)
    own = (manifest.served, *files)
    root, last_goods = settings.manifest.parent, LastGoods(settings.home)
    corrections = Corrections(settings.home, settings.confirm_seconds)
    return (
        EnvironmentKind(declared, environ, settings.secrets),
        ConfigurationKind(
            declared_files,
            environ,
            root,
            last_goods,
            own,
            corrections=corrections,
            install=install,
        ),
        # Behind the environment, whose variables its URLs have.
        DatabaseKind(
            partial(table, databases.TABLE),
            environ,
            settings.home,
            install,
            migrate=settings.migrate,
        ),
    )

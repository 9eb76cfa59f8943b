"""The one list of the kinds of fault: what the parts around the engine are put together from."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from app.healing.kind import ADVICE, Kind
from app.kinds.dependency.kind import DependencyKind
from app.kinds.environment import variables
from app.kinds.environment.kind import EnvironmentKind
from app.manifest import ManifestFile, Table
from app.settings.declarations import HealingSettings
from app.settings.variable import Variable

#: The tables of the manifest that belong to kinds.
TABLES: Mapping[str, Table] = {variables.TABLE: variables.READER}
NOTHING: Mapping[str, Variable[str | None]] = {}
KINDS = (DependencyKind, EnvironmentKind)
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
    settings: HealingSettings, manifest: ManifestFile, environ: MutableMapping[str, str]
) -> tuple[Kind, ...]:
    """The kinds that a process has beside that of packages, for its manifest and environment."""

    def declared() -> Mapping[str, Variable[str | None]]:
        return manifest.current.tables.get(variables.TABLE, NOTHING)

    return (EnvironmentKind(declared, environ, settings.secrets),)

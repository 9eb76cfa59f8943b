"""The causes that an import can fail for, and what a diagnosis says: both safe for a response."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.healing.kind import Fault, Outcome


class Cause(StrEnum):
    """What can be wrong with an import."""

    MISSING_DISTRIBUTION = "missing_distribution"
    MISSING_SUBMODULE = "missing_submodule"
    MISSING_ATTRIBUTE = "missing_attribute"
    BROKEN_EXTENSION = "broken_extension"
    INCOMPATIBLE_VERSIONS = "incompatible_versions"
    PARTIAL_INSTALL = "partial_install"
    FIRST_PARTY_MISSING = "first_party_missing"
    STDLIB_MISSING = "stdlib_missing"
    CIRCULAR_IMPORT = "circular_import"
    SHADOWED = "shadowed"
    CODE_ERROR = "code_error"
    IMPORTING = "importing"


#: What this kind of fault is called everywhere.
KIND = "dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(Fault):
    """Why a module could not be imported and what to do about it.

    ``module`` is the one that is really at fault, ``chain`` leads from the one that was asked for
    to it. ``heals`` is the approved top-level name whose locked closure would mend it, and then the
    subject; None when an install would not. ``broken`` are distributions that count as missing.
    """

    kind: str = KIND
    subject: str = ""
    module: str
    distribution: str | None = None
    requirement: str | None = None
    heals: str | None = None
    broken: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", self.subject or self.heals or self.module)
        if self.plan is None and self.refusal is None:
            named = self.distribution is not None or self.cause == Cause.MISSING_DISTRIBUTION
            stranger = self.requirement is None and named
            refusal = Outcome.NOT_APPROVED if stranger else Outcome.NOT_FIXABLE
            object.__setattr__(self, "refusal", refusal)

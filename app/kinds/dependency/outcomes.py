"""How installing a package can end, beyond what every kind of fault knows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from app.healing.kind import Outcome


class InstallOutcome(StrEnum):
    """The outcomes of this kind alone. All were attempted but the last, which was refused."""

    NOT_FOUND = "not_found"
    HASH_MISMATCH = "hash_mismatch"
    NO_WHEEL = "no_wheel"
    INVALID_WHEEL = "invalid_wheel"
    NETWORK = "network"
    TOO_LARGE = "too_large"
    INSTALLER_MISSING = "installer_missing"
    INSTALLER_FAILED = "installer_failed"
    PROBE_FAILED = "probe_failed"
    CRASHED_PROBE = "crashed_probe"

    NOT_LOCKED = "not_locked"


#: What an operator can do about each, and about those that every kind knows.
INSTALL_ADVICE: Mapping[str, str] = {
    Outcome.HEALED: "nothing to do now; add the requirement to requirements-flask.txt for good",
    Outcome.DEADLINE: "the install did not end within its deadline and was stopped",
    Outcome.INTERRUPTED: "the process that was installing was stopped before it ended",
    Outcome.NOT_APPROVED: "the module is not in the dependency map, so it is never installed",
    Outcome.NOT_FIXABLE: "installing a distribution would not mend this fault",
    Outcome.NEEDS_RESTART: "another version is installed already; rebuild the image and restart",
    Outcome.BUDGET: "the attempts for this module are used up; it is tried again after a pause",
    Outcome.BUSY: "another process is healing this module and has not ended yet",
    InstallOutcome.NOT_FOUND: "the index or wheelhouse does not have the locked version",
    InstallOutcome.HASH_MISMATCH: (
        "the index served other files than the lock names; none was installed"
    ),
    InstallOutcome.NO_WHEEL: (
        "there is no wheel of the locked version for this Python and platform"
    ),
    InstallOutcome.INVALID_WHEEL: (
        "the wheel is damaged or is not what its name says; none was installed"
    ),
    InstallOutcome.NETWORK: "the package index could not be reached or answered with an error",
    InstallOutcome.TOO_LARGE: "a download grew beyond the size limit and was stopped",
    InstallOutcome.INSTALLER_MISSING: "neither uv nor pip is available to this interpreter",
    InstallOutcome.INSTALLER_FAILED: "the installer failed; the log has its last lines",
    InstallOutcome.PROBE_FAILED: "the installed wheels do not import; they are in quarantine",
    InstallOutcome.CRASHED_PROBE: (
        "importing the installed wheels crashed or hung; they are in quarantine"
    ),
    InstallOutcome.NOT_LOCKED: "add it to requirements-optional.txt and run make lock",
}

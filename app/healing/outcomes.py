"""How an attempt to heal can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The closed set of ends. The first group was attempted, the last was refused beforehand."""

    HEALED = "healed"

    NOT_FOUND = "not_found"
    HASH_MISMATCH = "hash_mismatch"
    NO_WHEEL = "no_wheel"
    INVALID_WHEEL = "invalid_wheel"
    NETWORK = "network"
    DEADLINE = "deadline"
    TOO_LARGE = "too_large"
    DISK_FULL = "disk_full"
    PERMISSION = "permission"
    INSTALLER_MISSING = "installer_missing"
    INSTALLER_FAILED = "installer_failed"
    PROBE_FAILED = "probe_failed"
    CRASHED_PROBE = "crashed_probe"
    INTERRUPTED = "interrupted"

    MODE = "mode"
    NOT_APPROVED = "not_approved"
    NOT_LOCKED = "not_locked"
    NOT_FIXABLE = "not_fixable"
    NEEDS_RESTART = "needs_restart"
    BUDGET = "budget"
    BUSY = "busy"


#: Ends that nothing was attempted for: they cost no budget and leave no journal row.
REFUSALS = frozenset(
    {
        Outcome.MODE,
        Outcome.NOT_APPROVED,
        Outcome.NOT_LOCKED,
        Outcome.NOT_FIXABLE,
        Outcome.NEEDS_RESTART,
        Outcome.BUDGET,
        Outcome.BUSY,
    }
)

#: Ends of attempts that did not mend anything: they use the budget up.
FAILURES = frozenset(set(Outcome) - REFUSALS - {Outcome.HEALED})

#: What an operator can do about each end, in one sentence that is safe to show.
ADVICE = {
    Outcome.HEALED: "nothing to do now; add the requirement to requirements-flask.txt for good",
    Outcome.NOT_FOUND: "the index or wheelhouse does not have the locked version",
    Outcome.HASH_MISMATCH: "the index served other files than the lock names; none was installed",
    Outcome.NO_WHEEL: "there is no wheel of the locked version for this Python and platform",
    Outcome.INVALID_WHEEL: "the wheel is damaged or is not what its name says; none was installed",
    Outcome.NETWORK: "the package index could not be reached or answered with an error",
    Outcome.DEADLINE: "the install did not end within its deadline and was stopped",
    Outcome.TOO_LARGE: "a download grew beyond the size limit and was stopped",
    Outcome.DISK_FULL: "the disk that holds AUTO_FIX_HOME is full",
    Outcome.PERMISSION: "AUTO_FIX_HOME cannot be written by this user",
    Outcome.INSTALLER_MISSING: "neither uv nor pip is available to this interpreter",
    Outcome.INSTALLER_FAILED: "the installer failed; the log has its last lines",
    Outcome.PROBE_FAILED: "the installed wheels do not import; they are in quarantine",
    Outcome.CRASHED_PROBE: "importing the installed wheels crashed or hung; they are in quarantine",
    Outcome.INTERRUPTED: "the process that was installing was stopped before it ended",
    Outcome.MODE: "AUTO_FIX_MODE does not allow healing; install the requirement in the image",
    Outcome.NOT_APPROVED: "the module is not in the dependency map, so it is never installed",
    Outcome.NOT_LOCKED: "add it to requirements-optional.txt and run make lock",
    Outcome.NOT_FIXABLE: "installing a distribution would not mend this fault",
    Outcome.NEEDS_RESTART: "another version is installed already; rebuild the image and restart",
    Outcome.BUDGET: "the attempts for this module are used up; it is tried again after a pause",
    Outcome.BUSY: "another process is healing this module and has not ended yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FixResult:
    """What came of one wish to heal ``subject``.

    ``installed`` holds ``name==version`` lines. ``retry_after`` is seconds, 0 where a retry needs
    no wait. ``detail`` is for the log alone: it may quote an installer, without credentials.
    """

    subject: str
    outcome: Outcome
    requirement: str | None = None
    installed: tuple[str, ...] = ()
    seconds: float = 0.0
    retry_after: float = 0.0
    error_class: str = ""
    detail: str = ""

    @property
    def healed(self) -> bool:
        """Whether the fix is committed and usable."""
        return self.outcome is Outcome.HEALED

    @property
    def advice(self) -> str:
        """One sentence that says what to do, safe to show."""
        return ADVICE[self.outcome]

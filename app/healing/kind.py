"""What the engine and the kinds of fault say to each other: faults, plans, repairs, the protocol.

A kind of fault (missing packages, variables, databases, …) is one folder under ``app/kinds`` that
the engine is given. Nothing else knows its name: journal, health, status, metrics, commands and
pages speak of ``kind`` and ``subject``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from app.settings.errors import OrchestratorError


class NothingToConfirm(OrchestratorError):
    """No repair of the subject waits for a confirmation."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"nothing waits for a confirmation of {subject[:80]!r}")


class OtherCaller(OrchestratorError):
    """Only who has asked for a repair may confirm it or take it back."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the repair of {subject[:80]!r} was asked for by somebody else")


class Scope(StrEnum):
    """For whom a repair counts: one process acts for all of a host, or each for itself."""

    HOST = "host"
    PROCESS = "process"


class Outcome(StrEnum):
    """How an attempt at a fault can end, whatever its kind; each kind adds outcomes of its own.

    The first group was attempted, the last was refused: nothing was tried, no budget was spent.
    """

    HEALED = "healed"

    DEADLINE = "deadline"
    DISK_FULL = "disk_full"
    PERMISSION = "permission"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    LOST = "lost"

    MODE = "mode"
    NOT_APPROVED = "not_approved"
    NOT_FIXABLE = "not_fixable"
    NEEDS_RESTART = "needs_restart"
    BUDGET = "budget"
    BUSY = "busy"
    STOPPING = "stopping"


#: What an operator can do about each outcome, in one sentence that is safe to show.
ADVICE: Mapping[str, str] = {
    Outcome.HEALED: "nothing to do now; make the fix permanent",
    Outcome.DEADLINE: "the repair did not end within its deadline and was stopped",
    Outcome.DISK_FULL: "the disk that holds AUTO_FIX_HOME is full",
    Outcome.PERMISSION: "AUTO_FIX_HOME cannot be written by this user",
    Outcome.INTERRUPTED: "the process that was healing was stopped before it ended",
    Outcome.FAILED: "the repair failed unexpectedly; the log has the reason",
    Outcome.LOST: "the fix was made, and was gone or damaged afterwards; the log says of what",
    Outcome.MODE: "healing is switched off, or AUTO_FIX_HOME cannot take a fix: nothing was tried",
    Outcome.NOT_APPROVED: "nobody has approved a fix for this, so it is never tried",
    Outcome.NOT_FIXABLE: "no repair would mend this fault",
    Outcome.NEEDS_RESTART: "only a rebuilt image and a restart can bring the fix",
    Outcome.BUDGET: "the attempts for this are used up; it is tried again after a pause",
    Outcome.BUSY: "another process is healing this and has not ended yet",
    Outcome.STOPPING: "this process is about to end and begins nothing; the next one goes on",
}
#: Nothing is tried for these.
REFUSALS = frozenset(
    {
        Outcome.MODE,
        Outcome.NOT_APPROVED,
        Outcome.NOT_FIXABLE,
        Outcome.NEEDS_RESTART,
        Outcome.BUDGET,
        Outcome.BUSY,
        Outcome.STOPPING,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a repair would do.

    ``steps`` are lines that are safe to show; ``digest`` changes with anything that would be done
    otherwise, so that who approves a plan approves this one. One that is ``on_request`` is carried
    out for who approves it by its digest, and never otherwise.
    """

    steps: tuple[str, ...]
    digest: str
    on_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong with a subject.

    ``cause`` is of its kind's closed set, ``advice`` one plain sentence without paths or exception
    text. Either ``plan`` says what would be done about it, or ``refusal`` why nothing may be (an
    outcome); beside a plan that is on request it says why nothing is done by itself. ``needed_by``
    names the modules of blueprints that fail for it.
    """

    kind: str
    subject: str
    cause: str
    advice: str
    plan: Plan | None = None
    refusal: str | None = None
    needed_by: tuple[str, ...] = field(default=(), compare=False)
    #: Since when, in Unix time, something old is used in the place of the subject.
    stale_since: float | None = field(default=None, compare=False)

    @property
    def fixable(self) -> bool:
        """Whether there is a repair that may be tried."""
        return self.plan is not None and self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """How one request to heal a fault ended.

    ``requirement`` is the line that makes the fix permanent, ``installed`` what was put in place.
    ``seconds`` is how long it took, ``retry_after`` for how long nothing will be tried; 0 where a
    retry needs no wait. ``advice`` is safe to show; ``detail`` is for the log alone.
    """

    outcome: str
    advice: str = ""
    requirement: str = ""
    installed: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    seconds: float = 0.0
    retry_after: float = 0.0
    error_class: str = ""
    detail: str = ""

    @property
    def healed(self) -> bool:
        """Whether the fix is committed and usable."""
        return self.outcome == Outcome.HEALED


class Step(StrEnum):
    """What is being done in an attempt, in this order."""

    STAGE = "stage"
    PROBE = "probe"
    COMMIT = "commit"
    ACTIVATE = "activate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a kind gets to repair with: it is the only one on this host who works on the subject.

    ``attempt`` is the attempt's own id. ``claim`` is a descriptor that child processes inherit, so
    that the claim lasts until they have ended too. ``deadline`` is seconds. ``caller`` is who has
    approved the plan by its digest, "" where nobody has. ``begin`` is called with each step as it
    begins, so that it is seen.
    """

    attempt: str
    claim: int
    deadline: float
    caller: str = ""
    begin: Callable[[Step], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What runs only because it was healed.

    ``requirement`` is the line that makes it permanent; ``listed`` says that this has been done, so
    that the next image has it by itself. ``at`` is RFC 3339.
    """

    kind: str
    subject: str
    requirement: str
    installed: tuple[str, ...]
    at: str
    attempt: str = ""
    cause: str = ""
    hashes: tuple[str, ...] = ()
    seconds: float = 0.0
    listed: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: installed {', '.join(self.installed)}"

    def to_dict(self) -> dict[str, object]:
        """The fix as JSON shows it."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "requirement": self.requirement,
            "installed": list(self.installed),
            "at": self.at,
            "listed": self.listed,
        }


class Kind(Protocol):
    """One kind of fault: what is known of its subjects, and how they are repaired.

    The engine owns mode, budget, claims and journal. A kind never raises for what it
    meets, but ``OSError`` for a home that does not do its part.
    """

    @property
    def name(self) -> str:
        """What it is called everywhere, such as ``dependency``."""

    @property
    def scope(self) -> Scope:
        """For whom its repairs count."""

    @property
    def need(self) -> str:
        """The key under which a blueprint of the manifest names its subjects, as ``packages``."""

    @property
    def gates(self) -> bool:
        """Whether its subjects come and go, as databases do.

        A blueprint that needs one is imported without it, and answers 503 while it is not there;
        ``unmet`` is asked in each of its requests then, so it says what is known. What does not
        come and go is waited for before the import.
        """

    #: Subject to the modules of the blueprints that need it.
    needs: Mapping[str, tuple[str, ...]]

    @property
    def causes(self) -> Mapping[str, str]:
        """Every cause, with what it means for somebody who only asked for a page."""

    @property
    def outcomes(self) -> Mapping[str, str]:
        """The outcomes that it adds to ``ADVICE``, or words better, with what can be done."""

    @property
    def refusals(self) -> frozenset[str]:
        """Those of its outcomes for which nothing was tried."""

    def subjects(self) -> Mapping[str, bool]:
        """What it watches, each with whether nothing can be served without it."""

    def basis(self) -> str:
        """What failures are counted for: they no longer count when it changes."""

    def faults(self) -> Iterable[Fault]:
        """What is wrong with the subjects now; from what is known, quick."""

    def unmet(self, subject: str) -> Fault | None:
        """Why code that needs the subject would not find it now; None when it would."""

    def explain(self, error: BaseException) -> Fault | None:
        """The fault that an exception of somebody's code comes from; None for any other reason."""

    def recheck(self, fault: Fault) -> Fault | None:
        """The fault as it is now, None when it is gone."""

    def prepare(self) -> None:
        """Get ready to repair: called when that becomes possible, and before ``adopt``.

        Raises:
            OSError: when the home cannot be written.
        """

    def recover(self, subject: str) -> None:
        """Remove what a process has left that died while it worked on ``subject``."""

    def repair(self, fault: Fault, work: Work) -> Repair:
        """Act aside, verify, commit.

        Raises:
            OSError: when the disk does not do its part; nothing is committed then.
        """

    def adopt(self) -> bool:
        """Use what another process has committed; True when there was something new."""

    def fixes(self) -> Iterable[Fix]:
        """What runs only because it was healed."""


@runtime_checkable
class Measuring(Protocol):
    """A kind that measures its subjects in each process, beside their faults.

    ``gauges`` and ``counters`` have the names of series, each with what it is. A gauge's values are
    added up over the processes; a counter never goes back while a process lives.
    """

    @property
    def gauges(self) -> Mapping[str, str]:
        """The series whose values go up and down."""

    @property
    def counters(self) -> Mapping[str, str]:
        """The series that only go up, whose names end in ``_total``."""

    def measure(self) -> Mapping[str, Mapping[str, Any]]:
        """By subject: JSON values by the names of the series, and by others for who looks."""


@runtime_checkable
class Confirmable(Protocol):
    """A kind whose repairs on request do not last unless they are confirmed."""

    def unconfirmed(self) -> Mapping[str, float]:
        """The subjects whose repair waits for that, each with until when, in Unix time."""

    def confirm(self, subject: str, caller: str, *, keep: bool) -> str:
        """End the repair of a subject for its caller: keep it, or take it back; how it has ended.

        Raises:
            NothingToConfirm: none waits for that.
            OtherCaller: somebody else has asked for it.
            OSError: it cannot be ended now.
        """

    def settle(self, *, healthy: bool | None) -> None:
        """End what nobody has confirmed in time: keep it if the service was healthy all the while.

        Args:
            healthy: whether it is now; None where that is not known.
        """

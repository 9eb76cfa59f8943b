"""What became of each blueprint of the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.healing.report import Check
from app.kinds.dependency.diagnosis import Cause

_IMPORT_FAILURES = frozenset(str(cause) for cause in Cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintState:
    """One blueprint: where it lives, whether it serves, and if not, why.

    ``paths`` are the ones that it answers for, each with all below it; ``/`` stands for itself.
    ``reason`` is a code and ``advice`` a sentence that is safe to show; both are None when active.
    """

    name: str
    path: str
    url_prefix: str
    paths: tuple[str, ...]
    critical: bool
    active: bool
    reason: str | None = None
    advice: str | None = None
    needs_restart: bool = False


class BlueprintBoard:
    """The states of the application that serves now; replaced whole when another one does."""

    def __init__(self) -> None:
        self.states: tuple[BlueprintState, ...] = ()

    def show(self, states: Iterable[BlueprintState]) -> None:
        """Make these the current states."""
        self.states = tuple(states)

    @property
    def quarantined(self) -> tuple[BlueprintState, ...]:
        """The blueprints that do not serve."""
        return tuple(state for state in self.states if not state.active)


def blueprint_checks(states: Iterable[BlueprintState]) -> list[Check]:
    """A failed check for each blueprint that was imported and still does not serve.

    One that could not even be imported is left out: the engine reports its module already.
    """
    return [
        Check(
            name=f"blueprint_{state.name}",
            kind="blueprint",
            subject=state.path,
            ok=False,
            critical=state.critical,
            reason=state.reason,
            advice=state.advice,
        )
        for state in states
        if not state.active and state.reason not in _IMPORT_FAILURES
    ]

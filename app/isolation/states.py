"""What became of each blueprint: serving, or in quarantine and why."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.healing.report import Check
from app.kinds.dependency.diagnosis import Cause
from app.manifest import PROBES, Blueprint

#: Reasons of a blueprint that was imported and does not serve. Any other is why it could not be
#: imported, which the engine reports itself.
REGISTRATION_FAILED = "registration_failed"
BLUEPRINT_MISSING = "blueprint_missing"
ADDRESS_TAKEN = "address_taken"
#: That of one whose import ended processes, so that it is not imported here.
CRASHED_IMPORT = "crashed_import"
NOT_SERVING = frozenset({REGISTRATION_FAILED, BLUEPRINT_MISSING, ADDRESS_TAKEN, CRASHED_IMPORT})
#: Faults of a blueprint that serves all the same.
ADDRESS_COLLISION = "address_collision"
HOOK_FAILED = "hook_failed"
#: Seconds without another failure after which a hook counts as mended.
HOOK_SECONDS = 60.0

#: What operators and their tools rely on whatever else is served: probes, metrics, and all below
#: the last one.
CORE_ADDRESSES = (*PROBES, "/metrics", "/api/auto-fix")
#: The part of a variable in a URL rule that matters for what it matches: its converter, if any.
_VARIABLE = re.compile(r"<(?:([^<>]*):)?[^<>:]*>")


def is_core_address(path: str) -> bool:
    """Whether no blueprint but the service's own may answer for a path, or run hooks there."""
    return path in CORE_ADDRESSES or path.startswith("/api/auto-fix/")


def is_core_rule(rule: str) -> bool:
    """Whether a URL rule is made for core addresses; one that matches any path is not."""
    fixed, variable, _ = rule.partition("<")
    return fixed.startswith("/api/auto-fix/") or (
        not variable and is_core_address(rule.rstrip("/"))
    )


def comparable_rule(rule: str) -> str:
    """A URL rule without the names of its variables: two that match the same are alike."""
    return _VARIABLE.sub(r"<\1>", rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintState:
    """One blueprint: where it lives, whether it serves, and if not, why.

    ``paths`` are the ones that it answers for, each with all below it; ``/`` stands for itself.
    ``reason`` is a code and ``advice`` a sentence that is safe to show; both are None when active.
    ``collisions`` are rules of its own that an earlier blueprint answers.
    ``unmet`` is the subject for want of which it was not imported.
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
    collisions: tuple[str, ...] = ()
    unmet: str | None = None

    @classmethod
    def of(
        cls,
        blueprint: Blueprint,
        reason: str | None = None,
        advice: str | None = None,
        *,
        needs_restart: bool = False,
        unmet: str | None = None,
    ) -> BlueprintState:
        """The state of a blueprint: it serves, or is in quarantine for ``reason``."""
        prefix = blueprint.prefix
        return cls(
            name=blueprint.name,
            path=blueprint.module,
            url_prefix=prefix or "/",
            paths=blueprint.paths or ((prefix,) if prefix else ()),
            critical=blueprint.critical,
            active=reason is None,
            reason=reason,
            advice=advice,
            needs_restart=needs_restart,
            unmet=unmet,
        )


class BlueprintBoard:
    """The blueprints that are to be served, and their states in the application that serves now.

    Both are replaced whole. ``follows`` says that the manifest decides which they are. It also
    remembers which imports the boot did not wait for, and which blueprints' hooks have raised of
    late.

    Args:
        startup_patience: seconds for which the process counts as starting because of its imports.
        clock: seconds that never go back.
    """

    def __init__(
        self, startup_patience: float = 0.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.blueprints: tuple[Blueprint, ...] = ()
        self.follows = False
        self.states: tuple[BlueprintState, ...] = ()
        self._clock = clock
        self._hook_failed_at: dict[str, float] = {}
        self._startup_until = clock() + startup_patience

    @property
    def starting(self) -> tuple[str, ...]:
        """The blueprints whose imports keep this process starting; none when it has waited enough.

        One that is added later is no matter of the start once the patience is over.
        """
        if self._clock() >= self._startup_until:
            return ()
        return tuple(s.name for s in self.states if s.reason == Cause.IMPORTING)

    def hook_failed(self, name: str) -> bool:
        """Note that a hook of a blueprint has raised; whether it had not for a while before."""
        failing = self._hook_fails(name)
        self._hook_failed_at[name] = self._clock()
        return not failing

    def _hook_fails(self, name: str) -> bool:
        failed_at = self._hook_failed_at.get(name)
        return failed_at is not None and self._clock() < failed_at + HOOK_SECONDS

    @property
    def quarantined(self) -> tuple[BlueprintState, ...]:
        """The blueprints that do not serve."""
        return tuple(state for state in self.states if not state.active)

    def checks(self) -> list[Check]:
        """A failed check for each blueprint with a fault that the engine does not report itself.

        One that could not even be imported is left out: the engine reports its module already. One
        that serves is never critical here: a request can make a hook raise.
        """
        found = []
        for state in self.states:
            reason, advice = state.reason, state.advice
            if state.active and self._hook_fails(state.name):
                reason = HOOK_FAILED
                advice = "a hook of it for all requests raises: the log says where, mend the code"
            elif state.active and state.collisions:
                reason = ADDRESS_COLLISION
                taken = ", ".join(state.collisions)
                advice = f"an earlier blueprint answers {taken}: change one of the two"
            elif reason not in NOT_SERVING and state.unmet is None:
                continue
            check = Check(
                name=f"blueprint_{state.name}",
                kind="blueprint",
                subject=state.path,
                ok=False,
                critical=state.critical and not state.active,
                reason=reason,
                advice=advice,
            )
            found.append(check)
        return found

"""What a blueprint is, and what became of each: serving, or in quarantine and why."""

from __future__ import annotations

from dataclasses import dataclass

from app.healing.report import Check

#: Reasons of a blueprint that was imported and does not serve. Any other is why it could not be
#: imported, which the engine reports itself.
REGISTRATION_FAILED = "registration_failed"
BLUEPRINT_MISSING = "blueprint_missing"


@dataclass(frozen=True, slots=True)
class BlueprintSpec:
    """One blueprint of the manifest: where it is, where it is mounted, how much depends on it.

    ``paths`` are the ones that it answers for, which is its prefix where it has one: while it is in
    quarantine they, and all below them, answer 503. ``/`` stands for itself alone.
    """

    name: str
    path: str
    attribute: str
    url_prefix: str | None = None
    paths: tuple[str, ...] = ()
    critical: bool = False

    def state(
        self, reason: str | None = None, advice: str | None = None, *, needs_restart: bool = False
    ) -> BlueprintState:
        """The state of this blueprint: it serves, or is in quarantine for ``reason``."""
        return BlueprintState(
            name=self.name,
            path=self.path,
            url_prefix=self.url_prefix or "/",
            paths=self.paths or ((self.url_prefix,) if self.url_prefix else ()),
            critical=self.critical,
            active=reason is None,
            reason=reason,
            advice=advice,
            needs_restart=needs_restart,
        )


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

    @property
    def quarantined(self) -> tuple[BlueprintState, ...]:
        """The blueprints that do not serve."""
        return tuple(state for state in self.states if not state.active)

    def checks(self) -> list[Check]:
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
            for state in self.states
            if state.reason in {REGISTRATION_FAILED, BLUEPRINT_MISSING}
        ]

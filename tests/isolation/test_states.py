"""What the board of blueprints says of them to health."""

from __future__ import annotations

from app.healing.report import Check
from app.isolation.states import BlueprintBoard, BlueprintState
from app.manifest import Blueprint
from tests.support.clock import Clock


class TestChecks:
    """What blueprints add to health."""

    def _checks(self, reason: str | None, unmet: str | None = None) -> list[Check]:
        board = BlueprintBoard()
        spec = Blueprint("edge", "app.routes.edge", "bp", "/api/edge", critical=True)
        board.states = (BlueprintState.of(spec, reason, unmet=unmet),)
        return board.checks()

    def test_active(self) -> None:
        """A blueprint that serves adds nothing."""
        assert self._checks(None) == []

    def test_failed_import(self) -> None:
        """A failed import is the engine's to report."""
        assert self._checks("missing_distribution") == []

    def test_an_unmet_need(self) -> None:
        """One that was not imported for want of a package fails as hard as it is critical."""
        (check,) = self._checks("missing_distribution", unmet="redis")
        assert (check.reason, check.critical) == ("missing_distribution", True)

    def test_failed_registration(self) -> None:
        """A blueprint that was imported and does not serve is a failed check."""
        (check,) = self._checks("registration_failed")
        assert (check.name, check.ok, check.critical) == ("blueprint_edge", False, True)
        assert check.reason == "registration_failed"

    def test_a_module_without_its_blueprint(self) -> None:
        """One whose module defines no blueprint is a failed check, too."""
        (check,) = self._checks("blueprint_missing")
        assert (check.reason, check.critical) == ("blueprint_missing", True)


class TestStarting:
    """For how long a process counts as starting."""

    def test_until_the_patience_is_over(self) -> None:
        """One that is still importing is named, whatever else is in quarantine, up to a bound."""
        clock = Clock()
        board = BlueprintBoard(60, clock=clock)
        reasons = {"slow": "importing", "red": "code_error", "good": None}
        board.states = tuple(
            BlueprintState.of(Blueprint(name, f"app.{name}", "bp"), reason)
            for name, reason in reasons.items()
        )
        found = []
        for seconds in (59, 1):
            clock.pass_by(seconds)
            found.append(board.starting)
        assert found == [("slow",), ()]

    def test_until_the_imports_have_ended(self) -> None:
        """Then it has started."""
        board = BlueprintBoard(60, clock=Clock())
        assert board.starting == ()

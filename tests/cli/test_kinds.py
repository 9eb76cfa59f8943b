"""The commands speak of kind and subject, of whatever kind an engine is given."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from app.cli.command import Setup
from app.cli.group import auto_fix
from app.healing.kind import ADVICE, Outcome
from tests.healing.counter import CounterKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import World

    Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def counters(tmp_path: Path) -> CounterKind:
    """A counter that is no number, and one that is well."""
    directory = tmp_path / "counters"
    directory.mkdir()
    (directory / "doors.count").write_text("many")
    (directory / "steps.count").write_text("7")
    return CounterKind(directory, "doors", "steps")


@pytest.fixture
def run(world: World, counters: CounterKind, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with that kind: its exit code, and its JSON."""
    monkeypatch.setenv("ENV_FILE", os.devnull)
    monkeypatch.setenv("AUTO_FIX_HOME", str(world.settings.home))
    monkeypatch.setenv("AUTO_FIX_LOCK", str(world.settings.lock))

    def command(*arguments: str) -> tuple[int, Any]:
        setup = Setup(kinds=(counters,))
        result = CliRunner().invoke(auto_fix, [*arguments, "--json"], obj=setup)
        return result.exit_code, json.loads(result.stdout)

    return command


def test_status_lists_open_faults(run: Run) -> None:
    """With kind, outcome, reason, attempts left and next try; nothing was tried yet."""
    _, body = run("status")
    (fault,) = [one for one in body["faults"] if one["kind"] == "counter"]
    assert (fault["subject"], fault["cause"], fault["attempts_left"]) == ("doors", "garbled", 3)
    assert (fault["outcome"], fault["reason"], fault["next_try"]) == (None, None, None)
    assert body["mode"] == "heal"


@pytest.mark.usefixtures("run")
def test_status_says_what_is_wrong_where_nothing_may_mend_it(counters: CounterKind) -> None:
    """In the fault's own sentence, with what may be done about it behind; so does ``fix``."""
    (counters.directory / "doors.sealed").touch()
    setup = Setup(kinds=(counters,))
    shown = CliRunner().invoke(auto_fix, ["status"], obj=setup).stdout
    (line,) = [one for one in shown.splitlines() if one.startswith("counter  ")]
    assert line.endswith("the counter doors is no number; " + ADVICE[Outcome.NOT_APPROVED])
    shown = CliRunner().invoke(auto_fix, ["fix", "counter:doors"], obj=setup).stdout
    assert "  garbled: the counter doors is no number\n" in shown


def test_a_failed_attempt_is_shown_until_the_budget_is_reset(
    run: Run, counters: CounterKind
) -> None:
    """Its outcome and reason; with the budget used up, the moment of the next try."""
    counters.jammed = True
    for _ in range(3):
        code, body = run("fix", "counter:doors")
        assert (code, body["outcome"], body["healed"]) == (1, "jammed", False)
    assert run("fix", "counter:doors")[1]["outcome"] == "budget"
    (fault,) = [one for one in run("status")[1]["faults"] if one["kind"] == "counter"]
    assert (fault["outcome"], fault["reason"]) == ("jammed", "turn the counter by hand")
    assert fault["attempts_left"] == 0
    assert fault["next_try"] is not None
    assert run("reset", "counter:doors") == (
        0,
        {"kind": "counter", "subject": "doors", "reset": True, "attempts_left": 3},
    )


def test_fix_heals_and_history_has_the_kind(run: Run) -> None:
    """Then nothing is wrong with it; drift has the line, which is for no requirements file."""
    assert run("fix", "counter:doors")[1]["outcome"] == "healed"
    (attempt,) = run("history", "--kind", "counter")[1]
    assert (attempt["kind"], attempt["subject"]) == ("counter", "doors")
    assert run("history", "--kind", "dependency")[1] == []
    code, body = run("drift", "--write")
    assert (code, body["requirements"], body["written"]) == (3, ["count = 7"], False)
    assert run("fix", "counter:doors") == (
        2,
        {"error": {"code": "unknown_subject", "message": "nothing is wrong with counter:doors"}},
    )
    assert run("fix", "counter:dors") == (
        2,
        {"error": {"code": "unknown_subject", "message": "no fault is known of counter:dors"}},
    )


@pytest.mark.parametrize(
    ("subject", "code", "message"),
    [
        ("counter:chairs", "unknown_subject", "counter knows no chairs, so it has no budget"),
        (
            "nosuch",
            "unknown_subject",
            "nosuch is not in the dependency map, so it has no budget",
        ),
        ("no such", "invalid_module_name", "'no such' is not the name of a Python module"),
    ],
)
def test_reset_says_what_it_does_not_know(run: Run, subject: str, code: str, message: str) -> None:
    """A valid name that is not approved is something else than what is no name."""
    assert run("reset", subject) == (2, {"error": {"code": code, "message": message}})

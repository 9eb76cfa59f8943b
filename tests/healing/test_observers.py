"""Who is told of an attempt to heal, and of which."""

from __future__ import annotations

import logging
import time

import pytest

from app.healing.journal import Attempt
from tests.conftest import World


def test_a_heal_is_told_once(world: World) -> None:
    """What healed is told with what it was, how long it took and when it ended."""
    world.publish("healable")
    fixer, told = world.fixer(), list[Attempt]()
    fixer.observe(told.append)
    before = time.time()
    assert fixer.safe_import("healable")[0]
    assert fixer.safe_import("healable")[0]
    (attempt,) = told
    assert (attempt.subject, attempt.outcome) == ("healable", "healed")
    assert (attempt.cause, attempt.installed) == ("missing_distribution", ("healable==1.0",))
    assert before <= attempt.at - attempt.seconds < attempt.at <= time.time()


def test_a_failure_is_told(world: World) -> None:
    """What failed is told too, with the same identity as in the journal."""
    world.publish("broken", files={"broken/__init__.py": "raise RuntimeError\n"})
    fixer, told = world.fixer(), list[Attempt]()
    fixer.observe(told.append)
    assert not fixer.safe_import("broken")[0]
    (attempt,), (row,) = told, fixer.history()
    assert (attempt.outcome, attempt.error_class) == ("probe_failed", "RuntimeError")
    assert (attempt.attempt, attempt.at, attempt.seconds) == (row.attempt, row.at, row.seconds)


def test_a_refusal_is_not_told(world: World) -> None:
    """Nothing was attempted for a name that nobody approved, nor for a used-up budget."""
    world.publish("broken", files={"broken/__init__.py": "raise RuntimeError\n"})
    fixer = world.fixer()
    for _ in range(fixer.max_retries):
        fixer.safe_import("broken")
    told = list[Attempt]()
    fixer.observe(told.append)
    assert not fixer.safe_import("broken")[0]
    assert not fixer.safe_import("stranger")[0]
    assert told == []


def test_another_engine_s_attempt_is_not_told(world: World) -> None:
    """Who follows what another process has healed is told of no attempt."""
    world.publish("healable")
    follower, told = world.fixer(), list[Attempt]()
    follower.observe(told.append)
    assert world.fixer().safe_import("healable")[0]
    assert follower.safe_import("healable")[0]
    assert told == []


def test_an_observer_that_fails_costs_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its traceback; the heal counts and the others are told."""
    world.publish("healable")
    fixer, told = world.fixer(), list[Attempt]()

    def fail(_: Attempt) -> None:
        raise RuntimeError("an observer's own fault")

    fixer.observe(fail)
    fixer.observe(told.append)
    with caplog.at_level(logging.ERROR, "app.utils.auto_fix"):
        assert fixer.safe_import("healable")[0]
    assert len(told) == 1
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.fields == {"subject": "healable", "outcome": "healed"}  # type: ignore[attr-defined]

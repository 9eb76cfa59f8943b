"""The budget: three attempts, then pauses that grow up to an hour, and a memory that expires."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.healing.budget import (
    EXPIRY,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_RETRIES,
    budget,
    pause,
)
from app.healing.journal import Attempt, Failures, Journal
from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome
from tests.conftest import World
from tests.healing.engines import answers, crowd, release, run, standing
from tests.support.index import Fault

SUBJECTS = st.text(max_size=40)
NOW = 1_800_000_000.0


class TestArithmetic:
    """The budget as a function of what failed and when."""

    @given(subject=SUBJECTS, count=st.integers(0, MAX_RETRIES - 1), last_at=st.floats(0, NOW))
    def test_the_first_three_need_no_wait(self, subject: str, count: int, last_at: float) -> None:
        """Up to three attempts follow each other at once."""
        left = budget(subject, Failures(count, last_at), NOW)
        assert (left.allows, left.attempts_left) == (True, MAX_RETRIES - count)

    @given(
        subject=SUBJECTS,
        count=st.integers(MAX_RETRIES, 10_000),
        elapsed=st.floats(-1e9, 1e9),
    )
    def test_the_pause_is_bounded(self, subject: str, count: int, elapsed: float) -> None:
        """Nobody ever waits for longer than an hour, and after an hour an attempt is allowed."""
        left = budget(subject, Failures(count, NOW - elapsed), NOW)
        assert left.attempts_left == 0
        assert 0 <= left.retry_after <= LONGEST_PAUSE
        assert left.allows or elapsed < LONGEST_PAUSE

    @given(subject=SUBJECTS, doublings=st.integers(0, 100))
    def test_the_pause_doubles_with_jitter(self, subject: str, doublings: int) -> None:
        """It lies between half and the whole of 30 seconds times a power of two, capped."""
        full = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings)
        assert full / 2 <= pause(subject, doublings) <= full

    @given(subject=SUBJECTS, count=st.integers(MAX_RETRIES, 50), steps=st.lists(st.floats(0, 900)))
    def test_the_wait_only_shrinks(self, subject: str, count: int, steps: list[float]) -> None:
        """As time goes by the wait gets shorter by exactly that time."""
        failures, moment = Failures(count, NOW), NOW
        before = budget(subject, failures, moment).retry_after
        for step in steps:
            moment += step
            after = budget(subject, failures, moment).retry_after
            assert after == pytest.approx(max(0.0, before - step), abs=1e-3)
            before = after

    def test_jitter_keeps_subjects_apart(self) -> None:
        """Modules that failed together do not all come back together."""
        assert len({pause(f"module{number}", 0) for number in range(50)}) > 30


class TestMemory:
    """What counts as a failure, in the real journal."""

    @pytest.fixture
    def journal(self, world: World) -> Journal:
        """Return the journal of the world's home."""
        world.settings.home.mkdir()
        return Journal(world.settings.home / "journal.sqlite3")

    def fail(self, journal: Journal, count: int, *, at: float = 0.0, basis: str = "a") -> None:
        """Record failures of ``prey``."""
        for number in range(count):
            attempt = f"{basis}-{at}-{number}"
            row = Attempt(
                attempt=attempt,
                kind="dependency",
                subject="prey",
                cause="",
                outcome="network",
                basis=basis,
                at=at,
            )
            assert journal.append(row)

    def count(self, journal: Journal, basis: str = "a") -> int:
        """Return the failures that count."""
        return standing(journal, basis=basis).failures.count

    def test_expiry(self, journal: Journal) -> None:
        """A failure is forgotten after a day."""
        self.fail(journal, 2, at=time.time() - EXPIRY - 60)
        self.fail(journal, 1, at=time.time() - EXPIRY + 60)
        assert self.count(journal) == 1

    def test_another_lock(self, journal: Journal) -> None:
        """A change of the lock gives every module its whole budget."""
        self.fail(journal, 3)
        assert (self.count(journal), self.count(journal, "b")) == (3, 0)

    @pytest.mark.parametrize("outcome", ["healed", "reset"])
    def test_a_success_or_a_reset(self, journal: Journal, outcome: str) -> None:
        """Only what failed since then counts."""
        self.fail(journal, 3)
        journal.append(
            Attempt(attempt="x", kind="dependency", subject="prey", cause="", outcome=outcome)
        )
        assert self.count(journal) == 0
        self.fail(journal, 1, at=time.time())
        assert self.count(journal) == 1

    def test_other_subjects(self, journal: Journal) -> None:
        """A module's failures are its own."""
        self.fail(journal, 3)
        assert standing(journal, subject="other", basis="a").failures.count == 0
        assert standing(journal, kind="database", basis="a").failures.count == 0

    def test_a_clock_that_was_ahead(self, journal: Journal) -> None:
        """Failures from a far future, written before a clock was set right, do not block."""
        self.fail(journal, 3, at=time.time() + 365 * 24 * 3600)
        assert self.count(journal) == 0


class TestEngine:
    """The budget as a module sees it."""

    def test_three_attempts_then_a_pause(self, world: World) -> None:
        """The fourth import asks no index, and says when it is tried again."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        fixer = world.fixer()
        results = [fixer.import_module("prey").result for _ in range(4)]
        outcomes = [result.outcome for result in results if result]
        assert outcomes == [*[InstallOutcome.NOT_FOUND] * 3, Outcome.BUDGET]
        assert len(world.index.downloads()) == 3
        assert results[3] is not None
        assert 10 < results[3].retry_after <= FIRST_PAUSE
        assert fixer.fix_attempts == {"prey": 3}
        assert fixer.budget("prey").attempts_left == 0

    def test_a_reset_by_hand(self, world: World) -> None:
        """It is worth three attempts, in every process."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        code = "say(*[fixer.import_module('prey').result.outcome for _ in range(4)])"
        assert run(world, code) == "not_found not_found not_found budget"
        fixer = world.fixer()
        fixer.reset("prey")
        assert fixer.fix_attempts == {"prey": 3}
        assert run(world, code) == "not_found not_found not_found budget"
        del world.index.faults["prey"]
        fixer.reset("prey")
        assert fixer.safe_import("prey")[0]

    def test_a_new_lock(self, world: World) -> None:
        """It gives the budget back."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        code = "say(*[fixer.import_module('prey').result.outcome for _ in range(4)])"
        assert run(world, code).endswith("budget")
        world.publish("other")
        assert run(world, code) == "not_found not_found not_found budget"

    def test_one_moment_for_every_process(self, world: World) -> None:
        """Processes agree, to the millisecond, when the next attempt is allowed."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.NOT_FOUND
        code = """
for _ in range(3):
    fixer.safe_import("prey")
at_barrier()
before = time.time()
wait = fixer.budget("prey").retry_after
say(before + wait, time.time() + wait)
"""
        with crowd(world, 4, code) as children:
            release(children)
            spans = [tuple(map(float, said.split())) for said in answers(children)]
        # Each computed its moment between two looks at the clock; one moment fits them all.
        assert max(first for first, _ in spans) <= min(last for _, last in spans) + 0.001
        assert len(world.index.downloads()) == 3

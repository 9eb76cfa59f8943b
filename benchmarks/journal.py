"""Reading counters from a journal that has seen a million attempts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from app.healing.journal import COUNT, INSERT, MAX_ROWS, Attempt, Journal, row_of
from app.settings.declarations import HealingSettings
from app.utils.auto_fix import AutoFixer
from benchmarks.harness import Measurement, directory, interleaved, medians, spread

ATTEMPTS = 1_000_000
SUBJECTS = 40
OUTCOMES = ("healed", "network", "hash_mismatch", "deadline")
REPEATS = 101


def measure() -> Iterator[Measurement]:
    """``fix_attempts``, and the rates of every module."""
    with directory() as home:
        settings = HealingSettings(home=home, lock=home / "none.lock")
        engine = AutoFixer(settings, dependency_map={}, required=())
        _fill(home / "journal.sqlite3")
        assert sum(engine.fix_attempts.values()) == ATTEMPTS
        assert len(engine.history(ATTEMPTS)) <= MAX_ROWS * 1.05
        times = interleaved(
            REPEATS,
            {
                "fix_attempts": lambda: _read(lambda: engine.fix_attempts),
                "rates": lambda: _read(engine.status),
            },
        )
        locked = _while_locked(home)
    for name, seconds in medians(times).items():
        yield Measurement(
            what=f"{name} from a journal with {ATTEMPTS:,} attempts",
            rule="at most",
            target=5,
            measured=seconds * 1000,
            unit="ms",
            details=spread(times, 6),
        )
    yield Measurement(
        what="all that a page reads of a journal that is locked, the slowest of 20",
        rule="at most",
        target=500,
        measured=max(locked) * 1000,
        unit="ms",
    )


def _while_locked(home: Path) -> list[float]:
    """Seconds that pages take which come every tenth of a second while somebody has it locked."""
    settings = HealingSettings(home=home, lock=home / "none.lock")
    engine = AutoFixer(settings, dependency_map={}, required=())
    with closing(sqlite3.connect(home / "journal.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        times = []
        for _ in range(20):
            started = time.monotonic()
            engine.status()
            engine.open_faults()
            engine.history()
            engine.health_report()
            times.append(time.monotonic() - started)
            time.sleep(0.1)
    return times


def _read(what: Callable[[], object]) -> None:
    assert what()


def _fill(path: Path) -> None:
    """Do what ``append`` does, but ten thousand times a transaction."""
    journal = Journal(path)
    assert journal.append(_attempt(0))
    with closing(sqlite3.connect(path)) as connection:
        for start in range(1, ATTEMPTS, MAX_ROWS):
            numbers = range(start, min(start + MAX_ROWS, ATTEMPTS))
            rows = [row_of(_attempt(number)) for number in numbers]
            connection.executemany(INSERT, rows)
            connection.executemany(COUNT, rows)
            connection.execute("DELETE FROM attempts WHERE id <= ?", (numbers[-1] - MAX_ROWS,))
            connection.commit()


def _attempt(number: int) -> Attempt:
    return Attempt(
        attempt=f"{number:032x}",
        kind="dependency",
        subject=f"module{number % SUBJECTS}",
        cause="missing_distribution",
        outcome=OUTCOMES[number // SUBJECTS % len(OUTCOMES)],
        requirement="module>=1",
        installed=("module==1.0",),
        hashes=("sha256:" + "0" * 64,),
        basis="0" * 16,
        seconds=0.25,
        at=time.time(),
        host="host",
        pid=1,
    )

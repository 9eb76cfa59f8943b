"""Faults that are ignored for a while: until when, and what a file can hold."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.healing.ignored import MAX_REASON, MOST, Ignored, IgnoredFaults

CHOICE = Ignored(
    kind="dependency",
    subject="redis",
    cause="missing_distribution",
    reason="not used yet",
    by="default",
    at=time.time(),
    until=time.time() + 3600,
)
KEY = ("dependency", "redis", "missing_distribution")


def of(home: Path, basis: str = "one") -> IgnoredFaults:
    """Those of a process whose lock is ``basis``."""
    return IgnoredFaults(home, lambda _: basis)


def test_every_process_sees_it(tmp_path: Path) -> None:
    """It is kept with whose choice it is and why, until somebody takes it back."""
    of(tmp_path).add(CHOICE)
    assert of(tmp_path).current() == {KEY: CHOICE}
    of(tmp_path).remove(*KEY)
    assert of(tmp_path).current() == {}


def test_it_ends(tmp_path: Path) -> None:
    """At its time, or with the lock that it was made for."""
    of(tmp_path).add(replace(CHOICE, until=time.time() - 1))
    assert of(tmp_path).current() == {}
    of(tmp_path).add(replace(CHOICE, until=None, basis="one"))
    assert KEY in of(tmp_path, "one").current()
    assert of(tmp_path, "two").current() == {}


def test_it_ends_for_every_kind(tmp_path: Path) -> None:
    """A kind without a basis has none that could change: nothing is ignored for ever."""
    of(tmp_path).add(replace(CHOICE, until=None, basis=""))
    assert of(tmp_path, "").current() == {}


def test_another_cause_is_another_fault(tmp_path: Path) -> None:
    """What was ignored for one cause is shown for the next."""
    of(tmp_path).add(CHOICE)
    assert ("dependency", "redis", "broken_extension") not in of(tmp_path).current()


def test_two_at_once(tmp_path: Path) -> None:
    """No choice is lost, whoever makes them at the same time."""
    choices = [replace(CHOICE, subject=str(number)) for number in range(8)]
    threads = [threading.Thread(target=of(tmp_path).add, args=(each,)) for each in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(of(tmp_path).current()) == len(choices)


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", []), ("subject", 1), ("cause", {}), ("by", None), ("until", "x"), ("until", [])],
)
def test_a_choice_of_other_types(tmp_path: Path, name: str, value: object) -> None:
    """It is none; those beside it count."""
    rows = [{**asdict(CHOICE), name: value}, asdict(CHOICE)]
    (tmp_path / "ignored.json").write_text(json.dumps(rows))
    assert of(tmp_path).current() == {KEY: CHOICE}


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "", "{", "[]", "null", "[1]", '[{"kind": 1}]', '{"a": 1}', "\x00" * 100],
)
def test_a_damaged_file(tmp_path: Path, content: str) -> None:
    """Nothing is ignored, and the next choice is kept."""
    (tmp_path / "ignored.json").write_text(content)
    assert of(tmp_path).current() == {}
    of(tmp_path).add(CHOICE)
    assert of(tmp_path).current() == {KEY: CHOICE}


def test_it_is_bounded(tmp_path: Path) -> None:
    """Neither reasons nor choices grow without end, whoever wrote the file."""
    rows = [
        {**dict.fromkeys(("kind", "cause", "by"), "x"), "subject": str(n), "at": 0.0}
        | {"reason": "y" * 10_000, "until": time.time() + 60}
        for n in range(2 * MOST)
    ]
    (tmp_path / "ignored.json").write_text(json.dumps(rows))
    of(tmp_path).add(CHOICE)
    found = of(tmp_path).current()
    assert len(found) == MOST
    assert max(len(each.reason) for each in found.values()) == MAX_REASON


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Who asks for it is told."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError, match="home"):
        of(tmp_path / "home").add(CHOICE)
    assert of(tmp_path / "home").current() == {}

"""The plot of attempts: nothing is left out that fits, nothing is drawn that was not made."""

from __future__ import annotations

import pytest

from app.healing.journal import Attempt
from app.pages.plots import BARS, HEIGHT, SPANS, WIDTH, attempts_over_time

NOW = 1_800_000_000.0


def attempt(age: float, outcome: str = "healed") -> Attempt:
    """An attempt that ended so many seconds ago."""
    return Attempt(attempt="", kind="", subject="", cause="", outcome=outcome, at=NOW - age)


def test_nothing() -> None:
    """Without attempts there is no plot."""
    assert attempts_over_time([], NOW) is None


@pytest.mark.parametrize("age", [0, 30, 3600, 86_400, 30 * 86_400, 900 * 86_400])
def test_all_attempts_fit(age: float) -> None:
    """The shortest span is taken that shows the oldest; each attempt is in one bar."""
    plot = attempts_over_time([attempt(0), attempt(age, "network")], NOW)
    assert plot
    assert sum(bar.healed + bar.failed for bar in plot.bars) == 2
    assert plot.seconds in SPANS
    for bar in plot.bars:
        assert 0 <= bar.x <= (BARS - 1) * WIDTH
        assert bar.healed_height + bar.failed_height <= HEIGHT + 1


def test_what_is_older_than_any_plot() -> None:
    """It is left out."""
    plot = attempts_over_time([attempt(0), attempt(20 * 365 * 86_400)], NOW)
    assert plot
    assert sum(bar.healed + bar.failed for bar in plot.bars) == 1

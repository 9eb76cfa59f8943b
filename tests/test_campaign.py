"""The campaign draws its attacks of a seed, and everything has its turn."""

from __future__ import annotations

import random

from tests.campaign.__main__ import turns
from tests.campaign.attack import SPAN, Plan
from tests.campaign.homes import HOMES


def test_a_seed_repeats_its_attacks() -> None:
    """The same words, signals and moments; gunicorn is upgraded once at most."""
    for number in range(50):
        plan = Plan.draw(f"7/{number}", "plain", "sound", "uv")
        assert plan == Plan.draw(f"7/{number}", "plain", "sound", "uv")
        moments, names = zip(*plan.signals, strict=True)
        assert 0 <= moments[0] <= moments[-1] <= SPAN
        assert list(moments) == sorted(moments)
        assert names.count("SIGUSR2") <= 1


def test_each_has_its_turn() -> None:
    """None comes again before all others have come."""
    drawn = turns(HOMES, random.Random(7))  # noqa: S311 - no secret
    for _ in range(3):
        assert {next(drawn) for _ in HOMES} == set(HOMES)

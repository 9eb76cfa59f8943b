"""Reports: the form of a moment."""

from __future__ import annotations

import pytest

from app.healing.report import timestamp


@pytest.mark.parametrize("odd", [-1e300, 1e300, float("inf"), float("nan"), 10**400, -1])
def test_every_moment_has_a_form(odd: float) -> None:
    """What a file of another process says is no date of ours, and costs nobody a page."""
    assert timestamp(odd) in {
        "1970-01-01T00:00:00.000+00:00",
        "9999-12-31T23:59:59.000+00:00",
    }

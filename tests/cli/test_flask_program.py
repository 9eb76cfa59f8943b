"""Flask's own program: which of its commands build the application, and which only look."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.support import Checkout

BUILT = "health checked after registration"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("run", "--help"),
        ("auto-fix", "--help"),
        ("auto-fix", "status"),
        ("auto-fix", "test-import", "run"),
        ("no-such-command",),
    ],
)
def test_what_does_not_serve_builds_nothing(checkout: Checkout, arguments: tuple[str, ...]) -> None:
    """Neither help nor a command of ours nor a wrong one starts the service."""
    ended = checkout.command([sys.executable, "-m", "flask", *arguments])
    assert BUILT not in f"{ended.out}{ended.err}"


def test_what_asks_for_the_application_builds_one(checkout: Checkout) -> None:
    """One, though Flask's program looks for it by itself."""
    ended = checkout.command([sys.executable, "-m", "flask", "routes"])
    assert ended.code == 0, ended.err
    assert "/api/auto-fix/status" in ended.out
    assert f"{ended.out}{ended.err}".count(BUILT) == 1


def test_a_wrong_setting_ends_what_would_serve(checkout: Checkout) -> None:
    """As it ends a server, while the help goes on."""
    ended = checkout.command([sys.executable, "-m", "flask", "routes"], PORT="x")
    assert "royal-equips-orchestrator cannot start: PORT" in ended.err
    assert checkout.command([sys.executable, "-m", "flask", "--help"], PORT="x").code == 0

"""A pytest plugin: where CI=true, a skipped test fails the run.

Continuous integration has to provide whatever a test needs (a Docker engine above all); a skip
there would hide that something went untested.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a green run that skipped something into a failed one."""
    if os.environ.get("CI") == "true" and _skipped(session) and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a run without a failure counts as failed."""
    skipped = len(terminalreporter.getreports("skipped"))
    if os.environ.get("CI") == "true" and skipped:
        terminalreporter.section("skipped tests fail a run of CI", red=True)
        terminalreporter.line(f"{skipped} skipped; their reasons are listed above")


def _skipped(session: pytest.Session) -> int:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.getreports("skipped")) if reporter is not None else 0

"""structlog's lines are the service's own, and its absence is nobody's trouble."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.processes import ROOT

SETUP = """
import logging, sys
from app.telemetry.logs import bind, configure_logging
from app.telemetry import structured
configure_logging("INFO", {log_format!r})
"""


def _lines(code: str, log_format: str = "json") -> list[str]:
    """What a process that runs this code logs."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP.format(log_format=log_format) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def _logged(code: str) -> list[dict[str, Any]]:
    setup = "import structlog\nstructured.configure()\nlog = structlog.get_logger('app.x')\n"
    return [json.loads(line) for line in _lines(setup + code)]


class TestLines:
    """What a blueprint logs through structlog."""

    @pytest.mark.parametrize("log_format", ["console", "json"])
    def test_same_as_the_standard_library(self, log_format: str) -> None:
        """A line looks the same whichever of the two it came through."""
        first, second = _lines(
            """
import structlog
structured.configure()
bind(request_id="abc")
structlog.get_logger("app.x").info("order taken", number=7, of="a b")
logging.getLogger("app.x").info("order taken", extra={"fields": {"number": 7, "of": "a b"}})
""",
            log_format,
        )
        assert _without_time(first) == _without_time(second)
        assert "order taken" in first
        assert "abc" in first

    def test_bound_values(self) -> None:
        """What is bound to a logger, or to structlog's context, is on its lines."""
        (line,) = _logged(
            "structlog.contextvars.bind_contextvars(user=1)\nlog.bind(step=2).warning('x', a=3)"
        )
        assert (line["level"], line["event"]) == ("WARNING", "x")
        assert (line["user"], line["step"], line["a"]) == (1, 2, 3)

    def test_bound_values_are_forgotten(self) -> None:
        """The next request of a thread does not get the fields of the one before."""
        (line,) = _logged(
            "structlog.contextvars.bind_contextvars(user=1)\n"
            "structured.forget_bound()\nlog.info('x')"
        )
        assert "user" not in line

    def test_exceptions(self) -> None:
        """The traceback is in the line, as an exception of any other logger."""
        (line,) = _logged("try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('x', a=1)")
        assert (line["level"], line["a"]) == ("ERROR", 1)
        assert "ZeroDivisionError" in line["exception"]

    def test_level(self) -> None:
        """What the level leaves out is left out here, too."""
        assert [line["event"] for line in _logged("log.debug('quiet')\nlog.info('loud')")] == [
            "loud"
        ]

    def test_percent_signs(self) -> None:
        """An event is what was written, and positional arguments go into it."""
        lines = _logged("log.info('100 %')\nlog.info('%s of %d', 'a', 2)")
        assert [line["event"] for line in lines] == ["100 %", "a of 2"]

    def test_name(self) -> None:
        """A logger without a name gets its module's."""
        (line,) = _logged("structlog.get_logger().info('x')")
        assert line["logger"] == "__main__"

    def test_other_loggers_keep_their_class(self) -> None:
        """structlog's slow search for callers is not forced upon everybody."""
        (line,) = _logged("log.info('x', kind=type(logging.getLogger('fresh')).__name__)")
        assert line["kind"] == "Logger"


class TestConfiguring:
    """When structlog is configured, and when not."""

    def test_loggers_made_before(self) -> None:
        """A module's logger that was made before follows."""
        (line,) = _lines(
            "import structlog\nlog = structlog.get_logger('app.x')\n"
            "structured.configure()\nlog.info('x')"
        )
        assert json.loads(line)["event"] == "x"

    def test_not_loaded_for_nobody(self) -> None:
        """While nobody imports structlog, it is not loaded."""
        assert not _lines("structured.configure()\nassert 'structlog' not in sys.modules")

    def test_others_configuration_stays(self) -> None:
        """What a blueprint has configured itself is left alone."""
        (line,) = _lines(
            "import structlog\n"
            "structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))\n"
            "structured.configure()\nstructlog.get_logger().info('mine')"
        )
        assert "mine" in line
        assert not line.startswith("{")

    def test_missing(self) -> None:
        """Without structlog nothing fails."""
        assert not _lines(
            "sys.modules['structlog'] = None\nstructured.configure()\nstructured.forget_bound()"
        )


def _without_time(line: str) -> str:
    """The line without the moment and the process that it names."""
    if not line.startswith("{"):
        return line.partition(" ")[2]
    return json.dumps({k: v for k, v in json.loads(line).items() if k != "time"})

"""Every error is a problem, and none says more than it may."""

from __future__ import annotations

import logging

import pytest
from flask.testing import FlaskClient

from app.telemetry.logs import ConsoleFormatter
from tests.support.http import (
    SECRET,
    assert_problem,
)


class TestErrors:
    """Every error is a problem, and none says more than it may."""

    def test_unknown_address(self, client: FlaskClient) -> None:
        """An unknown address is a 404 problem."""
        assert_problem(client.get("/nowhere"), 404, "not_found")

    def test_unexpected(self, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
        """An unexpected exception is a 500 with an id that finds its traceback in the log."""

        def boom() -> str:
            message = f"{SECRET} is broken"
            raise RuntimeError(message)

        client.application.add_url_rule("/boom", view_func=boom)
        # What a line says of its request is put there when it is written.
        caplog.handler.setFormatter(ConsoleFormatter())
        with caplog.at_level(logging.ERROR):
            response = client.get("/boom")
        body = assert_problem(response, 500, "internal_error")
        assert SECRET not in response.text
        line = caplog.text[caplog.text.index("app.web.problems") :]
        assert str(body["id"]) in line
        assert f"RuntimeError: {SECRET} is broken" in line

    @pytest.mark.parametrize("path", ["/", "/livez", "/nowhere", "/api/auto-fix/health"])
    def test_headers(self, client: FlaskClient, path: str) -> None:
        """Every response forbids type guessing, framing and foreign content."""
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]

    def test_hostile_path_in_the_log(
        self, client: FlaskClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A line break in a path stays inside its log line."""

        def boom(rest: str) -> str:
            raise RuntimeError(rest)

        client.application.add_url_rule("/boom/<path:rest>", view_func=boom)
        with caplog.at_level(logging.ERROR):
            client.get("/boom/a%0DERROR root forged")
        (record,) = [r for r in caplog.records if r.name == "app.web.problems"]
        first, *rest = ConsoleFormatter().format(record).splitlines()
        assert "forged" in first
        assert all(line.startswith("    | ") for line in rest)

"""What tests of the HTTP surface share: a token, problems, and checks that are made to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.healing.report import Check
from app.health import Group, HealthCheck, HealthService

TOKEN = "correct-horse"  # noqa: S105 - a made-up one
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECRET = "/canary/path"  # noqa: S105 - what must not get out
#: What is no module name, and may mean harm.
HOSTILE_NAMES = [
    "--index-url=x",
    "-r/etc/passwd",
    "../x",
    ".relative",
    "trailing.",
    "a..b",
    "os;rm",
    "a b",
    "app.__init__",
    "__future__",
    "a\nERROR root forged",
    "a\r\nSet-Cookie: x=1",
    "a\x00b",
    "\u202eevil",
    "nämé",
    "import",
    "flask.__main__",
    "git+https://evil.example.com/x",
    "x" * 10_000,
]

Build = Callable[..., Flask]


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, object]:
    """The body of a response, which has to be this problem."""
    body = json.loads(response.data)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.mimetype == "application/problem+json"
    assert body["error"] == body["detail"]
    assert body["title"]
    assert isinstance(body, dict)
    return body


def fail(client: FlaskClient, *, critical: bool) -> None:
    """Let a check fail from now on."""
    check = Check(
        name="made_up", kind="test", subject="x", ok=False, critical=critical, reason="broken",
        advice=f"mend {SECRET}",
    )  # fmt: skip
    add(client, HealthCheck(name="made_up", kind="test", run=lambda: [check]))


def add(client: FlaskClient, check: HealthCheck) -> None:
    """Look at one more part from now on."""
    health: HealthService = client.application.extensions["health"]
    health.add(replace(check, groups=(Group.READY,)))
    health.force()

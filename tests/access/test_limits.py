"""What makes work may be asked for so often and no more."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.access.errors import RateLimited
from app.access.limits import LIMITS, RateLimits
from app.isolation.hot_application import HotApplication
from tests.support.growth import growth
from tests.support.http import Build
from tests.support.processes import (
    ROOT,
    base_environ,
)


def _code(response: TestResponse) -> tuple[int, object]:
    return response.status_code, json.loads(response.data).get("code")


class TestRateLimits:
    """What makes work may be asked for so often and no more."""

    def _ask(self, client: FlaskClient, address: str = "192.0.2.1") -> TestResponse:
        return client.get(
            "/api/auto-fix/test-import?module=json", environ_base={"REMOTE_ADDR": address}
        )

    @pytest.fixture
    def used_up(self, build: Build) -> FlaskClient:
        """A client of a service whose limit for one address is used up."""
        client = build().test_client()
        allowed = int(LIMITS["auto_fix.test_import"].split()[0])
        assert {self._ask(client).status_code for _ in range(allowed)} == {200}
        return client

    def test_table(self, build: Build) -> None:
        """Every endpoint of the table exists."""
        assert set(LIMITS) <= set(build().view_functions)

    def test_refused(self, used_up: FlaskClient) -> None:
        """One more is 429, with the time after which it may be asked for again."""
        response = self._ask(used_up)
        assert _code(response) == (429, "rate_limited")
        assert response.mimetype == "application/problem+json"
        assert 1 <= int(response.headers["Retry-After"]) <= 61
        assert response.headers["Cache-Control"] == "no-store"
        assert "192.0.2.1" not in response.text

    def test_others(self, used_up: FlaskClient) -> None:
        """Another address, and another endpoint, have limits of their own."""
        assert self._ask(used_up).status_code == 429
        assert self._ask(used_up, "192.0.2.2").status_code == 200
        assert used_up.get("/api/auto-fix/force-health-check").status_code == 200

    def test_unlimited(self, used_up: FlaskClient) -> None:
        """Probes, cached reads, metrics, pages and files are answered however often."""
        for path in ("/livez", "/readyz", "/metrics", "/api/auto-fix/health", "/static/icon.svg"):
            for _ in range(70):
                with used_up.get(path) as response:
                    assert response.status_code == 200

    def test_no_work_for_the_others(self, used_up: FlaskClient) -> None:
        """The limiter hangs nothing on requests that have no limit."""
        app = used_up.application
        hooks = app.before_request_funcs.get(None, [])
        assert not [hook for hook in hooks if hook.__module__.startswith("flask_limiter")]
        assert "limiter" not in app.extensions

    def test_over_a_swap(self, used_up: FlaskClient) -> None:
        """A new application goes on counting, and counts each request once."""
        services = used_up.application.extensions["services"]
        swapped = HotApplication(lambda _: create_app({"SERVICES": services}))
        assert swapped.rebuild()
        client = swapped.app.test_client()
        assert self._ask(client).status_code == 429
        answers = [self._ask(client, "192.0.2.3").status_code for _ in range(61)]
        assert answers == [200] * 60 + [429]

    def test_counts_are_bounded(self, build: Build) -> None:
        """However many addresses ask, only so many counts are kept, the newest among them."""
        app = build()
        limits = RateLimits(importlib.import_module, max_counts=50)
        limited = limits.limited(lambda: "", "1 per minute")
        for number in range(200):
            with app.test_request_context(environ_base={"REMOTE_ADDR": f"192.0.2.{number}"}):
                limited()
        assert limits.counted() <= 50
        with (
            app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.199"}),
            pytest.raises(RateLimited),
        ):
            limited()

    def test_a_crowd_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Nor does it make the process larger, or import anything, whatever names it asks for.

        One in a hundred of the benchmark's requests; what was kept of each were 90 KiB.
        """
        names = ["nosuch", "other.nosuch", "eventlet", "aiohttp.web", "rich", "app.cli.group"]
        grown, imported = growth(tmp_path, 1_000, 1_000, names)
        assert (grown < 10, imported) == (True, [])

    def test_loaded_when_needed(self) -> None:
        """Neither a boot nor a read that has no limit imports the limiter or starts its thread."""
        code = (
            "import sys, threading\n"
            "from app import create_app\n"
            "client = create_app().test_client()\n"
            "client.get('/livez'), client.get('/api/auto-fix/health')\n"
            "print('limits' in sys.modules, 'flask_limiter' in sys.modules)\n"
            "client.get('/api/auto-fix/test-import?module=json')\n"
            "print('flask_limiter' in sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, text=True, timeout=60,
            stdout=subprocess.PIPE, env=base_environ(AUTO_FIX_MODE="report"),
        )  # fmt: skip
        assert done.stdout.split() == ["False", "False", "True"]

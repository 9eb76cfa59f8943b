"""Security headers stand on every response, each once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.support.blueprints import BLUEPRINTS
from tests.support.http import TOKEN, Build

FIX = "/api/auto-fix/fix"
ESSENTIAL = ("X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy")
MORE = ("Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy")


class TestHeaders:
    """Security headers stand on every response, each once."""

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/livez", 200),
            ("HEAD", "/livez", 200),
            ("OPTIONS", "/livez", 200),
            ("GET", "/", 200),
            ("GET", "/static/style.css", 200),
            ("GET", "/metrics", 200),
            ("GET", "/api/auto-fix/health", 200),
            ("GET", "/api/auto-fix/test-import", 400),
            ("POST", FIX, 401),
            ("GET", "/nowhere", 404),
            ("GET", "/static/../secret", 404),
            ("DELETE", "/livez", 405),
            ("GET", "/boom", 500),
            ("GET", "/quarantined", 503),
        ],
    )
    def test_everywhere(self, build: Build, method: str, path: str, status: int) -> None:
        """Whatever the answer is, it may load nothing from elsewhere and stand in no frame."""
        spec = replace(
            BLUEPRINTS[-1], name="q", module="app.routes.absent", paths=("/quarantined",)
        )
        app = build(BLUEPRINTS=(*BLUEPRINTS, spec), token=TOKEN)
        app.add_url_rule("/boom", view_func=lambda: str(1 / 0))
        with app.test_client().open(path, method=method) as response:
            assert response.status_code == status
            names = Counter(name.lower() for name, _ in response.headers)
            assert all(names[name.lower()] == 1 for name in (*ESSENTIAL, *MORE))
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_own_policy_wins(self, build: Build) -> None:
        """The landing page keeps the policy that lets it load its own style sheet."""
        client = build().test_client()
        (policy,) = client.get("/").headers.getlist("Content-Security-Policy")
        assert "style-src 'self'" in policy
        (policy,) = client.get("/healthz").headers.getlist("Content-Security-Policy")
        assert policy == "default-src 'none'; frame-ancestors 'none'; sandbox"

    def test_only_when_encrypted(self, build: Build) -> None:
        """Browsers learn to come over TLS only from an answer that came over TLS."""
        client = build().test_client()
        name = "Strict-Transport-Security"
        assert name not in client.get("/").headers
        over_tls = client.get("/", base_url="https://localhost").headers
        assert over_tls[name] == "max-age=63072000"

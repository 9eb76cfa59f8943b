"""No error response tells a secret, a path, an exception or a version, and that is proven."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, abort

from app.web.problem_table import Problem
from app.web.problems import init_app, problem
from tests.conftest import World
from tests.support.canaries import (
    ENVIRON,
    EXCEPTION,
    INSPECTED,
    TOKEN,
    Leak,
    inspect,
    inspect_raw,
    kinds_in,
)
from tests.support.processes import ROOT, Server, http_request, serve

WERKZEUG = importlib.metadata.version("werkzeug")
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>'
LEAKS = {
    "environment": next(iter(ENVIRON.values())),
    "token": TOKEN,
    "exception": f"RuntimeError: {EXCEPTION}",
    "traceback": TRACE,
    "path": f"{ROOT}/app/__init__.py",
    "version": f"Werkzeug/{WERKZEUG}",
}
MORE_PATHS = [
    tempfile.gettempdir() + "/home/journal.sqlite3",
    sys.prefix,
    os.__file__,
    "/elsewhere/site-packages/x",
]
MORE_VERSIONS = [
    f"flask {importlib.metadata.version('flask')}",
    f"gunicorn/{importlib.metadata.version('gunicorn')}",
    f"prometheus_client {importlib.metadata.version('prometheus-client')}",
    f"Python/{sys.version_info.major}.{sys.version_info.minor}.1",
]


class TestInspection:
    """It cannot pass by finding nothing."""

    @pytest.mark.parametrize("kind", LEAKS)
    def test_each_kind(self, kind: str) -> None:
        """A canary of each kind is found, in JSON and in a header as well, and not repeated."""
        assert kind in kinds_in(LEAKS[kind])
        assert kind in kinds_in(json.dumps({"detail": LEAKS[kind]}))
        with pytest.raises(Leak, match=kind) as body:
            inspect(500, [], LEAKS[kind].encode())
        with pytest.raises(Leak, match=kind) as header:
            inspect(404, [("X", LEAKS[kind])], b"")
        assert LEAKS[kind] not in f"{body.value}{header.value}"

    @pytest.mark.parametrize("text", MORE_PATHS)
    def test_paths(self, text: str) -> None:
        """So is every place that a path could lead to."""
        assert kinds_in(text) == ["path"]

    @pytest.mark.parametrize("text", MORE_VERSIONS)
    def test_versions(self, text: str) -> None:
        """So is the version of every part."""
        assert kinds_in(text) == ["version"]

    def test_credential(self) -> None:
        """So is the token that a request bore."""
        with pytest.raises(Leak, match="credential"):
            inspect(401, [], b"not correct-horse", ["correct-horse"])

    def test_raw(self) -> None:
        """Every response of a connection counts, not its first one alone."""
        fine = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nok"
        with pytest.raises(Leak, match="token"):
            inspect_raw(fine + b"HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n" + TOKEN.encode())

    def test_what_is_allowed(self) -> None:
        """Ordinary problems, successes, and what a function itself answered."""
        assert kinds_in('{"title": "Not Found", "detail": "Flask cannot be imported"}') == []
        inspect(200, [], TOKEN.encode())
        inspect(502, [("X-Edge-Function", "f"), ("Content-Type", "text/plain")], TOKEN.encode())

    def test_problem_in_the_place_of_a_function(self) -> None:
        """A problem is the service's own, whoever was called."""
        headers = [("X-Edge-Function", "f"), ("Content-Type", "application/problem+json")]
        with pytest.raises(Leak):
            inspect(502, headers, TOKEN.encode())


class TestApplied:
    """Nothing that tests receive goes by uninspected."""

    def test_to_every_test_client(self) -> None:
        """A client that a test makes in the ordinary way meets each status, and a leak."""
        app = Flask("x")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        init_app(app)

        @app.get("/<int:status>")
        def answer(status: int) -> Response:
            return abort(problem(Problem(status, "x", "x")))

        @app.get("/raises")
        def raises() -> Response:
            raise RuntimeError(EXCEPTION)

        @app.get("/leaks")
        def leaks() -> Response:
            return Response(EXCEPTION, status=500)

        before = INSPECTED.copy()
        client = app.test_client()
        statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 429, 500, 502, 503, 504]
        assert [client.get(f"/{status}").status_code for status in statuses] == statuses
        assert client.get("/raises").status_code == 500
        with pytest.raises(Leak, match="exception"):
            client.get("/leaks")
        assert INSPECTED - before == {**dict.fromkeys(statuses, 1), 500: 3}

    def test_to_real_servers(self, server: Server) -> None:
        """A real server's answers are looked through on their way to the test."""
        before = INSPECTED.copy()
        json_bearer = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        fix = server.url + "/api/auto-fix/fix"
        got = [
            server.get("/nowhere").status,
            http_request(server.url + "/livez", method="BREW").status,
            http_request(fix, method="POST", body=b"{}").status,
            http_request(fix, method="POST", body=b"[" * 99_999, headers=json_bearer).status,
            server.get("/api/auto-fix/test-import").status,
        ]
        assert got == [404, 405, 401, 413, 400]
        assert INSPECTED - before == dict.fromkeys(got, 1)

    def test_with_canaries_in_reach(self, server: Server) -> None:
        """The servers that tests start have the secrets that must not get out."""
        environ = Path(f"/proc/{server.process.pid}/environ").read_bytes()
        for secret in (*ENVIRON.values(), TOKEN):
            assert secret.encode() in environ
        assert dict(os.environ).items() >= ENVIRON.items()


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Server]:
    """A server of the project with a token."""
    environ = {
        "AUTO_FIX_HOME": str(world.settings.home),
        "AUTO_FIX_MODE": "report",
        "AUTO_FIX_TOKEN": TOKEN,
        "WEB_CONCURRENCY": "1",
    }
    with serve(tmp_path / "log", environ) as running:
        yield running

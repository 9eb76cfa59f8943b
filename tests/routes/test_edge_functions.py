"""``/api/edge-functions``, with real functions on a real server."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from flask.testing import FlaskClient

from app.edge.client import EdgeClient
from app.edge.registry import RegistryFile
from app.telemetry.logs import ConsoleFormatter
from tests.support.edge_server import MEBIBYTE, EdgeServer, edge_server
from tests.support.http import (
    Build,
    assert_problem,
)


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    """A real server with well and badly behaved functions."""
    with edge_server() as running:
        yield running


def _functions_file(folder: Path, server: EdgeServer, **timeouts: float) -> Path:
    file = folder / "functions.toml"
    file.write_text(
        "".join(
            f"[[function]]\nname = '{name}'\nurl = '{server.url}'\ntimeout = {timeout}\n"
            for name, timeout in {"f": 20.0, **timeouts}.items()
        )
    )
    return file


def _without(*missing: str) -> Callable[[str], ModuleType | None]:
    return lambda name: None if name in missing else importlib.import_module(name)


class TestEdgeFunctions:
    """``/api/edge-functions``."""

    @pytest.fixture(params=["aiohttp", "requests"])
    def transport(self, request: pytest.FixtureRequest) -> str:
        """Each transport in turn."""
        name: str = request.param
        return name

    @pytest.fixture
    def edge(self, build: Build, tmp_path: Path, server: EdgeServer, transport: str) -> FlaskClient:
        """A client of a service with two functions on the real server."""
        file = _functions_file(tmp_path, server, hasty=0.3)
        app = build(edge_file=file)
        if transport == "requests":
            app.extensions["edge"] = EdgeClient(RegistryFile(file).current, _without("aiohttp"))
        return app.test_client()

    @pytest.mark.parametrize("path", ["", "/status", "/health-check"])
    def test_none_configured(self, client: FlaskClient, path: str) -> None:
        """With no file configured the answers are empty lists."""
        response = client.get(f"/api/edge-functions{path}")
        body = response.get_json()
        assert response.status_code == 200
        assert body["configuration"] == {"state": "none", "faults": []}
        assert body["total"] == 0
        assert (body.get("functions") or body.get("results") or []) == []

    def test_broken_file(self, build: Build, tmp_path: Path) -> None:
        """A broken file is told with its line here and in health, and all else is served."""
        file = tmp_path / "functions.toml"
        file.write_text("[[function]]\nname = 'f'\nurl = 'nonsense'\n")
        client = build(edge_file=file).test_client()
        body = client.get("/api/edge-functions/status").get_json()
        assert body["configuration"]["state"] == "invalid"
        assert [fault["line"] for fault in body["configuration"]["faults"]] == [3]
        health = client.get("/api/auto-fix/health").get_json()
        assert health["overall_status"] == "degraded"
        assert "line 3" in health["checks"]["edge_functions"]["advice"]
        assert client.get("/api/edge-functions").status_code == 200
        assert str(tmp_path) not in json.dumps([body, health])

    def test_list(self, edge: FlaskClient, transport: str) -> None:
        """The list has the functions and names the transport, with the reason for a fallback."""
        body = edge.get("/api/edge-functions").get_json()
        assert [function["name"] for function in body["functions"]] == ["f", "hasty"]
        fallback = None if transport == "aiohttp" else "aiohttp_unavailable"
        assert (body["transport"], body["fallback_reason"]) == (transport, fallback)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_health_check(self, edge: FlaskClient, method: str) -> None:
        """A health check calls every function, and status shows the results afterwards."""
        before = edge.get("/api/edge-functions/status").get_json()
        assert (before["healthy"], before["unknown"]) == (0, 2)
        body = edge.open("/api/edge-functions/health-check", method=method).get_json()
        assert [result["healthy"] for result in body["results"]] == [True, True]
        after = edge.get("/api/edge-functions/status").get_json()
        assert (after["healthy"], after["unhealthy"], after["unknown"]) == (2, 0, 0)
        assert after["functions"][0]["health"]["status"] == 200

    def test_invoke(self, edge: FlaskClient, transport: str) -> None:
        """A call reaches the function with path, query and body, and its answer comes back."""
        response = edge.post(
            "/api/edge-functions/f/invoke/a/b?x=1", data=b"{}", content_type="application/json"
        )
        seen = response.get_json()
        assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/a/b?x=1", "{}")
        assert response.headers["X-Edge-Transport"] == transport
        assert ("X-Edge-Fallback-Reason" in response.headers) == (transport == "requests")

    def test_status_comes_through(self, edge: FlaskClient) -> None:
        """A function's own error is its answer, without the headers that stay there."""
        response = edge.get("/api/edge-functions/f/invoke/failing")
        assert (response.status_code, response.data) == (500, b"broken")
        assert "Server-Secret" not in response.headers

    @pytest.mark.parametrize(
        ("path", "length"), [("x", "100000000"), ("large-chunked", None), ("failing", "100000000")]
    )
    def test_head(self, edge: FlaskClient, path: str, length: str | None) -> None:
        """HEAD has the length that the function says, or none, and never that of no body."""
        response = edge.head(f"/api/edge-functions/f/invoke/{path}")
        assert (response.headers.get("Content-Length"), response.data) == (length, b"")
        assert response.status_code == (500 if path == "failing" else 200)

    def test_fields_in_several_lines(self, edge: FlaskClient) -> None:
        """Lines of a list come back as one list, so no cache keeps what is private."""
        headers = edge.get("/api/edge-functions/f/invoke/lists").headers
        assert headers.getlist("Cache-Control") == ["private, max-age=600"]
        assert headers.getlist("Vary") == ["Accept, Accept-Language"]
        assert headers.getlist("ETag") == ['"b"']
        assert headers.getlist("Age") == ["500"]

    def test_a_page_cannot_act(self, edge: FlaskClient) -> None:
        """HTML from a function is sandboxed on this origin, and its cookies stay there."""
        response = edge.get("/api/edge-functions/f/invoke/page")
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in edge.get("/api/edge-functions/f/invoke/cookie").headers

    @pytest.mark.parametrize(
        ("function", "path", "status", "code"),
        [
            ("hasty", "hang", 504, "edge_timeout"),
            ("hasty", "drip", 504, "edge_timeout"),
            ("f", "redirect", 502, "edge_redirect"),
            ("f", "oversized", 502, "edge_too_large"),
            ("f", "endless", 502, "edge_too_large"),
            ("f", "cut", 502, "edge_protocol"),
            ("f", "garbage", 502, "edge_protocol"),
        ],
    )
    def test_bad_functions(
        self,
        edge: FlaskClient,
        caplog: pytest.LogCaptureFixture,
        function: str,
        path: str,
        status: int,
        code: str,
    ) -> None:
        """A function that misbehaves ends in a problem whose id finds the reason in the log."""
        response = edge.get(f"/api/edge-functions/{function}/invoke/{path}")
        body = assert_problem(response, status, code)
        assert body["function"] == function
        assert str(body["id"]) in "".join(map(ConsoleFormatter().format, caplog.records))
        assert "X-Edge-Transport" in response.headers

    @pytest.mark.parametrize("path", ["%2e%2e/x", "a/%2e%2e%2fb", "a%5cb", "%0dHost:%20x", "%01"])
    def test_path_that_could_leave(self, edge: FlaskClient, server: EdgeServer, path: str) -> None:
        """A path that could lead elsewhere is 400 and calls nobody."""
        response = edge.get(f"/api/edge-functions/f/invoke/{path}")
        assert_problem(response, 400, "invalid_path")
        assert server.seen == []

    @pytest.mark.parametrize("name", ["nobody", "http:", "127.0.0.1", "f%0a", "x" * 10_000])
    def test_unknown_function(self, edge: FlaskClient, server: EdgeServer, name: str) -> None:
        """A name that is not registered is 404 and calls nobody."""
        response = edge.get(f"/api/edge-functions/{name}/invoke")
        assert_problem(response, 404, "unknown_function")
        assert server.seen == []

    @pytest.mark.parametrize("announced", [True, False])
    def test_body_too_large(
        self, edge: FlaskClient, server: EdgeServer, *, announced: bool
    ) -> None:
        """A body above the limit is 413, whether its length is announced or not."""
        data = b"x" * (MEBIBYTE + 1)
        environ: Mapping[str, object] = {} if announced else {"wsgi.input_terminated": True}
        headers = {} if announced else {"Transfer-Encoding": "chunked", "Content-Length": ""}
        response = edge.post(
            "/api/edge-functions/f/invoke", data=data, headers=headers, environ_overrides=environ
        )
        assert_problem(response, 413, "content_too_large")
        assert server.seen == []

    def test_method(self, edge: FlaskClient) -> None:
        """Other methods than GET and POST are refused."""
        response = edge.delete("/api/edge-functions/f/invoke")
        assert_problem(response, 405, "method_not_allowed")

    def test_no_transport(self, build: Build, tmp_path: Path, server: EdgeServer) -> None:
        """With neither library a call is 503 with Retry-After, and lists still answer."""
        file = _functions_file(tmp_path, server)
        app = build(edge_file=file)
        app.extensions["edge"] = EdgeClient(
            RegistryFile(file).current, _without("aiohttp", "requests")
        )
        client = app.test_client()
        for path in ("f/invoke", "health-check"):
            response = client.get(f"/api/edge-functions/{path}")
            assert_problem(response, 503, "no_transport")
            assert int(response.headers["Retry-After"]) > 0
        body = client.get("/api/edge-functions/status").get_json()
        assert (body["transport"], body["fallback_reason"]) == (None, "no_transport")

"""The HTTP surface, through the real factory with an engine that has its own home and index."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from app import BLUEPRINTS, create_app
from app.edge import EdgeClient, load_registry
from app.healing.report import Check
from app.health import Group, HealthCheck, HealthService
from app.settings.declarations import Settings
from app.telemetry.logs import ConsoleFormatter
from tests.conftest import World
from tests.support.edge_server import MEBIBYTE, EdgeServer, edge_server

TOKEN = "correct-horse"  # noqa: S105 - a made-up one
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECRET = "/canary/path"  # noqa: S105 - what must not get out
WAIT = 20
HOSTILE_NAMES = [
    "--index-url=x",
    "-r/etc/passwd",
    "../x",
    ".relative",
    "trailing.",
    "a..b",
    "os;rm",
    "a b",
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


@pytest.fixture
def build(world: World) -> Iterator[Build]:
    """Make applications over the test's own engine, and close them."""
    made: list[Flask] = []

    def make(*, token: str | None = None, edge_file: Path | None = None, **config: object) -> Flask:
        settings = Settings(healing=world.settings, token=token, edge_functions_file=edge_file)
        given = {"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "TESTING": True, **config}
        made.append(create_app(given))
        return made[-1]

    yield make
    for app in made:
        app.extensions["edge"].close()


@pytest.fixture
def client(build: Build) -> FlaskClient:
    """A client of a service without a token and without edge functions."""
    return build().test_client()


@pytest.fixture
def guarded(build: Build) -> FlaskClient:
    """A client of a service with a token; it sends none by itself."""
    return build(token=TOKEN).test_client()


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    """A real server with well and badly behaved functions."""
    with edge_server() as running:
        yield running


def _body(response: TestResponse) -> dict[str, object]:
    body = response.get_json()
    assert isinstance(body, dict)
    return body


def _assert_problem(response: TestResponse, status: int, code: str) -> dict[str, object]:
    body = json.loads(response.data)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.mimetype == "application/problem+json"
    assert body["error"] == body["detail"]
    assert body["title"]
    assert isinstance(body, dict)
    return body


def _fail(client: FlaskClient, *, critical: bool) -> None:
    """Let a check fail from now on."""
    check = Check(
        name="made_up", kind="test", subject="x", ok=False, critical=critical, reason="broken",
        advice=f"mend {SECRET}",
    )  # fmt: skip
    _add(client, HealthCheck(name="made_up", kind="test", run=lambda: [check]))


def _add(client: FlaskClient, check: HealthCheck) -> None:
    """Look at one more part from now on."""
    health: HealthService = client.application.extensions["health"]
    health.add(replace(check, groups=(Group.READY,)))
    health.force()


class TestAutoFixHealth:
    """``/api/auto-fix/health`` and ``/force-health-check``."""

    @pytest.mark.parametrize("path", ["health", "force-health-check"])
    def test_documented_fields(self, client: FlaskClient, path: str) -> None:
        """Both answer with every field that clients rely on."""
        response = client.get(f"/api/auto-fix/{path}")
        body = response.get_json()
        assert response.status_code == 200
        assert body["overall_status"] == "healthy"
        assert body["timestamp"].endswith("+00:00")
        assert "module_app_routes_health" in body["checks_performed"]
        assert (body["fixes_applied"], body["errors_detected"]) == ([], [])
        assert {"fix_attempts", "max_retries", "available_fixes"} <= set(body["auto_fixer"])

    def test_cached(self, client: FlaskClient) -> None:
        """Two readings in a row are the same one, and may be cached as long as it is fresh."""
        client.get("/api/auto-fix/force-health-check")
        first, second = (client.get("/api/auto-fix/health") for _ in range(2))
        assert first.data == second.data
        assert first.headers["Cache-Control"] == "private, max-age=10"
        assert first.headers["Vary"] == "Accept, Authorization"
        assert 0 <= int(first.headers["Age"]) < 10

    def test_known_by_its_tag(self, client: FlaskClient) -> None:
        """Who has the newest reading is told so with 304, and gets it when there is a newer one."""
        client.get("/api/auto-fix/force-health-check")
        first = client.get("/api/auto-fix/health")
        known = {"If-None-Match": f'"other", {first.headers["ETag"]}'}
        again = client.get("/api/auto-fix/health", headers=known)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        client.get("/api/auto-fix/force-health-check")
        newer = client.get("/api/auto-fix/health", headers=known)
        assert newer.status_code == 200
        assert newer.headers["ETag"] != first.headers["ETag"]

    @pytest.mark.parametrize(
        "tag", ["", "x", '"', '""', "\xff", 'W/"x"', ", ,", '"a" "b"', '"' + "x" * 9000]
    )
    def test_odd_tags(self, client: FlaskClient, tag: str) -> None:
        """A tag that nobody was given finds nothing."""
        response = client.get("/api/auto-fix/health", headers={"If-None-Match": tag})
        assert response.status_code == 200

    def test_results_have_their_time(self, client: FlaskClient) -> None:
        """Each result says when it was found and whether it is stale, and so does the whole."""
        body = client.get("/api/auto-fix/force-health-check").get_json()
        assert (body["stale"], body["pending"]) == (False, [])
        for check in body["checks"].values():
            assert datetime.fromisoformat(check["checked_at"]).tzinfo is not None
            assert check["stale"] is False
        assert "age_seconds" not in body

    def test_looks_at_everything(self, client: FlaskClient) -> None:
        """The journal, the home, installer and index, edge functions, threads and clock."""
        body = client.get("/api/auto-fix/force-health-check").get_json()
        assert {
            "auto_fix_home",
            "clock",
            "module_app_routes_auto_fix",
            "edge_functions",
            "installer",
            "journal",
            "package_source",
            "worker_pool",
        } <= set(body["checks_performed"])

    def test_forced_is_not_kept(self, client: FlaskClient) -> None:
        """What was computed for one caller is no answer for the next."""
        response = client.get("/api/auto-fix/force-health-check")
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers

    def test_forced_is_new(self, client: FlaskClient) -> None:
        """A forced check has its own time and becomes the cached reading."""
        before = client.get("/api/auto-fix/health").get_json()["timestamp"]
        forced = client.get("/api/auto-fix/force-health-check").get_json()["timestamp"]
        assert forced > before
        assert client.get("/api/auto-fix/health").get_json()["timestamp"] == forced

    def test_degraded_is_200(self, client: FlaskClient) -> None:
        """A failed check that is not critical degrades the service and says why."""
        _fail(client, critical=False)
        response = client.get("/api/auto-fix/health")
        assert response.status_code == 200
        body = response.get_json()
        assert body["overall_status"] == "degraded"
        assert body["errors_detected"] == [f"made_up: mend {SECRET}"]

    def test_unhealthy_is_503(self, client: FlaskClient) -> None:
        """A failed critical check makes it 503, which nobody may cache."""
        _fail(client, critical=True)
        response = client.get("/api/auto-fix/health")
        assert response.status_code == 503
        assert response.get_json()["overall_status"] == "unhealthy"
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers


class TestHealthJson:
    """``application/health+json``, draft-inadarei-api-health-check-06."""

    PATHS = ("/api/auto-fix/health", "/api/auto-fix/force-health-check", "/healthz")

    def _get(self, client: FlaskClient, path: str = PATHS[0], **headers: str) -> TestResponse:
        return client.get(path, headers={"Accept": "application/health+json", **headers})

    @pytest.mark.parametrize("path", PATHS)
    def test_passes(self, client: FlaskClient, path: str) -> None:
        """A healthy service passes; each check is an array and says when it was made."""
        response = self._get(client, path)
        body = json.loads(response.data)
        assert (response.status_code, body["status"]) == (200, "pass")
        assert response.mimetype == "application/health+json"
        assert "Accept" in response.headers["Vary"]
        assert "output" not in body
        (module,) = body["checks"]["module_app_routes_health"]
        assert (module["componentType"], module["status"]) == ("component", "pass")
        assert datetime.fromisoformat(module["time"]).tzinfo is not None
        (room,) = body["checks"]["auto_fix_home"]
        assert (room["observedUnit"], room["observedValue"] > 0) == ("MiB", True)

    @pytest.mark.parametrize(
        ("critical", "code", "word"), [(False, 200, "warn"), (True, 503, "fail")]
    )
    def test_fails(self, client: FlaskClient, code: int, word: str, *, critical: bool) -> None:
        """What degrades is a warning with 200, what is critical fails with 503."""
        _fail(client, critical=critical)
        response = self._get(client)
        body = json.loads(response.data)
        assert (response.status_code, body["status"], body["output"]) == (code, word, "made_up")
        assert body["checks"]["made_up"][0]["status"] == word
        assert body["checks"]["made_up"][0]["output"] == f"mend {SECRET}"
        assert body["notes"][0].startswith("1 of ")

    def test_details_need_the_token(self, guarded: FlaskClient) -> None:
        """Advice and what was measured are for those who have the token."""
        _fail(guarded, critical=False)
        body = json.loads(self._get(guarded).data)
        assert body["checks"]["made_up"][0]["output"] == "broken"
        assert "observedValue" not in body["checks"]["auto_fix_home"][0]
        assert SECRET in self._get(guarded, **BEARER).text

    @pytest.mark.parametrize(
        ("accept", "chosen"),
        [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("application/json", "application/json"),
            ("text/html", "application/json"),
            ("application/health+json;q=0", "application/json"),
            ("application/health+json;q=0.1, application/json", "application/json"),
            ("application/health+json, application/json;q=0.9", "application/health+json"),
            ("text/html, application/health+json;q=0.5", "application/health+json"),
        ],
    )
    def test_negotiated(self, client: FlaskClient, accept: str, chosen: str) -> None:
        """Whoever does not ask for it gets the documented JSON, never a refusal."""
        response = client.get("/api/auto-fix/health", headers={"Accept": accept})
        assert (response.status_code, response.mimetype) == (200, chosen)

    def test_each_format_has_its_tag(self, client: FlaskClient) -> None:
        """A tag of one format is none of the other."""
        tag = client.get("/api/auto-fix/health").headers["ETag"]
        assert self._get(client, **{"If-None-Match": tag}).status_code == 200


class TestStatus:
    """``/api/auto-fix/status``."""

    def test_documented_fields(self, client: FlaskClient) -> None:
        """It answers with every field that clients rely on."""
        body = client.get("/api/auto-fix/status").get_json()
        assert {
            "fix_attempts",
            "max_retries",
            "dependency_map_size",
            "available_dependencies",
            "success_rate",
            "modules",
        } <= set(body)
        assert body["max_retries"] == 3


class TestTestImport:
    """``/api/auto-fix/test-import`` looks, and touches nothing."""

    def test_loaded(self, client: FlaskClient) -> None:
        """A loaded module is a success."""
        response = client.get("/api/auto-fix/test-import?module=json")
        assert response.status_code == 200
        assert response.get_json() == {
            "module": "json",
            "success": True,
            "available": True,
            "type": "module",
            "diagnosis": None,
        }

    def test_missing(self, client: FlaskClient) -> None:
        """A module that does not exist is 200, no success, and a diagnosis."""
        response = client.get("/api/auto-fix/test-import?module=nosuchmodule")
        body = response.get_json()
        assert response.status_code == 200
        assert (body["success"], body["available"], body["type"]) == (False, False, None)
        assert body["diagnosis"]["cause"] == "missing_distribution"

    def test_approved_is_not_installed(self, world: World, build: Build) -> None:
        """A module that a heal could bring is diagnosed as fixable and not installed."""
        world.publish("healable")
        client = build().test_client()
        body = client.get("/api/auto-fix/test-import?module=healable").get_json()
        assert (body["success"], body["diagnosis"]["fixable"]) == (False, True)
        assert client.get("/api/auto-fix/status").get_json()["fix_attempts"] == {}

    def test_stranger_is_not_imported(self, client: FlaskClient) -> None:
        """A module that is installed, not loaded and not approved is found and not imported."""
        assert "antigravity" not in sys.modules
        response = client.get("/api/auto-fix/test-import?module=antigravity")
        assert response.status_code == 200
        body = response.get_json()
        assert (body["success"], body["available"]) == (False, True)
        assert "not imported" in body["note"]
        assert "antigravity" not in sys.modules

    @pytest.mark.parametrize("query", ["", "?module=", "?other=json", "?module"])
    def test_name_is_absent(self, client: FlaskClient, query: str) -> None:
        """Without a name it is 400 with an error."""
        response = client.get(f"/api/auto-fix/test-import{query}")
        _assert_problem(response, 400, "module_required")

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_hostile_name(
        self, client: FlaskClient, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no module name is 400; nothing is imported and no log line is forged."""
        before = set(sys.modules)
        with caplog.at_level(logging.DEBUG):
            response = client.get("/api/auto-fix/test-import", query_string={"module": name})
        body = _assert_problem(response, 400, "invalid_module_name")
        assert len(str(body["error"])) < 200
        assert set(sys.modules) == before
        lines = [ConsoleFormatter().format(record) for record in caplog.records]
        assert all(len(line.splitlines()) == 1 for line in lines)


class TestFix:
    """``POST /api/auto-fix/fix``: the one change over HTTP."""

    def _fix(self, client: FlaskClient, name: object, **headers: str) -> TestResponse:
        given = {**BEARER, **headers}
        return client.post("/api/auto-fix/fix", json={"module": name}, headers=given)

    def test_heals(self, world: World, build: Build) -> None:
        """A healable module is installed, and status, health, metrics and page all say so."""
        world.publish("healable")
        client = build(token=TOKEN).test_client()
        response = self._fix(client, "healable")
        body = response.get_json()
        assert response.status_code == 200
        assert (body["success"], body["healed"], body["outcome"]) == (True, True, "healed")

        status = client.get("/api/auto-fix/status", headers=BEARER).get_json()
        assert status["fix_attempts"] == {"healable": 1}
        assert status["modules"]["healable"]["successes"] == 1
        (attempt,) = status["recent_attempts"]
        assert (attempt["module"], attempt["outcome"]) == ("healable", "healed")

        health = client.get("/api/auto-fix/health", headers=BEARER).get_json()
        assert health["fixes_applied"] == ["healable: installed healable==1.0"]
        assert 'module="healable",outcome="healed"} 1.0' in client.get("/metrics").text
        page = client.get("/", headers=BEARER).text
        assert "healable==1.0" in page
        assert "healable&gt;=1.0" in page

    def test_already_there(self, guarded: FlaskClient) -> None:
        """A module that imports already is reported as such, not as healed."""
        body = self._fix(guarded, "json").get_json()
        assert (body["success"], body["healed"]) == (True, False)
        assert body["outcome"] == "already_available"

    def test_not_approved(self, guarded: FlaskClient) -> None:
        """A module outside the map is refused, with the reason and the diagnosis."""
        body = _assert_problem(self._fix(guarded, "nosuchmodule"), 409, "not_approved")
        assert body["success"] is False
        assert body["diagnosis"]

    def test_failed_heal(self, world: World, build: Build) -> None:
        """A heal that fails is no success, and is counted as a failure."""
        world.publish("broken", files={"broken/__init__.py": "raise RuntimeError('canary')\n"})
        client = build(token=TOKEN).test_client()
        response = self._fix(client, "broken")
        body = _assert_problem(response, 409, "probe_failed")
        assert body["success"] is False
        assert "canary" not in response.text
        assert client.get("/api/auto-fix/status").get_json()["failure_count"] == 1

    def test_no_token_configured(self, client: FlaskClient) -> None:
        """With no token configured every change is refused, whatever is sent."""
        _assert_problem(self._fix(client, "json"), 403, "changes_disabled")

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe"],
    )
    def test_wrong_token(self, guarded: FlaskClient, header: str) -> None:
        """Without the right bearer token it is 401, and says which scheme is wanted."""
        response = self._fix(guarded, "json", Authorization=header)
        _assert_problem(response, 401, "token_required")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_hostile_name(self, world: World, guarded: FlaskClient, name: str) -> None:
        """What is no module name is 400, and the index is not asked."""
        _assert_problem(self._fix(guarded, name), 400, "invalid_module_name")
        assert world.index.requests == []

    @pytest.mark.parametrize("name", ["", None, 7, ["json"], {"a": 1}])
    def test_name_is_absent(self, guarded: FlaskClient, name: object) -> None:
        """A body without a name is 400."""
        _assert_problem(self._fix(guarded, name), 400, "module_required")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"null", b'"json"', b"\xff", b"module=json", b"[" * 10_000]
    )
    def test_no_json_object(self, guarded: FlaskClient, body: bytes) -> None:
        """A body that is no JSON object is 400."""
        response = guarded.post("/api/auto-fix/fix", data=body, headers=BEARER)
        _assert_problem(response, 400, "invalid_json")

    def test_too_large(self, guarded: FlaskClient) -> None:
        """A body of a megabyte is 413."""
        _assert_problem(self._fix(guarded, "x" * 1_000_000), 413, "content_too_large")

    def test_get_changes_nothing(self, guarded: FlaskClient) -> None:
        """The address answers GET with 405 and says what it takes."""
        response = guarded.get("/api/auto-fix/fix", headers=BEARER)
        _assert_problem(response, 405, "method_not_allowed")
        assert "POST" in response.headers["Allow"]


class TestDetails:
    """With a token configured, details need it; the documented fields do not."""

    def test_health(self, guarded: FlaskClient) -> None:
        """Advice is for those who have the token; reason codes are for everybody."""
        _fail(guarded, critical=False)
        open_body = guarded.get("/api/auto-fix/health").get_json()
        full_body = guarded.get("/api/auto-fix/health", headers=BEARER).get_json()
        assert open_body["errors_detected"] == ["made_up: broken"]
        assert SECRET not in json.dumps(open_body)
        assert SECRET in json.dumps(full_body)
        assert set(full_body) - set(open_body) == {"fixes"}

    def test_status(self, guarded: FlaskClient) -> None:
        """The history of attempts needs the token."""
        assert "recent_attempts" not in guarded.get("/api/auto-fix/status").get_json()
        full = guarded.get("/api/auto-fix/status", headers=BEARER).get_json()
        assert "recent_attempts" in full

    def test_diagnosis(self, guarded: FlaskClient) -> None:
        """The cause is open, the advice is not."""
        path = "/api/auto-fix/test-import?module=nosuchmodule"
        assert "advice" not in guarded.get(path).get_json()["diagnosis"]
        assert "advice" in guarded.get(path, headers=BEARER).get_json()["diagnosis"]

    def test_page(self, guarded: FlaskClient) -> None:
        """The landing page keeps advice to itself as well."""
        _fail(guarded, critical=False)
        assert SECRET not in guarded.get("/").text
        assert SECRET in guarded.get("/", headers=BEARER).text

    def test_edge_addresses(self, build: Build, tmp_path: Path) -> None:
        """The addresses of functions, and what is wrong with the file, need the token."""
        file = tmp_path / "functions.toml"
        file.write_text("[[function]]\nname = 'f'\nurl = 'https://f.example.com'\n")
        client = build(token=TOKEN, edge_file=file).test_client()
        assert "f.example.com" not in client.get("/api/edge-functions").text
        assert "f.example.com" in client.get("/api/edge-functions", headers=BEARER).text


class TestProbes:
    """``/livez``, ``/readyz`` and ``/healthz``."""

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
    def test_up(self, client: FlaskClient, path: str) -> None:
        """A healthy service answers each with 200, uncached."""
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"

    def test_degraded(self, client: FlaskClient) -> None:
        """A degraded service is ready, and its summary says what fails."""
        _fail(client, critical=False)
        assert client.get("/readyz").status_code == 200
        body = client.get("/healthz").get_json()
        assert (body["status"], body["failed"]) == ("degraded", {"made_up": "broken"})

    def test_unhealthy(self, client: FlaskClient) -> None:
        """An unhealthy service is alive, not ready, and names the critical check."""
        _fail(client, critical=True)
        response = client.get("/readyz")
        assert _assert_problem(response, 503, "not_ready")["failed"] == ["made_up"]
        assert int(response.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 503
        assert client.get("/livez").status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/api/auto-fix/health"])
    def test_a_hung_check_delays_no_answer(self, client: FlaskClient, path: str) -> None:
        """While a check hangs everything is answered by what is known."""
        with _hung(client):
            assert client.get(path).status_code == 200

    def test_livez_begins_nothing(self, client: FlaskClient) -> None:
        """Liveness looks at nothing, not even in the background."""
        looked = threading.Event()

        def look() -> list[Check]:
            looked.set()
            return []

        health: HealthService = client.application.extensions["health"]
        health.add(HealthCheck(name="looked", kind="test", run=look, groups=(Group.LIVE,)))
        assert client.get("/livez").text == "alive\n"
        assert not looked.is_set()

    def test_livez_depends_on_its_group(self, client: FlaskClient) -> None:
        """A critical check that liveness is made to depend on ends it."""
        check = Check(
            name="loop", kind="test", subject="x", ok=False, critical=True, reason="stuck"
        )
        health: HealthService = client.application.extensions["health"]
        health.add(HealthCheck(name="loop", kind="test", run=lambda: [check], groups=(Group.LIVE,)))
        health.force()
        body = _assert_problem(client.get("/livez"), 503, "not_alive")
        assert body["failed"] == ["loop"]
        assert client.get("/readyz").status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/readyz"])
    def test_plain_text(self, client: FlaskClient, path: str) -> None:
        """A probe that looks at more than the status reads a word."""
        response = client.get(path)
        assert (response.mimetype, response.text) == ("text/plain", f"{_word(path)}\n")


def _word(path: str) -> str:
    return {"/livez": "alive", "/readyz": "ready"}[path]


@contextlib.contextmanager
def _hung(client: FlaskClient) -> Iterator[None]:
    """A check that was begun and does not end before the block does."""
    gate, entered = threading.Event(), threading.Event()

    def hang() -> list[Check]:
        entered.set()
        assert gate.wait(WAIT)
        return []

    health: HealthService = client.application.extensions["health"]
    health.force()
    health.add(HealthCheck(name="hung", kind="test", run=hang, groups=(Group.READY,)))
    health.refresh()
    try:
        assert entered.wait(WAIT)
        yield
    finally:
        gate.set()


class TestErrors:
    """Every error is a problem, and none says more than it may."""

    def test_unknown_address(self, client: FlaskClient) -> None:
        """An unknown address is a 404 problem."""
        _assert_problem(client.get("/nowhere"), 404, "not_found")

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
        body = _assert_problem(response, 500, "internal_error")
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


class TestMetrics:
    """``/metrics``."""

    def _samples(self, text: str) -> dict[tuple[str, tuple[str, ...]], float]:
        families = text_string_to_metric_families(text)
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    def test_series(self, client: FlaskClient) -> None:
        """The text format carries mode, health and the state of every blueprint."""
        samples = self._samples(client.get("/metrics").text)
        assert samples["auto_fix_mode", ("heal",)] == 1
        assert samples["auto_fix_health_status", ("healthy",)] == 1
        assert samples["auto_fix_health_status", ("unhealthy",)] == 0
        assert samples["auto_fix_blueprint_active", ("metrics",)] == 1
        assert samples["edge_functions_registered", ()] == 0

    def test_health_shows(self, client: FlaskClient) -> None:
        """A failed check changes the health series."""
        _fail(client, critical=True)
        samples = self._samples(client.get("/metrics").text)
        assert samples["auto_fix_health_status", ("unhealthy",)] == 1
        assert samples["auto_fix_failed_checks", ("true",)] == 1

    def test_each_check(self, client: FlaskClient) -> None:
        """Every check has a series: 1 while it fails, and the others stay at 0."""
        failing = "auto_fix_check_failing"
        assert self._samples(client.get("/metrics").text)[failing, ("journal", "false")] == 0
        _fail(client, critical=True)
        samples = self._samples(client.get("/metrics").text)
        assert samples[failing, ("made_up", "true")] == 1
        assert samples[failing, ("journal", "false")] == 0
        assert sum(value for (name, _), value in samples.items() if name == failing) == 1
        assert SECRET not in client.get("/metrics").text

    def test_two_results_of_one_name(self, client: FlaskClient) -> None:
        """They are one series, which fails when one of them does."""
        good = Check(name="twice", kind="test", subject="x", ok=True)
        results = [good, replace(good, subject="y", ok=False), replace(good, subject="z")]
        _add(client, HealthCheck(name="twice", kind="test", run=lambda: results))
        text = client.get("/metrics").text
        assert text.count('auto_fix_check_failing{check="twice",critical="false"} 1.0') == 1
        assert text.count('check="twice"') == 1

    def test_openmetrics(self, client: FlaskClient) -> None:
        """A scraper that asks for OpenMetrics gets it, and its strict parser accepts it."""
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        response = client.get("/metrics", headers=accept)
        assert response.mimetype == "application/openmetrics-text"
        families = openmetrics.text_string_to_metric_families(response.text)  # type: ignore[no-untyped-call]
        assert list(families)

    def test_two_applications(self, build: Build) -> None:
        """Two applications in one process have each their own series."""
        first, second = build().test_client(), build().test_client()
        _fail(first, critical=True)
        failing = ("auto_fix_failed_checks", ("true",))
        assert self._samples(first.get("/metrics").text)[failing] == 1
        assert self._samples(second.get("/metrics").text)[failing] == 0


class TestLandingPage:
    """``/``: what is up, what is not and why, what was healed."""

    def test_healthy(self, client: FlaskClient) -> None:
        """It says that everything is up and links to addresses that answer."""
        response = client.get("/")
        assert response.mimetype == "text/html"
        assert "Everything is up" in response.text
        links = re.findall(r'href="(/[^"]*)"', response.text)
        assert len(links) > 5
        for link in links:
            with client.get(link.replace("&amp;", "&")) as linked:
                assert linked.status_code == 200

    def test_addresses(self, client: FlaskClient) -> None:
        """Each part is shown with what it answers for, as the status tells it."""
        text = client.get("/").text
        told = _body(client.get("/api/auto-fix/status"))["blueprints"]
        assert isinstance(told, dict)
        assert told["health"]["paths"] == ["/livez", "/readyz", "/healthz"]
        for blueprint in told.values():
            for path in blueprint["paths"]:
                assert f"<code>{path}</code>" in text

    def test_loads_nothing_from_elsewhere(self, client: FlaskClient) -> None:
        """It names no other origin and holds no inline style or script."""
        text = client.get("/").text
        assert "://" not in text
        assert "<script" not in text
        assert "style=" not in text

    def test_trouble_is_shown(self, client: FlaskClient) -> None:
        """What fails is named with its reason, escaped."""
        _fail(client, critical=True)
        check = Check(
            name="y", kind="test", subject="<script>alert(1)</script>", ok=False, reason="odd",
            fallback="requests",
        )  # fmt: skip
        _add(client, HealthCheck(name="y", kind="test", run=lambda: [check]))
        text = client.get("/").text
        assert "Something critical is missing" in text
        assert "<script>" not in text
        assert "runs on requests" in text

    def test_blueprint_that_is_down(self, build: Build) -> None:
        """A blueprint that could not be imported is shown as down, and is not linked to."""
        client = build(BLUEPRINTS=_without_metrics()).test_client()
        text = client.get("/").text
        assert "first_party_missing" in text
        assert 'href="/metrics"' not in text


def _without_metrics() -> tuple[object, ...]:
    return tuple(
        replace(spec, path="app.routes.absent") if spec.name == "metrics" else spec
        for spec in BLUEPRINTS
    )


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
            app.extensions["edge"] = EdgeClient(load_registry(file), _without("aiohttp"))
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
        body = _assert_problem(response, status, code)
        assert body["function"] == function
        assert str(body["id"]) in "".join(map(ConsoleFormatter().format, caplog.records))
        assert "X-Edge-Transport" in response.headers

    @pytest.mark.parametrize("path", ["%2e%2e/x", "a/%2e%2e%2fb", "a%5cb", "%0dHost:%20x", "%01"])
    def test_path_that_could_leave(self, edge: FlaskClient, server: EdgeServer, path: str) -> None:
        """A path that could lead elsewhere is 400 and calls nobody."""
        response = edge.get(f"/api/edge-functions/f/invoke/{path}")
        _assert_problem(response, 400, "invalid_path")
        assert server.seen == []

    @pytest.mark.parametrize("name", ["nobody", "http:", "127.0.0.1", "f%0a", "x" * 10_000])
    def test_unknown_function(self, edge: FlaskClient, server: EdgeServer, name: str) -> None:
        """A name that is not registered is 404 and calls nobody."""
        response = edge.get(f"/api/edge-functions/{name}/invoke")
        _assert_problem(response, 404, "unknown_function")
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
        _assert_problem(response, 413, "content_too_large")
        assert server.seen == []

    def test_method(self, edge: FlaskClient) -> None:
        """Other methods than GET and POST are refused."""
        response = edge.delete("/api/edge-functions/f/invoke")
        _assert_problem(response, 405, "method_not_allowed")

    def test_no_transport(self, build: Build, tmp_path: Path, server: EdgeServer) -> None:
        """With neither library a call is 503 with Retry-After, and lists still answer."""
        file = _functions_file(tmp_path, server)
        app = build(edge_file=file)
        app.extensions["edge"] = EdgeClient(load_registry(file), _without("aiohttp", "requests"))
        client = app.test_client()
        for path in ("f/invoke", "health-check"):
            response = client.get(f"/api/edge-functions/{path}")
            _assert_problem(response, 503, "no_transport")
            assert int(response.headers["Retry-After"]) > 0
        body = client.get("/api/edge-functions/status").get_json()
        assert (body["transport"], body["fallback_reason"]) == (None, "no_transport")

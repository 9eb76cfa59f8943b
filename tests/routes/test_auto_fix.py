"""``/api/auto-fix``, through the real factory with an engine that has its own home and index."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.manifest import CORE, Blueprint
from app.settings.declarations import Mode, Settings
from app.telemetry.logs import ConsoleFormatter
from tests.conftest import World
from tests.support.http import (
    BEARER,
    HOSTILE_NAMES,
    SECRET,
    TOKEN,
    Build,
    assert_problem,
    fail,
)
from tests.support.import_hooks import MesonpyMetaFinder


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
        assert first.headers["Vary"] == "Accept, Authorization, Cookie"
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
        fail(client, critical=False)
        response = client.get("/api/auto-fix/health")
        assert response.status_code == 200
        body = response.get_json()
        assert body["overall_status"] == "degraded"
        assert body["errors_detected"] == [f"made_up: mend {SECRET}"]

    def test_unhealthy_is_503(self, client: FlaskClient) -> None:
        """A failed critical check makes it 503, which nobody may cache."""
        fail(client, critical=True)
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
        fail(client, critical=critical)
        response = self._get(client)
        body = json.loads(response.data)
        assert (response.status_code, body["status"], body["output"]) == (code, word, "made_up")
        assert body["checks"]["made_up"][0]["status"] == word
        assert body["checks"]["made_up"][0]["output"] == f"mend {SECRET}"
        assert body["notes"][0].startswith("1 of ")

    def test_details_need_the_token(self, guarded: FlaskClient) -> None:
        """Advice and what was measured are for those who have the token."""
        fail(guarded, critical=False)
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

    @pytest.mark.parametrize(
        "name",
        ["healable.part", "optional", "app.cli.group", "app.cli", "app.absent", "healable.no"],
    )
    def test_what_is_not_needed_is_looked_up(
        self, world: World, build: Build, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Neither a submodule nor an approved package that nothing needs is imported for a GET."""
        world.publish("healable")
        world.publish("optional")
        for package, files in (("healable", ("part",)), ("optional", ())):
            directory = world.root / "there" / package
            directory.mkdir(parents=True)
            for file in ("__init__", *files):
                (directory / f"{file}.py").write_text("raise SystemExit('was imported')")
        monkeypatch.syspath_prepend(str(world.root / "there"))
        client = build(AUTO_FIXER=world.fixer(required=["healable"])).test_client()
        client.get("/api/auto-fix/test-import?module=json")
        monkeypatch.delitem(sys.modules, name, raising=False)
        before = set(sys.modules)
        body = client.get(f"/api/auto-fix/test-import?module={name}").get_json()
        assert (body["success"], body["available"]) == (False, not name.endswith(("absent", "no")))
        assert set(sys.modules) == before

    def test_approved_and_needed(self, world: World, build: Build) -> None:
        """A package that the service is to have is imported, which tells whether it works."""
        world.publish("healable")
        fixer = world.fixer(required=["healable"])
        assert fixer.fix("healable").success
        sys.modules.pop("healable")
        client = build(AUTO_FIXER=fixer).test_client()
        body = client.get("/api/auto-fix/test-import?module=healable").get_json()
        assert (body["success"], body["type"]) == (True, "module")

    def test_only_an_import_would_tell(
        self, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a package that an import hook would build first, nobody says that it is not there."""
        hook = MesonpyMetaFinder("built", tmp_path / "built.py")
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, hook])
        body = client.get("/api/auto-fix/test-import?module=built").get_json()
        assert (body["success"], body["diagnosis"], "built" in hook.asked) == (False, None, False)
        assert "cannot be told without importing" in body["note"]

    def test_approved_and_of_use(self, world: World, build: Build) -> None:
        """So is one that a blueprint makes use of, although it can do without."""
        world.publish("healable")
        fixer = world.fixer(required=())
        assert fixer.fix("healable").success
        sys.modules.pop("healable")
        user = Blueprint("user", "app.routes.main", "main_bp", optional=("healable",))
        client = build(AUTO_FIXER=fixer, BLUEPRINTS=(*CORE, user)).test_client()
        body = client.get("/api/auto-fix/test-import?module=healable").get_json()
        assert (body["success"], body["type"]) == (True, "module")

    @pytest.mark.parametrize("name", ["app.__init__", "__main__", "json.__main__", "__future__"])
    def test_names_with_a_meaning_of_their_own(self, client: FlaskClient, name: str) -> None:
        """Importing one would run code that is loaded already, under another name."""
        response = client.get("/api/auto-fix/test-import", query_string={"module": name})
        assert_problem(response, 400, "invalid_module_name")

    @pytest.mark.parametrize("query", ["", "?module=", "?other=json", "?module"])
    def test_name_is_absent(self, client: FlaskClient, query: str) -> None:
        """Without a name it is 400 with an error."""
        response = client.get(f"/api/auto-fix/test-import{query}")
        assert_problem(response, 400, "module_required")

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_hostile_name(
        self, client: FlaskClient, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no module name is 400; nothing is imported and no log line is forged."""
        # The first limited request of a process imports what limits.
        client.get("/api/auto-fix/test-import?module=json")
        before = set(sys.modules)
        with caplog.at_level(logging.DEBUG):
            response = client.get("/api/auto-fix/test-import", query_string={"module": name})
        body = assert_problem(response, 400, "invalid_module_name")
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
        body = assert_problem(self._fix(guarded, "nosuchmodule"), 409, "not_approved")
        assert body["success"] is False
        assert body["diagnosis"]

    def test_failed_heal(self, world: World, build: Build) -> None:
        """A heal that fails is no success, and is counted as a failure."""
        world.publish("broken", files={"broken/__init__.py": "raise RuntimeError('canary')\n"})
        client = build(token=TOKEN).test_client()
        response = self._fix(client, "broken")
        body = assert_problem(response, 409, "probe_failed")
        assert body["success"] is False
        assert "canary" not in response.text
        assert client.get("/api/auto-fix/status").get_json()["failure_count"] == 1

    @pytest.mark.parametrize("mode", [Mode.REPORT, Mode.OFF])
    def test_mode(self, world: World, build: Build, mode: Mode) -> None:
        """Where healing is switched off that is the outcome, though a fix is approved."""
        world.publish("healable")
        client = build(token=TOKEN, AUTO_FIXER=world.fixer(mode=mode)).test_client()
        body = assert_problem(self._fix(client, "healable"), 409, "mode")
        assert body["diagnosis"]["fixable"] is True  # type: ignore[index]
        assert "healing is switched off" in str(body["detail"]).lower()
        assert world.index.requests == []

    def test_home_that_cannot_be_written(self, world: World, build: Build) -> None:
        """A home that cannot take a fix is the outcome mode, and no 500 anywhere."""
        world.publish("healable")
        file = world.root / "file"
        file.touch()
        client = build(token=TOKEN, AUTO_FIXER=world.fixer(home=file / "home")).test_client()
        assert_problem(self._fix(client, "healable"), 409, "mode")
        status = client.get("/api/auto-fix/status").get_json()
        assert (status["mode"], status["mode_reason"]) == ("report", "home_unwritable")

    def test_home_with_a_name_that_is_too_long(self, world: World, build: Build) -> None:
        """A name that no file system takes costs history alone: every page answers."""
        settings = replace(world.settings, home=world.root / ("x" * 300))
        fixer = world.fixer(home=settings.home)
        client = build(SETTINGS=Settings(healing=settings), AUTO_FIXER=fixer).test_client()
        for path in ("/metrics", "/api/auto-fix/status", "/api/auto-fix/health", "/", "/livez"):
            assert client.get(path).status_code == 200, path

    def test_no_token_configured(self, client: FlaskClient) -> None:
        """With no token configured every change is refused, whatever is sent."""
        assert_problem(self._fix(client, "json"), 403, "changes_disabled")

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer \xff\xfe"],
    )
    def test_wrong_token(self, guarded: FlaskClient, header: str) -> None:
        """Without the right bearer token it is 401, and says which scheme is wanted."""
        response = self._fix(guarded, "json", Authorization=header)
        assert_problem(response, 401, "token_required")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_hostile_name(self, world: World, guarded: FlaskClient, name: str) -> None:
        """What is no module name is 400, and the index is not asked."""
        assert_problem(self._fix(guarded, name), 400, "invalid_module_name")
        assert world.index.requests == []

    @pytest.mark.parametrize("name", ["", None, 7, ["json"], {"a": 1}])
    def test_name_is_absent(self, guarded: FlaskClient, name: object) -> None:
        """A body without a name is 400."""
        assert_problem(self._fix(guarded, name), 400, "module_required")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"null", b'"json"', b"\xff", b"module=json", b"[" * 10_000]
    )
    def test_no_json_object(self, guarded: FlaskClient, body: bytes) -> None:
        """A body that is no JSON object is 400."""
        response = guarded.post("/api/auto-fix/fix", data=body, headers=BEARER)
        assert_problem(response, 400, "invalid_json")

    def test_too_large(self, guarded: FlaskClient) -> None:
        """A body of a megabyte is 413."""
        assert_problem(self._fix(guarded, "x" * 1_000_000), 413, "content_too_large")

    def test_get_changes_nothing(self, guarded: FlaskClient) -> None:
        """The address answers GET with 405 and says what it takes."""
        response = guarded.get("/api/auto-fix/fix", headers=BEARER)
        assert_problem(response, 405, "method_not_allowed")
        assert "POST" in response.headers["Allow"]


class TestDetails:
    """With a token configured, details need it; the documented fields do not."""

    def test_health(self, guarded: FlaskClient) -> None:
        """Advice is for those who have the token; reason codes are for everybody."""
        fail(guarded, critical=False)
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
        fail(guarded, critical=False)
        assert SECRET not in guarded.get("/").text
        assert SECRET in guarded.get("/", headers=BEARER).text

    def test_edge_addresses(self, build: Build, tmp_path: Path) -> None:
        """The addresses of functions, and what is wrong with the file, need the token."""
        file = tmp_path / "functions.toml"
        file.write_text("[[function]]\nname = 'f'\nurl = 'https://f.example.com'\n")
        client = build(token=TOKEN, edge_file=file).test_client()
        assert "f.example.com" not in client.get("/api/edge-functions").text
        assert "f.example.com" in client.get("/api/edge-functions", headers=BEARER).text

"""The engine as the documentation promises it: each class is one promise."""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import app
from app import CannotServe, create_app
from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome
from app.manifest import Blueprint
from app.settings.declarations import PROJECT_ROOT, HealingSettings, Mode, Settings
from app.utils import auto_fix
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.support.blueprints import BLUEPRINTS


def run_python(code: str, **environ: str) -> str:
    """Run code in a fresh interpreter at the project's root and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestInitialization:
    """Creating an engine."""

    def test_defaults(self) -> None:
        """An engine allows three attempts and knows the approved requirements."""
        fixer = AutoFixer()
        assert fixer.max_retries == 3
        assert fixer.dependency_map["aiohttp"] == "aiohttp>=3.8.0"
        assert {"flask", "requests", "eventlet", "gunicorn", "redis", "psutil"} <= set(
            fixer.dependency_map
        )

    def test_touches_nothing(self, world: World) -> None:
        """Creating an engine makes no directory; its first import does."""
        fixer = world.fixer()
        assert not world.settings.home.exists()
        fixer.safe_import("json_that_is_not_there")
        assert world.settings.home.is_dir()

    def test_settings_come_from_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An engine without settings reads them from the environment when it needs them."""
        monkeypatch.setenv("AUTO_FIX_HOME", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("AUTO_FIX_MODE", "report")
        fixer = AutoFixer()
        assert fixer.settings.home == tmp_path / "elsewhere"
        assert fixer.mode is Mode.REPORT

    def test_instances_are_independent(self, world: World) -> None:
        """Two engines with different maps do not see each other's approvals."""
        world.publish("independent_one")
        other = AutoFixer(world.settings, dependency_map={})
        assert not other.safe_import("independent_one")[0]
        assert world.fixer().safe_import("independent_one")[0]

    def test_the_process_has_one(self) -> None:
        """The module's functions are those of the process's engine."""
        assert auto_fix.safe_import("json") == (True, json)
        assert auto_fix.resilient_import("app.kinds.dependency.requirements") is not None
        assert auto_fix.health_check.__doc__

    @pytest.mark.parametrize("module", ["app", "app.utils.auto_fix"])
    def test_importing_needs_no_third_party(self, module: str) -> None:
        """Importing the package or the engine loads the standard library and ``app`` alone."""
        code = (
            f"import sys; import {module}; allowed = set(sys.stdlib_module_names) | {{'app'}};"
            "print(sorted({n.partition('.')[0] for n in sys.modules} - allowed - before))"
        )
        before = "import sys; before = {n.partition('.')[0] for n in sys.modules}; "
        assert run_python(before + code) == "[]"

    def test_importing_starts_nothing(self, tmp_path: Path) -> None:
        """Importing the engine and the factory starts no thread and writes no file."""
        code = "import app, threading; print(threading.active_count())"
        assert run_python(code, AUTO_FIX_HOME=str(tmp_path / "home")) == "1"
        assert not (tmp_path / "home").exists()


class TestSafeImport:
    """Importing through the engine."""

    def test_loaded_module(self) -> None:
        """A module that is there is returned as Python would."""
        success, module = AutoFixer().safe_import("json")
        assert success
        assert module is json

    def test_missing_module(self, world: World) -> None:
        """A module that nobody approved gives False and None, and is diagnosed."""
        fixer = world.fixer()
        assert fixer.safe_import("no_such_module_here") == (False, None)
        report = fixer.import_report("no_such_module_here")
        assert report is not None
        assert report.diagnosis is not None
        assert report.diagnosis.cause == "missing_distribution"
        assert not report.diagnosis.fixable

    def test_relative_name(self) -> None:
        """A relative name is resolved against the package."""
        success, module = AutoFixer().safe_import(".requirements", package="app.kinds.dependency")
        assert success
        assert module is importlib.import_module("app.kinds.dependency.requirements")

    @pytest.mark.parametrize("name", ["", ".", "..x", "a..b", "--index-url=x", "../x", "os;rm"])
    def test_no_module_name(self, world: World, name: str) -> None:
        """What is no module name fails without an exception and without an install."""
        assert world.fixer().safe_import(name) == (False, None)
        assert world.index.requests == []

    @pytest.mark.parametrize("body", ["1/0", "import sys; sys.exit(3)", "def broken(:", "raise X"])
    def test_module_that_raises(self, world: World, tmp_path: Path, body: str) -> None:
        """Whatever a module raises while it is imported, the caller gets False and None."""
        (tmp_path / "raises_on_import.py").write_text(body)
        sys.path.insert(0, str(tmp_path))
        assert world.fixer().safe_import("raises_on_import") == (False, None)

    @pytest.mark.parametrize(
        ("message", "name"),
        [
            ("No module named 'aiohttp'", "aiohttp"),
            ("No module named aiohttp", "aiohttp"),
            ('No module named "aiohttp"', "aiohttp"),
            ("No module named 'aiohttp.web'; 'aiohttp' is not a package", "aiohttp.web"),
            ("No module named 'PIL'", "PIL"),
            ("cannot import name 'x' from 'y'", ""),
            ("", ""),
        ],
    )
    def test_extract_missing_module(self, message: str, name: str) -> None:
        """The missing module's name is read out of a message where that is all there is."""
        assert AutoFixer()._extract_missing_module(message) == name

    def test_pil_is_pillow(self) -> None:
        """A module whose distribution is called otherwise is explained by that name."""
        diagnosis = AutoFixer().examine("PIL").diagnosis
        assert diagnosis is not None
        assert diagnosis.distribution == "pillow"

    def test_wrapper_heals_and_calls_again(self, world: World) -> None:
        """A wrapped function that misses an approved module is called again once it is healed."""
        world.publish("lazily_wanted")
        calls = []

        def lazy(value: int) -> int:
            calls.append(value)
            importlib.import_module("lazily_wanted")
            return value + 1

        wrapped = world.fixer().create_graceful_import_wrapper(lazy)
        assert wrapped(1) == 2
        assert calls == [1, 1]
        assert wrapped.__name__ == "lazy"

    def test_wrapper_gives_up(self, world: World) -> None:
        """A wrapped function that misses what nobody approved returns None."""

        def lazy() -> None:
            importlib.import_module("never_approved_module")

        assert world.fixer().create_graceful_import_wrapper(lazy)() is None

    def test_wrapper_lets_other_errors_out(self, world: World) -> None:
        """An error that is no import error is none of the wrapper's business."""

        def fails() -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError):
            world.fixer().create_graceful_import_wrapper(fails)()


class TestDependencyInstallation:
    """Healing a missing dependency, with real wheels from a real index."""

    @pytest.mark.parametrize("tool", ["uv", "pip"])
    def test_heals(self, world: World, tool: str, caplog: pytest.LogCaptureFixture) -> None:
        """An approved module is installed, imported, counted and logged at INFO."""
        caplog.set_level(logging.INFO)
        world.publish("healable")
        fixer = world.fixer(tools=(tool,))
        success, module = fixer.safe_import("healable")
        assert success
        assert module is sys.modules["healable"]
        assert fixer.fix_attempts == {"healable": 1}
        assert fixer.status()["success_rate"] == 1.0
        healed = [record for record in caplog.records if record.message == "fault healed"]
        assert [record.levelname for record in healed] == ["INFO"]

    def test_installs_into_a_layer(self, world: World) -> None:
        """A fix lands in a directory of its own under the home, never in the base environment."""
        world.publish("layered")
        base = set(Path(sys.prefix).rglob("*layered*"))
        _, module = world.fixer().safe_import("layered")
        assert module is not None
        assert str(module.__file__).startswith(str(world.settings.home / "layers"))
        assert set(Path(sys.prefix).rglob("*layered*")) == base

    def test_brings_what_it_needs(self, world: World) -> None:
        """The locked closure is installed, and nothing else."""
        world.publish("leaf", needed_by=["trunk"])
        world.publish(
            "trunk", requires=["leaf"], files={"trunk/__init__.py": "from leaf import version\n"}
        )
        world.publish("bystander")
        fixer = world.fixer()
        assert fixer.safe_import("trunk")[0]
        assert [fix.installed for fix in fixer.fixes()] == [("leaf==1.0", "trunk==1.0")]
        assert not world.index.downloads("bystander")

    def test_dotted_name(self, world: World) -> None:
        """A submodule heals through its top-level package."""
        files = {"branchy/__init__.py": "", "branchy/twig.py": "found = True\n"}
        world.publish("branchy", files=files)
        success, module = world.fixer().safe_import("branchy.twig")
        assert success
        assert module is not None
        assert module.__name__ == "branchy.twig"

    def test_a_fix_survives_a_restart(self, world: World) -> None:
        """A new process uses what an earlier one healed without installing again."""
        world.publish("lasting")
        assert world.fixer().safe_import("lasting")[0]
        asked = len(world.index.requests)
        assert world.fixer().load("lasting") is not None
        code = (
            "from pathlib import Path; from app.utils.auto_fix import AutoFixer;"
            "from app.settings.declarations import HealingSettings;"
            f"s = HealingSettings(home=Path({str(world.settings.home)!r}),"
            f" lock=Path({str(world.settings.lock)!r}));"
            "print(AutoFixer(s, dependency_map={'lasting': 'lasting'}).safe_import('lasting')[0])"
        )
        assert run_python(code) == "True"
        assert len(world.index.requests) == asked

    def test_unapproved_is_never_installed(self, world: World) -> None:
        """A module that is on the index and in the lock but not in the map stays away."""
        world.publish("unapproved", approved=False)
        fixer = world.fixer()
        assert fixer.safe_import("unapproved") == (False, None)
        assert fixer.fix("unapproved").success is False
        assert not fixer._try_fix_import_error("unapproved", "No module named 'unapproved'")
        assert world.index.requests == []

    @pytest.mark.parametrize("name", ["ours", "ours.part", "app.not_there", "distutils_x", "this"])
    def test_first_party_and_stdlib_are_never_installed(self, world: World, name: str) -> None:
        """The project's own names and the standard library's are no business of an index."""
        world.publish("ours")
        fixer = world.fixer()
        fixer._try_fix_import_error(name, f"No module named {name!r}")
        assert world.index.requests == []

    def test_budget(self, world: World) -> None:
        """After three failures the index is left alone until the pause is over."""
        world.publish("absent_here")
        next(world.index.directory.iterdir()).unlink()
        fixer = world.fixer()
        for _ in range(3):
            report = fixer.import_module("absent_here")
            assert report.result is not None
            assert report.result.outcome is InstallOutcome.NOT_FOUND
        asked = len(world.index.requests)
        report = fixer.import_module("absent_here")
        assert report.result is not None
        assert report.result.outcome is Outcome.BUDGET
        assert report.result.retry_after > 0
        assert len(world.index.requests) == asked
        assert fixer.fix_attempts == {"absent_here": 3}

    def test_reset(self, world: World) -> None:
        """A reset gives the whole budget back."""
        world.publish("resettable")
        wheel = next(world.index.directory.iterdir())
        away = wheel.rename(world.root / wheel.name)
        fixer = world.fixer()
        for _ in range(4):
            fixer.safe_import("resettable")
        away.rename(wheel)
        assert not fixer.safe_import("resettable")[0]
        fixer.reset("resettable")
        assert fixer.safe_import("resettable")[0]

    def test_report_mode(self, world: World) -> None:
        """In report mode the diagnosis is made and nothing is installed."""
        world.publish("reported")
        fixer = world.fixer(mode=Mode.REPORT)
        report = fixer.import_module("reported")
        assert report.diagnosis is not None
        assert report.diagnosis.fixable
        assert world.index.requests == []

    def test_off_mode(self, world: World) -> None:
        """Switched off, not even earlier fixes are loaded."""
        world.publish("switched")
        assert world.fixer().safe_import("switched")[0]
        code = (
            "import os; from app.utils.auto_fix import AutoFixer;"
            "print(AutoFixer(dependency_map={'switched': 'switched'}).safe_import('switched')[0])"
        )
        environ = {
            "AUTO_FIX_HOME": str(world.settings.home),
            "AUTO_FIX_LOCK": str(world.settings.lock),
        }
        assert run_python(code, **environ) == "True"
        assert run_python(code, **environ, AUTO_FIX_MODE="off") == "False"

    def test_unwritable_home(
        self, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A home that cannot be written turns healing into reporting, said once at WARNING."""
        (tmp_path / "file").touch()
        world.publish("homeless")
        fixer = world.fixer(home=tmp_path / "file" / "home")
        assert fixer.safe_import("homeless") == (False, None)
        assert fixer.safe_import("homeless") == (False, None)
        assert fixer.mode is Mode.REPORT
        event = "the auto-fix home cannot be written, nothing will be healed"
        assert [r.levelname for r in caplog.records if r.message == event] == ["WARNING"]
        assert world.index.requests == []

    def test_no_installer(self, world: World) -> None:
        """With neither uv nor pip the failure says so."""
        world.publish("toolless")
        report = world.fixer(tools=()).import_module("toolless")
        assert report.result is not None
        assert report.result.outcome is InstallOutcome.INSTALLER_MISSING

    def test_another_version_is_installed(self, world: World) -> None:
        """A fix that would change an installed distribution is refused: it needs a restart."""
        world.publish("pytest", "0.0.1", needed_by=["wants_old_pytest"])
        world.publish("wants_old_pytest", files={"wants_old_pytest.py": "x = 1\n"})
        report = world.fixer().import_module("wants_old_pytest")
        assert report.result is not None
        assert report.result.outcome is Outcome.NEEDS_RESTART
        assert world.index.requests == []


class TestHealthCheck:
    """What the engine says of the system."""

    def test_fields(self, world: World) -> None:
        """The report has the documented fields."""
        body = world.fixer().check_and_fix_system_health()
        assert body["overall_status"] == "healthy"
        assert {"timestamp", "checks_performed", "fixes_applied", "errors_detected"} <= set(body)
        counters = body["auto_fixer"]
        assert isinstance(counters, dict)
        assert counters["max_retries"] == 3
        assert counters["fix_attempts"] == {}
        assert counters["available_fixes"] == 0

    def test_heals(self, world: World) -> None:
        """A required dependency that is missing is healed, and the fix is listed."""
        world.publish("needful")
        fixer = world.fixer(required=["needful"])
        assert str(fixer.health_report().overall_status) == "degraded"
        body = fixer.check_and_fix_system_health()
        assert body["overall_status"] == "healthy"
        assert body["checks_performed"] == ["dependency_needful"]
        assert body["fixes_applied"] == ["needful: installed needful==1.0"]

    def test_degraded(self, world: World) -> None:
        """What cannot be healed is an error that says what to do."""
        world.publish("hopeless")
        next(world.index.directory.iterdir()).unlink()
        body = world.fixer(required=["hopeless"]).check_and_fix_system_health()
        assert body["overall_status"] == "degraded"
        said = (
            "dependency_hopeless: hopeless is not installed; it is in the lock as hopeless 1.0;"
            " the last attempt to heal it failed:"
            " the index or wheelhouse does not have the locked version"
        )
        assert body["errors_detected"] == [said]

    def test_critical(self, world: World) -> None:
        """A critical dependency that is missing makes the system unhealthy."""
        fixer = AutoFixer(
            world.settings,
            dependency_map={"vital_part": "vital-part"},
            required=["vital_part"],
            critical=["vital_part"],
        )
        assert fixer.check_and_fix_system_health()["overall_status"] == "unhealthy"

    def test_watched_module(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """A blueprint module that fails to import is a check of its own, logged by its weight."""
        fixer = world.fixer()
        assert fixer.resilient_blueprint_import("app.routes.not_there", critical=True) is None
        (check,) = fixer.health_report().checks
        assert check.name == "module_app_routes_not_there"
        assert check.reason == "first_party_missing"
        assert str(fixer.health_report().overall_status) == "unhealthy"
        records = [r for r in caplog.records if r.message == "module cannot be imported"]
        assert [record.levelname for record in records] == ["ERROR"]


def flask_app(world: World, **config: object) -> Flask:
    """Build the application on an engine of the test's own."""
    fixer = AutoFixer(world.settings)
    settings = Settings(healing=world.settings)
    return create_app({"TESTING": True, "SETTINGS": settings, "AUTO_FIXER": fixer, **config})


class TestFlaskIntegration:
    """The factory and its manifest."""

    def test_registers_every_blueprint(self, world: World) -> None:
        """All of the manifest is registered."""
        application = flask_app(world)
        assert {spec.name for spec in BLUEPRINTS} <= set(application.blueprints)
        assert all(state.active for state in application.extensions["blueprints"])

    def test_default_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a test configuration the environment's settings are used."""
        monkeypatch.setenv("AUTO_FIX_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("AUTO_FIX_TOKEN", "secret-for-this-test")
        application = create_app()
        assert not application.testing
        assert application.config["SETTINGS"].token == "secret-for-this-test"  # noqa: S105

    def test_one_failing_blueprint_stops_no_other(
        self, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A blueprint that cannot be imported or registered is left out, the rest serves."""
        (tmp_path / "bp_raises.py").write_text("1/0\n")
        (tmp_path / "bp_empty.py").write_text("")
        (tmp_path / "bp_double.py").write_text(
            "from flask import Blueprint\nbp = Blueprint('health', __name__)\n"
        )
        sys.path.insert(0, str(tmp_path))
        extra = [
            Blueprint("raises", "bp_raises", "bp"),
            Blueprint("empty", "bp_empty", "bp"),
            Blueprint("double", "bp_double", "bp"),
        ]
        application = flask_app(world, BLUEPRINTS=(*extra[:2], *BLUEPRINTS, extra[2]))
        client = application.test_client()
        assert client.get("/livez").status_code == 200
        health = client.get("/api/auto-fix/health").json
        assert health is not None
        assert health["overall_status"] == "degraded"
        inactive = {s.name: s.reason for s in application.extensions["blueprints"] if not s.active}
        assert inactive == {
            "raises": "code_error",
            "empty": "blueprint_missing",
            "double": "registration_failed",
        }
        assert "health checked after registration" in caplog.text or caplog.records

    def test_heals_a_blueprint(self, world: World, tmp_path: Path) -> None:
        """A blueprint whose dependency is missing and approved is served after one heal."""
        world.publish("bp_dependency")
        (tmp_path / "bp_wanting.py").write_text(
            "import bp_dependency\nfrom flask import Blueprint\n"
            "bp = Blueprint('wanting', __name__)\n"
            "bp.get('/wanting')(lambda: bp_dependency.version)\n"
        )
        sys.path.insert(0, str(tmp_path))
        spec = Blueprint("wanting", "bp_wanting", "bp")
        application = flask_app(world, AUTO_FIXER=world.fixer(), BLUEPRINTS=(spec,))
        assert application.test_client().get("/wanting").text == "1.0"

    def test_health_is_logged_after_registration(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The health check after registration is logged at INFO."""
        caplog.set_level(logging.INFO, logger=app.__name__)
        flask_app(world)
        assert "health checked after registration" in [r.message for r in caplog.records]

    def test_missing_flask_that_cannot_be_healed(self, tmp_path: Path) -> None:
        """Without Flask and without a way to heal it, the factory says so in one sentence."""
        code = (
            "import sys; sys.modules['flask'] = None\n"
            "from app import create_app, CannotServe\n"
            "try: create_app()\n"
            "except CannotServe as error: print(error)\n"
        )
        environ = {"AUTO_FIX_HOME": str(tmp_path), "AUTO_FIX_MODE": "report"}
        assert run_python(code, **environ).startswith("Flask cannot be imported: ")
        assert issubclass(CannotServe, Exception)


@pytest.fixture
def client(world: World) -> FlaskClient:
    """Give a client of an application on an engine of its own."""
    return flask_app(world).test_client()


class TestAPI:
    """The four documented GETs (more of them in test_http.py)."""

    def test_health(self, client: FlaskClient) -> None:
        """Health answers 200 with the documented fields and check names."""
        response = client.get("/api/auto-fix/health")
        assert response.status_code == 200
        body = response.json
        assert body is not None
        assert body["overall_status"] == "healthy"
        assert {"dependency_flask", "module_app_routes_health"} <= set(body["checks_performed"])
        assert body["auto_fixer"]["available_fixes"] == len(AutoFixer().dependency_map)

    def test_status(self, client: FlaskClient) -> None:
        """Status answers with counters and the allow-list."""
        body = client.get("/api/auto-fix/status").json
        assert body is not None
        assert body["max_retries"] == 3
        assert body["dependency_map_size"] == len(body["available_dependencies"])
        assert "aiohttp" in body["available_dependencies"]

    def test_import_of_a_loaded_module(self, client: FlaskClient) -> None:
        """A module that imports is reported so."""
        body = client.get("/api/auto-fix/test-import?module=flask").json
        assert body is not None
        assert (body["module"], body["success"], body["available"]) == ("flask", True, True)
        assert body["type"] == "module"

    def test_import_of_a_missing_module(self, client: FlaskClient) -> None:
        """A module that does not import answers 200 with a diagnosis."""
        response = client.get("/api/auto-fix/test-import?module=nonexistent_module")
        assert response.status_code == 200
        assert response.json is not None
        assert response.json["success"] is False
        assert response.json["diagnosis"]["cause"] == "missing_distribution"

    def test_import_executes_no_stranger(self, client: FlaskClient) -> None:
        """A module that is neither loaded nor approved is looked up and not imported."""
        sys.modules.pop("antigravity", None)
        body = client.get("/api/auto-fix/test-import?module=antigravity").json
        assert body is not None
        assert body["available"] is True
        assert body["success"] is False
        assert "antigravity" not in sys.modules

    def test_import_runs_no_parent(self, client: FlaskClient, tmp_path: Path) -> None:
        """Looking up a submodule does not run its parent package either."""
        (tmp_path / "parent_pkg").mkdir()
        (tmp_path / "parent_pkg" / "__init__.py").write_text("raise SystemExit\n")
        (tmp_path / "parent_pkg" / "child.py").write_text("")
        sys.path.insert(0, str(tmp_path))
        body = client.get("/api/auto-fix/test-import?module=parent_pkg.child").json
        assert body is not None
        assert body["available"] is True
        assert "parent_pkg" not in sys.modules

    @pytest.mark.parametrize("query", ["", "?module=", "?module=../x", "?module=os%3Brm", "?x=1"])
    def test_import_of_no_module_name(self, client: FlaskClient, query: str) -> None:
        """What is no module name answers 400 with ``error``."""
        response = client.get(f"/api/auto-fix/test-import{query}")
        assert response.status_code == 400
        assert response.json is not None
        assert response.json["error"]

    def test_a_get_never_installs(self, world: World) -> None:
        """Testing the import of an approved module that is missing installs nothing."""
        world.publish("get_never_installs")
        application = flask_app(world, AUTO_FIXER=world.fixer())
        body = (
            application.test_client()
            .get("/api/auto-fix/test-import?module=get_never_installs")
            .json
        )
        assert body is not None
        assert body["success"] is False
        assert body["diagnosis"]["fixable"] is True
        assert world.index.requests == []

    def test_forced_health_check(self, client: FlaskClient) -> None:
        """A forced check has the fields of health and is newer than what was cached."""
        first = client.get("/api/auto-fix/health").json
        forced = client.get("/api/auto-fix/force-health-check").json
        assert first is not None
        assert forced is not None
        assert forced["timestamp"] >= first["timestamp"]
        assert set(first) == set(forced)


def test_threads_share_one_engine(world: World) -> None:
    """Eight threads that miss the same module at once cause one install."""
    world.publish("shared_by_threads")
    fixer = world.fixer()
    barrier = threading.Barrier(8)
    results: list[bool] = []

    def miss() -> None:
        barrier.wait()
        results.append(fixer.safe_import("shared_by_threads")[0])

    threads = [threading.Thread(target=miss) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8
    assert fixer.fix_attempts == {"shared_by_threads": 1}
    assert len(world.index.downloads("shared-by-threads")) == 1


def test_settings_default_to_the_project() -> None:
    """Without settings the home and the lock lie beside the application."""
    defaults = HealingSettings()
    assert defaults.home == PROJECT_ROOT / "instance" / "auto-fix"
    assert defaults.lock == PROJECT_ROOT / "requirements-flask.lock"

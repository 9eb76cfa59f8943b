"""A need that comes and goes stops the requests of who needs it, and nothing else."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app import create_app
from app.manifest import CORE, Blueprint
from app.settings.declarations import Settings
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.counter import CounterKind
from tests.support.http import assert_problem
from tests.support.processes import wait_until

#: Reads its tenant, as many do, before any hook; and fails as a lost database does.
ORDERS = """\
import flask

bp = flask.Blueprint("orders_of_shop", __name__)
inner = flask.Blueprint("inner", __name__, url_prefix="/inner")
asked = []


@bp.app_url_value_preprocessor
@bp.before_app_request
def note(*_):
    asked.append(flask.request.path)


@bp.get("/")
def orders():
    return {"asked": len(asked)}


@inner.get("/")
def lines():
    return {}


@bp.get("/fails/<word>")
def fails(word):
    raise LookupError(word)


@bp.get("/breaks")
def breaks():
    raise ArithmeticError


bp.register_blueprint(inner)
"""
PLAIN = """\
import flask

bp = flask.Blueprint("plain", __name__)
bp.get("/")(lambda: "plain")


@bp.before_app_request
def look():
    if "lost" in flask.request.args:
        raise LookupError("doors")
"""


class ComingKind(CounterKind):
    """Counters that come and go; ``doors`` can be critical."""

    gates = True
    critical = False

    def subjects(self) -> dict[str, bool]:
        """Those that are watched."""
        return {name: self.critical and name == "doors" for name in self.names}

    def vanish(self, name: str = "doors") -> None:
        """From now on it is no number, and nobody may mend it."""
        (self.directory / f"{name}.sealed").touch()
        (self.directory / f"{name}.count").write_text("many")

    def come(self, name: str = "doors") -> None:
        """From now on it is one again."""
        (self.directory / f"{name}.count").write_text("7")
        (self.directory / f"{name}.sealed").unlink()


@pytest.fixture
def counters(tmp_path: Path) -> ComingKind:
    """Two counters that are there."""
    directory = tmp_path / "counters"
    directory.mkdir()
    for name in ("doors", "steps"):
        (directory / f"{name}.count").write_text("7")
    return ComingKind(directory, "doors", "steps")


Build = Callable[..., Flask]


@pytest.fixture
def build(
    world: World, counters: ComingKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Build:
    """Builds an application of a blueprint that needs both counters, and of one that needs none."""
    fixer = world.fixer()
    fixer.add_kind(counters)
    code = tmp_path / "code"
    code.mkdir()
    monkeypatch.syspath_prepend(str(code))

    def create(name: str, *, gate: bool = True) -> Flask:
        (code / f"{name}.py").write_text(ORDERS)
        (code / f"{name}_plain.py").write_text(PLAIN)
        needs = {"counters": ("doors", "steps")}
        orders = Blueprint("orders", name, "bp", "/orders", needs=needs, gate=gate)
        plain = Blueprint("plain", f"{name}_plain", "bp", "/plain")
        given = {"SETTINGS": Settings(healing=world.settings), "AUTO_FIXER": fixer}
        return create_app({**given, "BLUEPRINTS": (*CORE, orders, plain)})

    return create


def ask(app: Flask, path: str, method: str = "GET") -> TestResponse:
    """Send one request to the application."""
    return app.test_client().open(path, method=method)


class TestGate:
    """While something is not there that comes and goes."""

    def test_stops_its_requests_alone(self, build: Build, counters: ComingKind) -> None:
        """All its rules answer 503 before any code of the blueprint runs, until it has come."""
        app = build("gated")
        assert ask(app, "/orders/").status_code == 200
        for lost in ("doors", "steps"):
            counters.vanish(lost)
            before = ask(app, "/plain/").text, len(_asked("gated"))
            for path in ("/orders/", "/orders/inner/", "/orders/breaks"):
                answer = ask(app, path)
                body = assert_problem(answer, 503, "garbled")
                assert body["blueprint"] == "orders"
                assert int(answer.headers["Retry-After"]) > 0
            assert (before[0], len(_asked("gated"))) == ("plain", before[1])
            assert ask(app, "/orders/unknown").status_code == 404
            assert ask(app, "/livez").status_code == 200
            counters.come(lost)
            assert ask(app, "/orders/").status_code == 200

    def test_the_blueprint_stays(self, build: Build, counters: ComingKind) -> None:
        """It is imported and serves without what it needs: nothing is rebuilt when that comes."""
        counters.vanish()
        app = build("absent")
        assert_problem(ask(app, "/orders/"), 503, "garbled")
        state = ask(app, "/api/auto-fix/status").get_json()
        assert state["blueprints"]["orders"]["active"] is True
        (fault,) = [each for each in state["faults"] if each["kind"] == "counter"]
        assert fault["needed_by"] == ["absent"]
        counters.come()
        assert ask(app, "/orders/").status_code == 200

    def test_without_a_gate(self, build: Build, counters: ComingKind) -> None:
        """A blueprint of the manifest may wish to answer for itself."""
        app = build("open_to_all", gate=False)
        counters.vanish()
        assert ask(app, "/orders/").status_code == 200

    @pytest.mark.parametrize(
        ("critical", "overall", "ready"), [(False, "degraded", 200), (True, "unhealthy", 503)]
    )
    def test_health(
        self, build: Build, counters: ComingKind, overall: str, ready: int, *, critical: bool
    ) -> None:
        """What is not critical degrades the service; what is makes it unhealthy and not ready."""
        counters.critical = critical
        app = build(f"health_{critical}")
        assert ask(app, "/readyz").status_code == 200
        counters.vanish()
        body = ask(app, "/api/auto-fix/force-health-check").get_json()
        assert body["overall_status"] == overall
        assert body["checks"]["counter_doors"]["reason"] == "garbled"
        assert ask(app, "/readyz").status_code == ready


class TestErrors:
    """Exceptions that escape the code of a blueprint."""

    @pytest.fixture
    def app(self, build: Build, tmp_path: Path) -> Flask:
        """One whose blueprint has no gate, so that its code runs."""
        made = build(tmp_path.name, gate=False)
        made.config["PROPAGATE_EXCEPTIONS"] = False
        return made

    def test_one_that_a_kind_explains(
        self, app: Flask, counters: ComingKind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is the 503 of the gate, and the fault is mended in the background."""
        (counters.directory / "doors.count").write_text("many")
        caplog.set_level(logging.ERROR)
        answer = ask(app, "/orders/fails/doors")
        assert_problem(answer, 503, "garbled")
        assert int(answer.headers["Retry-After"]) > 0
        assert "request misses what it needs" in caplog.text
        wait_until(lambda: counters.repairs == 1)
        fixer: AutoFixer = app.extensions["auto_fixer"]
        wait_until(lambda: not fixer.faults())

    @pytest.mark.parametrize("path", ["/orders/breaks", "/orders/fails/doors"])
    def test_one_that_nobody_explains(self, app: Flask, path: str) -> None:
        """It stays an error of the code."""
        assert_problem(ask(app, path), 500, "internal_error")

    def test_one_of_a_hook(self, app: Flask, counters: ComingKind) -> None:
        """It says what is missing, and not that the hook is to be mended."""
        counters.vanish()
        assert_problem(ask(app, "/plain/?lost"), 503, "garbled")
        health = ask(app, "/api/auto-fix/force-health-check").get_json()
        assert "blueprint_plain" not in health["checks"]


def _asked(name: str) -> list[str]:
    asked: list[str] = sys.modules[name].asked
    return asked

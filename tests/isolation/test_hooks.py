"""Application-wide hooks and rules of one blueprint cost no other one, and no core address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.isolation.states import HOOK_SECONDS, BlueprintBoard, BlueprintState
from app.manifest import Blueprint
from app.services import Services
from app.settings.declarations import Settings
from tests.conftest import World
from tests.serving.house import House, working
from tests.support.blueprints import BLUEPRINTS
from tests.support.clock import Clock

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

Build = Callable[..., "Flask"]
CORE = ("/livez", "/readyz", "/startupz", "/healthz", "/metrics", "/api/auto-fix/status")
#: What raises for every request, by the way in which it is registered.
RAISING = {
    "before": "bp.before_app_request(fail)",
    "after": "bp.after_app_request(fail)",
    "values": "bp.app_url_value_preprocessor(fail)",
    "recorded": "bp.record(lambda state: state.app.before_request(fail))",
    "exits": "bp.before_app_request(lambda: sys.exit(3))",
}
TAKING_OVER = """
bp.before_app_request(lambda: "taken over")
bp.app_errorhandler(404)(lambda error: ("taken over", 200))
bp.app_errorhandler(405)(lambda error: ("taken over", 200))

@bp.after_app_request
def tell(response):
    response.headers["X-Red"] = "was here"
    return response
"""
PLAIN = """from flask import Blueprint
bp = Blueprint("red", __name__)
"""
HEAD = """
import sys
def fail(*_):
    raise RuntimeError("hook")
"""


@pytest.fixture
def build(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build an application in this process from the project's manifest and blueprints given."""
    monkeypatch.syspath_prepend(str(tmp_path / "house"))

    def create(house: House, *, first: bool = False) -> Flask:
        own = tuple(Blueprint(**spec) for spec in house.specs)
        manifest = (*own, *BLUEPRINTS) if first else (*BLUEPRINTS, *own)
        settings = Settings(healing=world.settings)
        given = {"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "BLUEPRINTS": manifest}
        return create_app(given)

    return create


def ask(app: Flask, path: str, method: str = "GET") -> TestResponse:
    """Send one request to the application in this process."""
    return app.test_client().open(path, method=method)


def checks(app: Flask) -> dict[str, str | None]:
    """The blueprints' failing checks, and their reasons."""
    services: Services = app.extensions["services"]
    return {check.name: check.reason for check in services.board.checks()}


class TestHooks:
    """Hooks for all requests."""

    @pytest.mark.parametrize("hook", RAISING.values(), ids=RAISING)
    def test_one_that_raises(self, house: House, build: Build, hook: str) -> None:
        """It is answered 503 with its blueprint's name, and never runs at a core address."""
        house.add("red", f"{HEAD}{working('red')}\n{hook}\n")
        house.add("green", working("green"))
        app = build(house)
        assert {ask(app, path).status_code for path in CORE} == {200}
        for path in ("/green", "/red", "/"):
            answer = ask(app, path)
            assert answer.status_code == 503
            assert answer.content_type == "application/problem+json"
            assert answer.get_json()["code"] == "hook_failed"
            assert answer.get_json()["blueprint"] == "red"
            assert int(answer.headers["Retry-After"]) > 0
        assert checks(app) == {"blueprint_red": "hook_failed"}
        counted = 'blueprint_hook_failures_total{blueprint="red"} '
        assert counted in ask(app, "/metrics").text
        assert {ask(app, path).status_code for path in CORE} == {200}

    def test_an_error_handler_that_raises(self, house: House, build: Build) -> None:
        """It costs the requests that it handles, and none at a core address."""
        house.add("red", f"{HEAD}{working('red')}\nbp.app_errorhandler(404)(fail)\n")
        app = build(house)
        assert ask(app, "/nowhere").get_json()["code"] == "hook_failed"
        assert ask(app, "/api/auto-fix/nowhere").status_code == 404
        assert ask(app, "/red").status_code == 200

    def test_an_error_handler_that_hands_on(self, house: House, build: Build) -> None:
        """A view's own error stays that view's, whichever handler it went through."""
        code = f"{HEAD}{working('red')}\n@bp.app_errorhandler(KeyError)\ndef on(error):\n"
        house.add("red", f"{code}    raise error\n\nbp.get('/fails')(lambda: {{}}['x'])\n")
        app = build(house)
        app.config["PROPAGATE_EXCEPTIONS"] = False
        assert ask(app, "/red/fails").get_json()["code"] == "internal_server_error"
        assert checks(app) == {}

    @pytest.mark.parametrize("hook", ["teardown_app_request", "record"])
    def test_a_teardown_that_raises(self, house: House, build: Build, hook: str) -> None:
        """The answer has been decided by then: it stands, and the fault is shown."""
        ways = {
            "teardown_app_request": "bp.teardown_app_request(fail)",
            "record": "bp.record(lambda state: state.app.teardown_appcontext(fail))",
        }
        house.add("red", f"{HEAD}{working('red')}\n{ways[hook]}\n")
        app = build(house)
        assert {ask(app, path).status_code for path in CORE} == {200}
        assert checks(app) == {}
        assert ask(app, "/red").text == "red"
        assert checks(app) == {"blueprint_red": "hook_failed"}

    def test_a_context_processor_that_raises(self, house: House, build: Build) -> None:
        """Whoever renders a page is answered 503 with the name of the one that failed."""
        house.add("red", f"{HEAD}{working('red')}\nbp.app_context_processor(fail)\n")
        render = 'from flask import render_template_string\nbp.get("/page")('
        house.add("green", f"{working('green')}\n{render}lambda: render_template_string('x'))\n")
        app = build(house)
        assert ask(app, "/green/page").get_json()["blueprint"] == "red"
        assert ask(app, "/green").status_code == 200

    def test_those_that_take_over(self, house: House, build: Build) -> None:
        """Elsewhere they run as Flask says; a core address answers as if they were not there."""
        house.add("red", working("red") + TAKING_OVER)
        app = build(house, first=True)
        for path in CORE:
            answer = ask(app, path)
            assert (answer.status_code, answer.text != "taken over") == (200, True)
            assert "X-Red" not in answer.headers
        assert ask(app, "/api/auto-fix/nowhere").status_code == 404
        assert ask(app, "/livez", "POST").status_code == 405
        answer = ask(app, "/red")
        assert (answer.text, answer.headers["X-Red"]) == ("taken over", "was here")

    def test_what_they_refuse_is_no_fault(self, house: House, build: Build) -> None:
        """A hook that guards with abort() is obeyed, and nothing is shown or counted."""
        guard = "from flask import abort\nbp.before_app_request(lambda: abort(403))\n"
        house.add("red", f"{working('red')}\n{guard}")
        app = build(house)
        assert ask(app, "/").status_code == 403
        assert ask(app, "/livez").status_code == 200
        assert checks(app) == {}

    def test_it_is_mended_when_it_has_not_raised_for_a_while(self) -> None:
        """The first failure after such a while is told anew."""
        clock = Clock()
        board = BlueprintBoard(clock=clock)
        board.states = (BlueprintState.of(Blueprint("red", "bp_red", "bp")),)
        assert board.hook_failed("red")
        clock.now += HOOK_SECONDS - 1
        assert not board.hook_failed("red")
        clock.now += HOOK_SECONDS - 1
        assert [check.reason for check in board.checks()] == ["hook_failed"]
        clock.now += 1
        assert board.checks() == []
        assert board.hook_failed("red")

    def test_in_a_served_application(self, house: House) -> None:
        """The service is alive and ready, and names the blueprint whose hook fails."""
        house.add("red", f"{HEAD}{working('red')}\n{RAISING['before']}\n", critical=True)
        house.add("green", working("green"))
        with house.serve(workers=1) as server:
            assert server.get("/green").json()["blueprint"] == "red"
            assert {server.get(path).status for path in CORE} == {200}


class TestAddresses:
    """Rules of several blueprints for one address."""

    @pytest.mark.parametrize("rule", [*CORE, "/livez/", "/api/auto-fix/<x>", "/api/auto-fix"])
    @pytest.mark.parametrize("first", [True, False])
    def test_core_addresses_cannot_be_taken(
        self, house: House, build: Build, rule: str, *, first: bool
    ) -> None:
        """Whoever wants one is isolated, wherever it stands in the manifest."""
        take = f"bp.add_url_rule({rule!r}, 'take', lambda x='': 'taken over', methods=['GET'])\n"
        house.add("red", PLAIN + take, prefix=None, paths=("/red",))
        app = build(house, first=first)
        assert {ask(app, path).status_code for path in CORE} == {200}
        assert ask(app, "/livez").text == "alive\n"
        state = ask(app, "/api/auto-fix/status").get_json()["blueprints"]["red"]
        assert state["reason"] == "address_taken"
        assert rule in state["advice"]
        assert checks(app) == {"blueprint_red": "address_taken"}
        assert ask(app, "/red").get_json()["code"] == "address_taken"

    def test_a_rule_for_any_path(self, house: House, build: Build) -> None:
        """It is served, and never at a core address."""
        code = "bp.add_url_rule('/<path:x>', 'any', lambda x: 'any', methods=['GET', 'POST'])\n"
        house.add("red", PLAIN + code, prefix=None)
        app = build(house, first=True)
        assert ask(app, "/anything/else").text == "any"
        assert ask(app, "/api/auto-fix/nowhere").status_code == 404
        assert ask(app, "/livez").text == "alive\n"
        assert ask(app, "/livez", "POST").status_code == 404
        assert checks(app) == {}

    def test_the_first_keeps_an_address(self, house: House, build: Build) -> None:
        """The later one serves its other addresses, and its check names what it lost."""
        for name in ("red", "green"):
            code = "bp.add_url_rule('/orders/<int:ID>', 'orders', lambda **_: bp.name)\n"
            house.add(name, working(name) + code.replace("ID", name), prefix="/shop")
        app = build(house)
        assert ask(app, "/shop/orders/1").text == "red"
        assert ask(app, "/shop").text == "red"
        assert checks(app) == {"blueprint_green": "address_collision"}
        (check,) = app.extensions["services"].board.checks()
        assert "/shop/orders/<int:green>" in check.advice
        assert not check.critical

    def test_another_method_is_no_collision(self, house: House, build: Build) -> None:
        """One blueprint reads an address, another one writes it."""
        house.add("red", working("red"), prefix="/shop")
        code = "from flask import Blueprint\nbp = Blueprint('green', __name__)\n"
        house.add("green", f"{code}bp.post('')(lambda: 'green')\n", prefix="/shop")
        app = build(house)
        assert ask(app, "/shop").text == "red"
        assert ask(app, "/shop", "POST").text == "green"
        assert checks(app) == {}

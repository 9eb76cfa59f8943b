"""A blueprint that cannot serve says so, on all of its paths and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from app import create_app
from app.manifest import Blueprint
from app.settings.declarations import Settings
from tests.conftest import World
from tests.serving.house import House, working
from tests.support.blueprints import BLUEPRINTS
from tests.support.processes import http_request, wait_until

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

Build = Callable[..., "Flask"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE")


@pytest.fixture
def build(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build an application in this process from the project's manifest and blueprints given."""
    monkeypatch.syspath_prepend(str(tmp_path / "house"))

    def create(house: House, *, token: str | None = None) -> Flask:
        own = (*BLUEPRINTS, *(Blueprint(**spec) for spec in house.specs))
        settings = Settings(healing=world.settings, token=token)
        return create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer(), "BLUEPRINTS": own})

    return create


def ask(app: Flask, path: str, method: str = "GET") -> TestResponse:
    """Send one request to the application in this process."""
    return app.test_client().open(path, method=method)


def reason(app: Flask, name: str) -> object:
    """Why a blueprint is in quarantine; None when it is not."""
    return ask(app, "/api/auto-fix/status").get_json()["blueprints"][name]["reason"]


class TestAnswers:
    """What a client gets."""

    @pytest.fixture
    def app(self, house: House, build: Build) -> Flask:
        """An application with a blueprint that needs what nobody has."""
        house.needs("red", "absent_thing")
        return build(house)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("path", ["/red", "/red/", "/red/pid", "/red/no/such/path", "/red?a=1"])
    def test_503_with_a_reason_and_a_way_on(self, app: Flask, method: str, path: str) -> None:
        """Every method on every path below the prefix gets the reason, and when to ask again."""
        response = ask(app, path, method)
        assert response.status_code == 503
        assert response.content_type == "application/problem+json"
        assert int(response.headers["Retry-After"]) > 0
        if method != "HEAD":
            assert response.get_json()["code"] == "missing_distribution"
            assert response.get_json()["blueprint"] == "red"
            assert ask(app, response.get_json()["state"]).status_code == 200

    @pytest.mark.parametrize("path", ["/redder", "/re", "/x/red", "/%2e/red"])
    def test_other_paths_are_not_its_own(self, app: Flask, path: str) -> None:
        """What only resembles the prefix is answered as before."""
        assert ask(app, path).status_code == 404

    @pytest.mark.parametrize("path", ["/", "/livez", "/api/auto-fix/status", "/metrics"])
    def test_the_others_are_served(self, app: Flask, path: str) -> None:
        """Healthy blueprints do not notice."""
        assert ask(app, path).status_code == 200

    def test_it_takes_no_address_below_its_prefix(self, house: House, build: Build) -> None:
        """Healthy blueprints below its prefix are served, their 405s too; the rest is its own."""
        house.add("red", "1 / 0\n", prefix="/api")
        house.add("green", working("green"), prefix="/api/green")
        app = build(house)
        assert ask(app, "/api/auto-fix/status").status_code == 200
        assert ask(app, "/api/openapi.json").status_code == 200
        assert ask(app, "/api/green").text == "green"
        assert ask(app, "/api/green", "POST").status_code == 405
        for path in ("/api", "/api/orders", "/api/green/unknown"):
            assert ask(app, path).get_json()["blueprint"] == "red"

    def test_the_longest_prefix_answers_first(self, house: House, build: Build) -> None:
        """Of two quarantined blueprints the one that is mounted below the other says why."""
        house.add("red", "1 / 0\n", prefix="/api")
        house.add("green", "import absent_thing\n", prefix="/api/green")
        app = build(house)
        assert ask(app, "/api/green/x").get_json()["blueprint"] == "green"
        assert ask(app, "/api/other").get_json()["blueprint"] == "red"

    @pytest.mark.parametrize("token", [None, "secret"])
    def test_advice_is_not_in_the_error(
        self, house: House, build: Build, token: str | None
    ) -> None:
        """The reason is a code: modules and versions are in the state that it leads to."""
        house.needs("red", "absent_thing")
        client = build(house, token=token).test_client()
        bearer = {"Authorization": f"Bearer {token}"}
        refusal = client.get("/red", headers=bearer)
        assert "absent_thing" not in refusal.text
        shown = client.get(refusal.get_json()["state"], headers=bearer).get_json()
        assert "absent_thing" in shown["blueprints"]["red"]["advice"]

    def test_over_http(self, house: House) -> None:
        """gunicorn sends the same, and no body to HEAD."""
        house.needs("red", "absent_thing")
        with house.serve(workers=1) as server:
            answers = {m: http_request(f"{server.url}/red/x", method=m) for m in METHODS}
        assert {answer.status for answer in answers.values()} == {503}
        assert answers.pop("HEAD").body == b""
        assert {answer.json()["code"] for answer in answers.values()} == {"missing_distribution"}


class TestHealth:
    """How much depends on it."""

    @pytest.mark.parametrize(
        ("critical", "overall", "ready", "code"),
        [(True, "unhealthy", 503, 503), (False, "degraded", 200, 200)],
        ids=["critical", "dispensable"],
    )
    @pytest.mark.parametrize("broken", ["import absent_thing", "bp = 1", "1 / 0"])
    def test_of_the_service(
        self,
        house: House,
        build: Build,
        broken: str,
        critical: bool,  # noqa: FBT001
        overall: str,
        ready: int,
        code: int,
    ) -> None:
        """A critical one takes the service out of rotation, any other leaves it degraded."""
        house.add("red", broken, critical=critical)
        app = build(house)
        health = ask(app, "/api/auto-fix/health")
        assert (health.status_code, health.get_json()["overall_status"]) == (code, overall)
        assert ask(app, "/readyz").status_code == ready
        assert ask(app, "/livez").status_code == 200


class TestRegistration:
    """A blueprint that imports and cannot be registered is isolated in the same way."""

    HALF = """
from flask import Blueprint
bp = Blueprint("red", __name__)
bp.before_app_request(lambda: "taken over")
bp.app_errorhandler(404)(lambda error: "taken over")
@bp.get("/fine")
def fine():
    return "fine"
"""
    BROKEN: ClassVar[dict[str, str]] = {
        "duplicate name": 'from flask import Blueprint\nbp = Blueprint("metrics", __name__)\n',
        "bad rule": HALF + 'bp.add_url_rule("/<", view_func=lambda: "")\n',
        "bad converter": HALF + 'bp.add_url_rule("/<nope:x>", view_func=lambda: "")\n',
        "endpoint twice": HALF + 'bp.add_url_rule("/b", "fine", lambda: "")\n',
        "raises": HALF + "bp.record(lambda state: 1 / 0)\n",
        "exits": HALF + "import sys\nbp.record(lambda state: sys.exit(3))\n",
        "no blueprint": "bp = 42\n",
    }
    ABSENT: ClassVar[dict[str, str]] = {
        "no attribute": "other = 42\n",
        "attribute raises": "def __getattr__(name):\n    raise RuntimeError(name)\n",
    }

    @pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
    def test_nothing_of_it_is_left(self, house: House, build: Build, code: str) -> None:
        """Its rules, hooks and name are not on the application; the next one is registered."""
        house.add("red", code)
        house.add("green", working("green"))
        app = build(house)
        assert reason(app, "red") == "registration_failed"
        assert ask(app, "/red/fine").get_json()["code"] == "registration_failed"
        assert "red" not in app.blueprints
        rules = [(rule.endpoint, rule.rule) for rule in app.url_map.iter_rules()]
        assert not [one for one in rules if one[0].startswith("red.") or one[1].startswith("/red")]
        assert ask(app, "/green").text == "green"
        assert ask(app, "/nowhere").status_code == 404
        assert ask(app, "/metrics").status_code == 200

    @pytest.mark.parametrize("code", ABSENT.values(), ids=ABSENT)
    def test_a_module_without_it(self, house: House, build: Build, code: str) -> None:
        """A module that does not define its blueprint has a reason of its own."""
        house.add("red", code)
        assert ask(build(house), "/red").get_json()["code"] == "blueprint_missing"

    def test_only_a_restart_helps(self, house: House, build: Build) -> None:
        """Its code is loaded already, and it says so."""
        house.add("red", "bp = 42\n")
        assert ask(build(house), "/red").get_json()["needs_restart"] is True

    def test_several_at_once(self, house: House, build: Build) -> None:
        """Each of several broken ones is found, wherever it stands in the manifest."""
        for number, code in enumerate(self.BROKEN.values()):
            house.add(f"red{number}", code)
        app = build(house)
        found = {reason(app, spec["name"]) for spec in house.specs}
        assert found == {"registration_failed"}
        assert ask(app, "/api/auto-fix/health").status_code == 200


class TestMountedAtTheRoot:
    """A blueprint without a prefix is in quarantine on the paths that it answers for."""

    @pytest.fixture
    def without(
        self, house: House, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str], Flask]:
        """Build an application in which one of the project's own blueprints is broken."""

        def create(name: str) -> Flask:
            house.write("broken", "1 / 0\n")
            broken = [
                replace(spec, module="bp_broken") if spec.name == name else spec
                for spec in BLUEPRINTS
            ]
            monkeypatch.setitem(globals(), "BLUEPRINTS", tuple(broken))
            return build(house)

        return create

    def test_metrics(self, without: Callable[[str], Flask]) -> None:
        """/metrics and what would be below it, nothing else."""
        app = without("metrics")
        assert ask(app, "/metrics").status_code == 503
        assert ask(app, "/metrics/x", "POST").status_code == 503
        assert ask(app, "/").status_code == 200
        assert ask(app, "/metric").status_code == 404

    def test_the_landing_page(self, without: Callable[[str], Flask]) -> None:
        """The root itself, and no path below it."""
        app = without("main")
        assert ask(app, "/").status_code == 503
        assert ask(app, "/livez").status_code == 200
        assert ask(app, "/nowhere").status_code == 404

    def test_the_probes(self, without: Callable[[str], Flask]) -> None:
        """Without its probes the service is not in rotation, and the rest is served."""
        app = without("health")
        assert {ask(app, path).status_code for path in ("/livez", "/readyz", "/healthz")} == {503}
        assert ask(app, "/").status_code == 200

    def test_the_state_itself(self, without: Callable[[str], Flask]) -> None:
        """When the blueprint that shows the state is the broken one, it says why all the same."""
        answer = ask(without("auto_fix"), "/api/auto-fix/status")
        assert (answer.status_code, answer.get_json()["code"]) == (503, "code_error")


#: What stands for asgiref: an async function is run to its end.
ASGIREF = """
import asyncio

def async_to_sync(function):
    return lambda *args, **kwargs: asyncio.run(function(*args, **kwargs))
"""


class TestAsyncViews:
    """``async def`` views where Flask was installed without its async extra."""

    def test_healed_like_any_package(self, world: World, house: House, build: Build) -> None:
        """The view answers 503 with what is missing, and serves once that is healed."""
        files = {"asgiref/__init__.py": "", "asgiref/sync.py": ASGIREF}
        world.publish("asgiref", "3.9.1", files=files)
        code = working("red").replace("def index", "async def index")
        assert "async def index" in code
        house.add("red", code)
        app = build(house)

        def answer() -> TestResponse | None:
            response = ask(app, "/red")
            if response.status_code == 200:
                return response
            assert response.status_code == 503
            assert response.get_json()["code"] == "missing_distribution"
            return None

        wait_until(answer, timeout=30.0)

    def test_nobody_has_approved_it(self, house: House, build: Build) -> None:
        """Where it is not approved, the request fails as one does that lacks any module."""
        house.add("red", working("red").replace("def index", "async def index"))
        assert ask(build(house), "/red").status_code == 500

    def test_other_runtime_errors(self, house: House, build: Build) -> None:
        """Any other RuntimeError of a view is unexpected."""
        house.add(
            "red", working("red").replace("def index():", "def index():\n    raise RuntimeError")
        )
        response = ask(build(house), "/red")
        assert (response.status_code, response.get_json()["code"]) == (500, "internal_error")

"""``/metrics`` of an application: budgets, drift, requests, and what a swap leaves of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.isolation.hot_application import HotApplication
from app.settings.declarations import Settings
from tests.conftest import World
from tests.healing.counter import CounterKind
from tests.support.blueprints import BLUEPRINTS
from tests.support.exposition import Exposition, read
from tests.support.processes import wait_until

ROUTE = "/api/edge-functions"


@pytest.fixture
def build(world: World) -> Iterator[Callable[..., Flask]]:
    """Make applications over engines that approve what was published before."""
    made: list[Flask] = []

    def make(**config: object) -> Flask:
        settings = Settings(healing=world.settings)
        made.append(create_app({"SETTINGS": settings, "AUTO_FIXER": world.fixer(), **config}))
        return made[-1]

    yield make
    for app in made:
        app.extensions["services"].edge.close()


@pytest.fixture
def app(build: Callable[..., Flask]) -> Flask:
    """An application that may heal nothing."""
    return build()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of it."""
    return app.test_client()


def scrape(client: FlaskClient) -> Exposition:
    """What it exposes now."""
    return read(client.get("/metrics").text)


class TestHeals:
    """The series of heals."""

    def test_nothing_yet(self, client: FlaskClient) -> None:
        """Modules that nothing was attempted for have no series."""
        assert scrape(client).values_of("module") == set()

    def test_healed(self, world: World, build: Callable[..., Flask]) -> None:
        """A heal counts once, with its time; its whole budget is left; it is drift."""
        world.publish("healable")
        app = build()
        assert app.extensions["auto_fixer"].safe_import("healable")[0]
        found = scrape(app.test_client())
        healed = {"module": "healable", "outcome": "healed"}
        assert found.find("auto_fix_attempts_total", **healed, kind="dependency") == [1]
        assert found.find("auto_fix_heal_duration_seconds_count", **healed) == [1]
        assert found.total("auto_fix_heal_duration_seconds_sum", **healed) > 0
        assert found.find("auto_fix_budget_attempts_left", module="healable") == [3]
        assert found.find("auto_fix_fixes", module="healable", kind="dependency") == [1]
        assert found.find("auto_fix_drift", module="healable", kind="dependency") == [1]

    def test_drift_ends_with_the_requirement(
        self, world: World, build: Callable[..., Flask]
    ) -> None:
        """A fix that the requirements list is one still, and drift no more."""
        world.publish("healable")
        app = build()
        assert app.extensions["auto_fixer"].safe_import("healable")[0]
        world.settings.lock.with_suffix(".txt").write_text("healable>=1.0\n")
        found = scrape(app.test_client())
        assert found.find("auto_fix_drift") == []
        assert found.find("auto_fix_fixes", module="healable") == [1]

    def test_failed(self, world: World, build: Callable[..., Flask]) -> None:
        """Each failure is counted and takes one from the budget; refusals take none."""
        world.publish("broken", files={"broken/__init__.py": "raise RuntimeError\n"})
        app = build()
        fixer, client = app.extensions["auto_fixer"], app.test_client()
        for left in (2, 1, 0, 0):
            assert not fixer.safe_import("broken")[0]
            labels = {"module": "broken", "kind": "dependency"}
            assert scrape(client).find("auto_fix_budget_attempts_left", **labels) == [left]
        found = scrape(client)
        failed = {"module": "broken", "outcome": "probe_failed"}
        assert found.find("auto_fix_attempts_total", **failed) == [3]
        assert found.find("auto_fix_heal_duration_seconds_count", **failed) == [3]


class TestFaults:
    """The series of what is wrong now."""

    def test_open_until_it_is_healed(self, world: World, build: Callable[..., Flask]) -> None:
        """An open fault has a series, with its cause and the outcome; a healed one has none."""
        world.publish("gone")
        fixer = world.fixer(required=("gone",))
        client = build(AUTO_FIXER=fixer).test_client()
        labels = {"kind": "dependency", "module": "gone", "cause": "missing_distribution"}
        assert scrape(client).find("auto_fix_fault", **labels, outcome="") == [1]
        assert fixer.safe_import("gone")[0]
        assert scrape(client).find("auto_fix_fault", module="gone") == []


class TestRequests:
    """The series of requests."""

    def test_by_route(self, client: FlaskClient) -> None:
        """Labels are the rule's text, the method and the status; a path never gets there."""
        for name in ("one", "two", "three"):
            client.get(f"{ROUTE}/{name}/invoke/secret-{name}").close()
            client.get(f"/no/such/{name}").close()
        client.open(ROUTE, method="BREW").close()
        found = scrape(client)
        rule = f"{ROUTE}/<name>/invoke/<path:path>"
        labels = {"route": rule, "method": "GET"}
        assert found.find("http_requests_total", **labels, status="404") == [3]
        assert found.find("http_request_duration_seconds_count", **labels) == [3]
        unmatched = {"route": "unmatched", "method": "GET", "status": "404"}
        assert found.find("http_requests_total", **unmatched) == [3]
        assert found.find("http_requests_total", method="other", status="405") == [1]
        assert not [value for value in found.values_of("route") if "secret" in value]

    def test_are_all_there_after_a_swap(self, app: Flask, client: FlaskClient) -> None:
        """The next application of the process counts on, and shows no series twice."""
        client.get(ROUTE).close()
        after = create_app({"SERVICES": app.extensions["services"]}).test_client()
        after.get(ROUTE).close()
        for one in (client, after):
            assert scrape(one).find("http_requests_total", route=ROUTE) == [2]

    def test_before_the_blueprint_is_there(self, build: Callable[..., Flask]) -> None:
        """Without /metrics nothing is counted, and every request is answered."""
        absent = tuple(
            replace(spec, module="app.routes.absent") if spec.name == "metrics" else spec
            for spec in BLUEPRINTS
        )
        app = build(BLUEPRINTS=absent)
        assert app.test_client().get(ROUTE).status_code == 200
        services = app.extensions["services"]
        assert list(services.metrics.collect()) == []
        services.fixer.resilient_blueprint_import("app.routes.metrics")
        client = build(SERVICES=services, BLUEPRINTS=BLUEPRINTS).test_client()
        client.get(ROUTE).close()
        assert scrape(client).find("http_requests_total", route=ROUTE) == [1]


def test_workers_of_the_host(app: Flask, client: FlaskClient) -> None:
    """Processes that say they are at work are counted, this one too."""
    assert scrape(client).find("auto_fix_workers") == [0]
    app.extensions["services"].workers.write({})
    assert scrape(client).find("auto_fix_workers") == [1]
    app.extensions["services"].workers.close()
    assert scrape(client).find("auto_fix_workers") == [0]


def test_requirements_that_cannot_be_read(client: FlaskClient, world: World) -> None:
    """Requirements that cannot be read list nothing, and cost the answer nothing."""
    world.settings.lock.with_suffix(".txt").mkdir()
    assert client.get("/metrics").status_code == 200


class TurnedKind(CounterKind):
    """Counters whose turns are measured."""

    gauges: Mapping[str, str] = {"counter_hands": "Hands on it"}
    counters: Mapping[str, str] = {"counter_turns_total": "Turns"}
    turns = 3

    def measure(self) -> dict[str, dict[str, object]]:
        """Each has been turned as often."""
        each: dict[str, object] = {"counter_hands": 2, "counter_turns_total": self.turns}
        return {name: {**each, "hands": ["left", "right"]} for name in self.names}


class TestMeasured:
    """What a kind of fault measures of its subjects."""

    def test_of_this_process(
        self, build: Callable[..., Flask], world: World, tmp_path: Path
    ) -> None:
        """Its gauges and counters are exposed by subject, and no count is counted twice."""
        turned = TurnedKind(tmp_path, "doors", "steps")
        for name in turned.names:
            (tmp_path / f"{name}.count").write_text("7")
        fixer = world.fixer()
        fixer.add_kind(turned)
        hot = HotApplication(lambda given: build(**{"AUTO_FIXER": fixer, **(given or {})}))
        client = hot.app.test_client()
        assert scrape(client).find("counter_turns_total", counter="doors") == []
        hot.start()
        try:
            wait_until(lambda: scrape(client).find("counter_turns_total", counter="doors") == [3])
            turned.turns = 5
            wait_until(lambda: scrape(client).find("counter_turns_total", counter="steps") == [5])
            assert scrape(client).find("counter_hands", counter="doors") == [2]
            (worker,) = hot.services.workers.read()
            assert worker["measured"]["counter"]["doors"]["hands"] == ["left", "right"]
        finally:
            hot.stop()

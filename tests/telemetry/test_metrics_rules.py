"""deploy/prometheus and deploy/grafana: their rules hold, and they ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.kinds.configuration.last_good import LastGood, LastGoods, Version
from app.manifest import FILE
from tests.conftest import World
from tests.edge.served import INVOKE, function, raw
from tests.serving.house import House
from tests.support.edge_server import edge_server
from tests.support.exposition import scrape
from tests.support.processes import ROOT, Server, http_request, wait_until

PROMETHEUS = ROOT / "deploy/prometheus"
RULES = (PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")
TESTS = PROMETHEUS / "rules_test.yml"
DASHBOARD = ROOT / "deploy/grafana/orchestrator.json"
#: What Prometheus makes itself.
ITS_OWN = {"up", "ALERTS"}
#: The current one of Grafana 12.
SCHEMA = 42

#: A blueprint whose hook for all requests fails at one address.
HOOKED = """
from flask import Blueprint, request

bp = Blueprint("hooked", __name__)


@bp.before_app_request
def fail():
    if request.path == "/hooked/fails":
        raise RuntimeError("as it is made to")
"""

_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
_BRACKETS = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_LABELS = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")
_WORDS = {"and", "or", "unless", "offset", "bool"}
_DURATION = re.compile(r"\boffset\s+\w+")


def series_in(expression: str) -> set[str]:
    """The names of the series that a query asks for."""
    for pattern in (_TEXT, _BRACKETS, _LABELS, _DURATION):
        expression = pattern.sub(" ", expression)
    return set(_NAME.findall(expression)) - _WORDS


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """The series that rules make."""
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> list[str]:
    """Every query of the dashboard, with the variables filled in as Grafana does."""
    panels = [target["expr"] for p in dashboard()["panels"] for target in p.get("targets", ())]
    notes = [note["expr"] for note in dashboard()["annotations"]["list"] if "expr" in note]
    return [
        query.replace("$instance", ".*").replace("$__rate_interval", "1m")
        for query in (*panels, *notes)
    ]


@pytest.fixture
def promtool() -> str:
    """Prometheus' own tool; CI counts its absence as a failure."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here (Debian: apt-get install prometheus)")
    return program


def run(*command: str, given: str = "") -> str:
    """Run a command that has to succeed, and return all that it wrote."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def exposed(tmp_path: Path, world: World) -> Iterator[Server]:
    """A server with something of everything: a heal, a function, a database, a stale file."""
    world.publish("healable")
    house = House(tmp_path, world)
    house.needs("needy", "healable")
    house.add("hooked", HOOKED)
    with edge_server() as functions:
        registry = tmp_path / "functions.toml"
        registry.write_text(function("good", f"{functions.url}/ok"))
        database = f'[database.main]\nurl = "sqlite:///{tmp_path}/main.sqlite3"\n'
        (tmp_path / "prices.toml").write_text("tea = ")
        good = LastGood((Version(b"tea = 1\n", time.time()),))
        LastGoods(world.settings.home).update("prices", lambda _: good)
        stale = '[file.prices]\npath = "prices.toml"\n'
        manifest = tmp_path / FILE
        manifest.write_text(f"{(ROOT / FILE).read_text()}\n{database}{stale}")
        with house.serve(
            EDGE_FUNCTIONS_FILE=str(registry),
            AUTO_FIX_MANIFEST=str(manifest),
            AUTO_FIX_TOKEN="right",  # noqa: S106
        ) as server:
            wait_until(lambda: server.get("/needy").status == 200, timeout=30)
            server.get(INVOKE.format("good", ""))
            server.get("/api/edge-functions/health-check")
            assert server.get("/hooked/fails").status == 503
            assert raw(server, b"nonsense\r\n\r\n").status == 400
            wrong = {"Authorization": "Bearer wrong"}
            http_request(f"{server.url}/api/auto-fix/status", headers=wrong)
            yield server


class TestRules:
    """deploy/prometheus."""

    def test_the_configuration_is_valid(self, promtool: str) -> None:
        """Prometheus takes it, with no complaint about a rule."""
        configuration = str(PROMETHEUS / "prometheus.yml")
        run(promtool, "check", "config", "--lint=all", "--lint-fatal", configuration)

    def test_every_file_of_rules_is_loaded(self) -> None:
        """The configuration names each of them."""
        configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        assert configuration["rule_files"] == [path.name for path in RULES]

    def test_their_own_tests(self, promtool: str) -> None:
        """Each fires when it should and not when it should not."""
        run(promtool, "test", "rules", str(TESTS))

    def test_every_rule_is_tested(self) -> None:
        """An alert that never fires in a test may never fire at all."""
        text = TESTS.read_text()
        made = rules()
        alerts = {rule["alert"] for rule in made if "alert" in rule}
        fired = set(re.findall(r'labels: ALERTS\{alertname="(\w+)", alertstate="firing"', text))
        assert alerts == fired
        asked = " ".join(rule["expr"] for rule in made) + text
        assert {name for name in recorded() if name not in asked} == set()

    def test_every_alert_says_what_to_do(self) -> None:
        """How urgent it is, what is wrong and what to look at."""
        for rule in rules():
            if "alert" in rule:
                assert rule["labels"]["severity"] in {"critical", "warning", "info"}
                assert {"summary", "description", "runbook"} == set(rule["annotations"])


class TestDashboard:
    """deploy/grafana."""

    def test_it_fits_any_grafana(self) -> None:
        """Its data source is chosen where it is imported; it is of the current schema."""
        board = dashboard()
        assert (board["id"], board["schemaVersion"]) == (None, SCHEMA)
        kinds = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
        assert kinds["datasource"] == "datasource"
        for panel in board["panels"]:
            if panel["type"] != "row":
                assert panel["datasource"]["uid"] == "${datasource}"
                assert all(t["datasource"] == panel["datasource"] for t in panel["targets"])
                assert panel["description"]

    def test_panels_lie_beside_each_other(self) -> None:
        """No two have one id or one place."""
        panels = dashboard()["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (column, line)
            for p in (panel["gridPos"] for panel in panels)
            for column in range(p["x"], p["x"] + p["w"])
            for line in range(p["y"], p["y"] + p["h"])
        ]
        assert len(cells) == len(set(cells))
        assert all(column < 24 for column, _ in cells)

    def test_its_queries_are_valid(self, promtool: str, tmp_path: Path) -> None:
        """Prometheus can parse each of them."""
        made = [{"record": f"q{n}", "expr": query} for n, query in enumerate(queries())]
        file = tmp_path / "queries.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": made}]}))
        run(promtool, "check", "rules", "--lint=none", str(file))


class TestSeries:
    """What a real server exposes."""

    def test_whatever_is_asked_for_is_there(self, exposed: Server) -> None:
        """Every series of every rule and panel is exposed, recorded or Prometheus' own."""
        asked = {rule["expr"] for rule in rules()} | set(queries())
        names = set[str]().union(*map(series_in, asked))
        assert len(names) > 20

        def missing() -> set[str]:
            return names - scrape(exposed).names - recorded() - ITS_OWN

        wait_until(lambda: not missing())

    def test_it_keeps_the_conventions(self, exposed: Server, promtool: str) -> None:
        """Prometheus' linter finds nothing to say about the answer."""
        assert run(promtool, "check", "metrics", given=exposed.get("/metrics").text) == ""

    def test_what_the_queries_filter_by_is_there(self, exposed: Server) -> None:
        """Labels and values of the answer are those that the rules name."""
        # The others learn of it within seconds; the second one may still be booting.
        wait_until(lambda: scrape(exposed).find("auto_fix_workers") == [2])
        wait_until(lambda: scrape(exposed).find("edge_calls_total", function="good", outcome="ok"))
        found = scrape(exposed)
        healable = {"module": "healable"}
        assert found.find("auto_fix_drift", **healable) == [1]
        assert found.find("auto_fix_fixes", **healable, kind="dependency") == [1]
        assert found.find("auto_fix_attempts_total", **healable, outcome="healed") == [1]
        assert found.find("auto_fix_budget_attempts_left", **healable) == [3]
        assert found.values_of("status") >= {"healthy", "degraded", "unhealthy"}
        assert found.find("auto_fix_blueprint_active", blueprint="needy")[0] in {0, 1}
        assert found.find("edge_breaker_open", function="good") == [0]
        assert found.find("http_authentication_failures_total", outcome="wrong") == [1]
        # A worker that has just booted may not have looked yet.
        journal = {"check": "journal", "critical": "false"}
        wait_until(lambda: scrape(exposed).find("auto_fix_check_failing", **journal) == [0])


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (le) (rate(a_bucket{x="b or c"}[5m])) > 1', {"a_bucket"}),
        ("a:b:rate5m and on (job) (c offset 15m == 1)", {"a:b:rate5m", "c"}),
        ("count(a) or vector(0) * 1e3", {"a"}),
    ],
)
def test_names_are_found_in_queries(expression: str, names: set[str]) -> None:
    """What the tests above rely on."""
    assert series_in(expression) == names

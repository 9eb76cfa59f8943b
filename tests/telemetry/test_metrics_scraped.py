"""``/metrics`` as a scraper reads it: health, checks, blueprints, and the two text formats."""

from __future__ import annotations

from dataclasses import replace

from flask.testing import FlaskClient
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.healing.report import Check
from app.health import HealthCheck
from tests.support.http import (
    SECRET,
    Build,
    add,
    fail,
)


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
        fail(client, critical=True)
        samples = self._samples(client.get("/metrics").text)
        assert samples["auto_fix_health_status", ("unhealthy",)] == 1
        assert samples["auto_fix_failed_checks", ("true",)] == 1

    def test_each_check(self, client: FlaskClient) -> None:
        """Every check has a series: 1 while it fails, and the others stay at 0."""
        failing = "auto_fix_check_failing"
        assert self._samples(client.get("/metrics").text)[failing, ("journal", "false")] == 0
        fail(client, critical=True)
        samples = self._samples(client.get("/metrics").text)
        assert samples[failing, ("made_up", "true")] == 1
        assert samples[failing, ("journal", "false")] == 0
        assert sum(value for (name, _), value in samples.items() if name == failing) == 1
        assert SECRET not in client.get("/metrics").text

    def test_two_results_of_one_name(self, client: FlaskClient) -> None:
        """They are one series, which fails when one of them does."""
        good = Check(name="twice", kind="test", subject="x", ok=True)
        results = [good, replace(good, subject="y", ok=False), replace(good, subject="z")]
        add(client, HealthCheck(name="twice", kind="test", run=lambda: results))
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
        fail(first, critical=True)
        failing = ("auto_fix_failed_checks", ("true",))
        assert self._samples(first.get("/metrics").text)[failing] == 1
        assert self._samples(second.get("/metrics").text)[failing] == 0

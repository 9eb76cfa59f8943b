"""``/metrics``: the system's own counters as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.healing.report import HealthReport, Status
from app.healing.settings import Mode
from app.health import BlueprintState, HealthReading, HealthService
from app.routes.edge_series import edge_series
from app.utils.auto_fix import AutoFixer

metrics_bp = Blueprint("metrics", __name__)

EXTENSION = "metrics_registry"


@metrics_bp.get("/metrics")
def metrics() -> Response:
    """The text format that the scraper asks for."""
    registry: CollectorRegistry = current_app.extensions[EXTENSION]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(
        encode(registry), content_type=content_type, headers={"Cache-Control": "no-store"}
    )


@metrics_bp.record
def _make_registry(state: BlueprintSetupState) -> None:
    """A registry for each application, so that two in one process do not mix."""
    registry = CollectorRegistry()
    registry.register(SystemCollector(state.app.extensions))
    state.app.extensions[EXTENSION] = registry


class SystemCollector(Collector):
    """Reads an application's engine, health, blueprints and edge functions at each scrape.

    Attempts count for all processes of the host; the other series are the answering process's.
    """

    def __init__(self, extensions: Mapping[str, Any]) -> None:
        self._extensions = extensions

    def describe(self) -> Iterable[Metric]:
        """Nothing: the series are only known when they are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every series."""
        fixer: AutoFixer = self._extensions["auto_fixer"]
        health: HealthService = self._extensions["health"]
        reading = health.read()
        yield from _attempts(fixer)
        yield _one_of("auto_fix_mode", "Mode in force", "mode", list(Mode), fixer.mode)
        yield from _health(reading)
        yield _fixes(reading.report)
        yield _blueprints(self._extensions["blueprints"])
        yield from edge_series(self._extensions["edge"])


def _attempts(fixer: AutoFixer) -> Iterator[Metric]:
    labels = ["kind", "module", "cause", "outcome"]
    counts = CounterMetricFamily("auto_fix_attempts", "Attempts to fix a fault", labels=labels)
    seconds = CounterMetricFamily(
        "auto_fix_attempt_seconds", "Seconds spent in attempts", labels=labels
    )
    for total in fixer.attempts_by_outcome():
        values = [total.kind, total.subject, total.cause, total.outcome]
        counts.add_metric(values, total.count)
        seconds.add_metric(values, total.seconds)
    yield counts
    yield seconds


def _one_of(name: str, text: str, label: str, choices: list[str], current: str) -> Metric:
    """One series a choice: 1 for the one that holds, 0 for the others."""
    family = GaugeMetricFamily(name, f"{text}: 1 for the one that holds", labels=[label])
    for choice in choices:
        family.add_metric([str(choice)], float(choice == current))
    return family


def _health(reading: HealthReading) -> Iterator[Metric]:
    status = reading.report.overall_status
    yield _one_of("auto_fix_health_status", "Overall health", "status", list(Status), status)
    age = GaugeMetricFamily("auto_fix_health_age_seconds", "Age of the health reading")
    age.add_metric([], reading.age_seconds)
    yield age
    failed = GaugeMetricFamily("auto_fix_failed_checks", "Checks that fail", labels=["critical"])
    for critical in (True, False):
        count = sum(c.critical is critical and not c.ok for c in reading.report.checks)
        failed.add_metric([str(critical).lower()], count)
    yield failed


def _fixes(report: HealthReport) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_fixes", "What runs only because it was fixed", labels=["kind", "module"]
    )
    for fix in report.fixes:
        family.add_metric([fix.kind, fix.subject], 1)
    return family


def _blueprints(states: tuple[BlueprintState, ...]) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_blueprint_active", "1 for a blueprint that serves", labels=["blueprint"]
    )
    for state in states:
        family.add_metric([state.name], float(state.active))
    return family

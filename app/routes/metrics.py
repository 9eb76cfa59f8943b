"""``/metrics``: the system's own counters as Prometheus reads them.

Requests, failed authentications and heals are what all workers of the server have counted.
Attempts, budgets, fixes, drift, workers and edge calls are those of the host, read from what its
processes share. Mode, health and blueprints are those of the worker that answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.healing.kind import Fix
from app.healing.report import Status
from app.health import HealthReading
from app.isolation.states import BlueprintState
from app.routes.edge_series import edge_series
from app.services import Services
from app.settings.engine import Mode
from app.telemetry.series import Series
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
def _begin(state: BlueprintSetupState) -> None:
    """Count from now on, and make the application a registry of its own.

    So two applications of a process do not mix, and share what the process has counted.
    """
    services: Services | None = state.app.extensions.get("services")
    if services is None:
        # An application of somebody else's: there is nothing to count.
        return
    # What was asked before is not counted, however lately.
    services.notes.flush()
    services.metrics.begin(Series)
    registry = CollectorRegistry()
    registry.register(SystemCollector(state.app.extensions))
    state.app.extensions[EXTENSION] = registry


class SystemCollector(Collector):
    """Reads what the process counts, and an application's state, at each scrape."""

    def __init__(self, extensions: Mapping[str, Any]) -> None:
        self._extensions = extensions

    def describe(self) -> Iterable[Metric]:
        """Nothing: the series are only known when they are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every series."""
        services: Services = self._extensions["services"]
        fixer, fixes = services.fixer, services.fixer.fixes()
        services.notes.flush()
        yield from services.metrics.collect()
        yield from _attempts(fixer)
        yield _budgets(fixer)
        yield _fixes(fixes)
        yield _drift(fixes)
        yield _one_of("auto_fix_mode", "Mode in force", "mode", list(Mode), fixer.mode)
        yield from _health(services.health.read())
        yield _blueprints(self._extensions["blueprints"])
        living = len(services.workers.read())
        yield GaugeMetricFamily("auto_fix_workers", "Living workers of the host", value=living)
        yield from edge_series(services.edge)


def _attempts(fixer: AutoFixer) -> Iterator[Metric]:
    labels = ["kind", "module", "cause", "outcome"]
    counts = CounterMetricFamily(
        "auto_fix_attempts", "Attempts to fix a fault on the host, restarts included", labels=labels
    )
    seconds = CounterMetricFamily(
        "auto_fix_attempt_seconds", "Seconds spent in these attempts", labels=labels
    )
    for total in fixer.attempts_by_outcome():
        values = [total.kind, total.subject, total.cause, total.outcome]
        counts.add_metric(values, total.count)
        seconds.add_metric(values, total.seconds)
    yield counts
    yield seconds


def _budgets(fixer: AutoFixer) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_budget_attempts_left",
        "Attempts left on the host before a pause, for each module that was attempted",
        labels=["module"],
    )
    for module in fixer.fix_attempts:
        family.add_metric([module], fixer.budget(module).attempts_left)
    return family


def _fixes(fixes: Iterable[Fix]) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_fixes",
        "What runs on the host only because it was fixed",
        labels=["kind", "module"],
    )
    for fix in fixes:
        family.add_metric([fix.kind, fix.subject], 1)
    return family


def _drift(fixes: Iterable[Fix]) -> Metric:
    """Fixes that the next image would have to make again."""
    family = GaugeMetricFamily(
        "auto_fix_drift",
        "1 for each fix on the host that the requirements do not list",
        labels=["module"],
    )
    for item in fixes:
        if not item.listed:
            family.add_metric([item.subject], 1)
    return family


def _one_of(name: str, text: str, label: str, choices: list[str], current: str) -> Metric:
    """One series a choice: 1 for the one that holds, 0 for the others."""
    text = f"{text} in the worker that answers, 1 for the one that holds"
    family = GaugeMetricFamily(name, text, labels=[label])
    for choice in choices:
        family.add_metric([str(choice)], float(choice == current))
    return family


def _health(reading: HealthReading) -> Iterator[Metric]:
    status = reading.report.overall_status
    yield _one_of("auto_fix_health_status", "Overall health", "status", list(Status), status)
    age = "Age of the health reading in the worker that answers"
    yield GaugeMetricFamily("auto_fix_health_age_seconds", age, value=reading.age_seconds)
    failed = GaugeMetricFamily(
        "auto_fix_failed_checks",
        "Checks that fail in the worker that answers",
        labels=["critical"],
    )
    for critical in (True, False):
        count = sum(c.critical is critical and not c.ok for c in reading.report.checks)
        failed.add_metric([str(critical).lower()], count)
    yield failed
    yield _checks(reading)


def _checks(reading: HealthReading) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_check_failing",
        "1 for a check that fails in the worker that answers, 0 for one that passes",
        labels=["check", "critical"],
    )
    failing: dict[tuple[str, bool], bool] = {}
    for check in reading.report.checks:
        # Two of one name are one series: a scrape with the same series twice is refused whole.
        key = check.name, check.critical
        failing[key] = failing.get(key, False) or not check.ok
    for (name, critical), fails in failing.items():
        family.add_metric([name, str(critical).lower()], float(fails))
    return family


def _blueprints(states: Iterable[BlueprintState]) -> Metric:
    family = GaugeMetricFamily(
        "auto_fix_blueprint_active",
        "1 for a blueprint that serves in the worker that answers, 0 for one in quarantine",
        labels=["blueprint"],
    )
    for state in states:
        family.add_metric([state.name], float(state.active))
    return family

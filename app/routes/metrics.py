"""``/metrics``: the system's own counters as Prometheus reads them.

Requests, failed authentications and heals are what all workers of the server have counted.
Attempts, budgets, faults, fixes, drift, workers and edge calls are those of the host, read from
what its processes share, so it does not matter which worker answers and no count ever goes back.
Mode, health and blueprints are those of the worker that answers.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.edge.client import EdgeClient
from app.edge.protection import BreakerState
from app.edge.statistics import cumulative
from app.healing.report import Status
from app.health import HealthReading
from app.isolation.states import BlueprintState
from app.services import Services
from app.settings.declarations import Mode
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
        states: Iterable[BlueprintState] = self._extensions["blueprints"]
        services.notes.flush()
        yield from services.metrics.collect()
        yield from engine_series(services.fixer)
        yield from health_series(services.health.read())
        yield _gauge(
            "auto_fix_blueprint_active",
            "1 for a blueprint that serves in the worker that answers, 0 for one in quarantine",
            {(state.name,): state.active for state in states},
            "blueprint",
        )
        workers = services.workers.read()
        yield _gauge("auto_fix_workers", "Living workers of the host", {(): len(workers)})
        yield from measured_series(services.fixer, workers)
        yield from edge_series(services.edge)


def _gauge(
    name: str, text: str, values: Mapping[tuple[str, ...], float | bool], *labels: str
) -> Metric:
    """A gauge with a value for each combination of its labels' values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def engine_series(fixer: AutoFixer) -> Iterator[Metric]:
    """What the engine did, may do and has to do, by kind and subject."""
    labels = ("kind", "module", "cause", "outcome")
    counts = CounterMetricFamily(
        "auto_fix_attempts", "Attempts to fix a fault on the host, restarts included", labels=labels
    )
    seconds = CounterMetricFamily(
        "auto_fix_attempt_seconds", "Seconds spent in these attempts", labels=labels
    )
    totals = fixer.attempts_by_outcome()
    for total in totals:
        key = (total.kind, total.subject, total.cause, total.outcome)
        counts.add_metric(key, total.count)
        seconds.add_metric(key, total.seconds)
    budgets = fixer.budgets.of((total.kind, total.subject) for total in totals)
    yield counts
    yield seconds
    yield _gauge(
        "auto_fix_budget_attempts_left",
        "Attempts left on the host before a pause, for each subject that was attempted",
        {key: left.attempts_left for key, left in budgets.items()},
        *labels[:2],
    )
    yield _gauge(
        "auto_fix_fault",
        "1 for each fault that is open on the host, with the outcome of what was tried about it",
        {
            (one.fault.kind, one.fault.subject, one.fault.cause, one.outcome or ""): 1
            for one in fixer.open_faults()
        },
        *labels,
    )
    fixes = fixer.fixes()
    yield _gauge(
        "auto_fix_fixes",
        "What runs on the host only because it was fixed",
        {(fix.kind, fix.subject): 1 for fix in fixes},
        *labels[:2],
    )
    yield _gauge(
        "auto_fix_drift",
        "1 for each fix on the host that the requirements do not list",
        {(fix.kind, fix.subject): 1 for fix in fixes if not fix.listed},
        *labels[:2],
    )
    yield _gauge(
        "auto_fix_mode",
        "Mode in force in the worker that answers, 1 for the one that holds",
        {(str(mode),): mode == fixer.mode for mode in Mode},
        "mode",
    )
    yield _gauge(
        "auto_fix_stale_seconds",
        "For how long something old has been used in the place of what is broken",
        {
            (fault.kind, fault.subject): time.time() - fault.stale_since
            for fault in fixer.faults()
            if fault.stale_since is not None
        },
        "kind",
        "subject",
    )


def measured_series(fixer: AutoFixer, workers: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    """What kinds of fault measure of their subjects, added up over the living workers."""
    for name, kind in fixer.measuring().items():
        for series, text in kind.gauges.items():
            sums: dict[tuple[str, ...], float] = defaultdict(float)
            for worker in workers:
                for subject, measured in worker.get("measured", {}).get(name, {}).items():
                    sums[subject,] += measured.get(series, 0)
            yield _gauge(series, f"{text}, in all workers of the host", sums, name)


def health_series(reading: HealthReading) -> Iterator[Metric]:
    """What the worker that answers knows of health."""
    checks = reading.report.checks
    yield _gauge(
        "auto_fix_health_status",
        "Overall health in the worker that answers, 1 for the one that holds",
        {(str(status),): status == reading.report.overall_status for status in Status},
        "status",
    )
    yield _gauge(
        "auto_fix_health_age_seconds",
        "Age of the health reading in the worker that answers",
        {(): reading.age_seconds},
    )
    yield _gauge(
        "auto_fix_failed_checks",
        "Checks that fail in the worker that answers",
        {
            (str(critical).lower(),): sum(c.critical is critical and not c.ok for c in checks)
            for critical in (True, False)
        },
        "critical",
    )
    failing: dict[tuple[str, ...], bool] = {}
    for check in checks:
        # Two of one name are one series: a scrape with the same series twice is refused whole.
        key = check.name, str(check.critical).lower()
        failing[key] = failing.get(key, False) or not check.ok
    yield _gauge(
        "auto_fix_check_failing",
        "1 for a check that fails in the worker that answers, 0 for one that passes",
        failing,
        "check",
        "critical",
    )


def edge_series(edge: EdgeClient) -> Iterator[Metric]:
    """Edge functions: what is registered, how each is, and what all workers have counted."""
    counted = edge.statistics_by_name()
    states = [item for worker in edge.workers() for item in worker["functions"].items()]
    in_flight = sum(state["in_flight"] for _, state in states)
    breakers = Counter(name for name, state in states if state["breaker"] == BreakerState.OPEN)
    registered = len(edge.functions)
    yield _gauge("edge_functions_registered", "Registered edge functions", {(): registered})
    valid = edge.registry.error is None
    yield _gauge("edge_registry_valid", "1 while the registry file can be used", {(): valid})
    yield _gauge("edge_calls_in_flight", "Edge calls under way in all workers", {(): in_flight})
    yield _gauge(
        "edge_function_up",
        "1 when the last health check on the host went well",
        {(result.name,): result.healthy for result in edge.results.values()},
        "function",
    )
    yield _gauge(
        "edge_breaker_open",
        "Workers whose breaker of a function is open",
        {(function.name,): breakers[function.name] for function in edge.functions},
        "function",
    )
    yield _gauge(
        "edge_function_uptime_ratio",
        "Share of health checks on the host that went well",
        {
            (name, window): share
            for name, statistics in counted.items()
            for window, share in statistics.uptime.items()
            if share is not None
        },
        "function",
        "window",
    )
    calls = CounterMetricFamily(
        "edge_calls",
        "Calls of edge functions on the host, by how they ended",
        labels=("function", "outcome"),
    )
    seconds = HistogramMetricFamily(
        "edge_call_duration_seconds",
        "How long calls of edge functions took on the host",
        labels=("function",),
    )
    for name, statistics in counted.items():
        for outcome, count in statistics.outcomes.items():
            calls.add_metric([name, outcome], count)
        if statistics.latency:
            buckets = [(repr(end), float(n)) for end, n in cumulative(statistics.latency)]
            total = float(sum(statistics.latency.values()))
            seconds.add_metric([name], [*buckets, ("+Inf", total)], statistics.seconds)
    yield calls
    yield seconds

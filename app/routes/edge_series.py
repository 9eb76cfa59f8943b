"""The edge functions' series for Prometheus.

Counts and latencies are those of all workers of the host, read from what they share at each
scrape, so it does not matter which worker answers and no count ever goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from app.edge import EdgeClient, report
from app.edge.histogram import cumulative
from app.edge.statistics import FunctionStatistics


def edge_series(edge: EdgeClient) -> Iterator[Metric]:
    """Every series."""
    counted = report.statistics(edge)
    yield GaugeMetricFamily(
        "edge_functions_registered", "Registered edge functions", value=len(edge.functions)
    )
    yield GaugeMetricFamily(
        "edge_registry_valid", "1 while the registry file can be used", value=_is_valid(edge)
    )
    yield GaugeMetricFamily(
        "edge_calls_in_flight", "Edge calls under way in all workers", value=_in_flight(edge)
    )
    yield _up(edge)
    yield _open_breakers(edge)
    yield _calls(counted)
    yield _seconds(counted)
    yield _uptime(counted)


def _is_valid(edge: EdgeClient) -> float:
    return float(edge.registry.error is None)


def _in_flight(edge: EdgeClient) -> int:
    return sum(
        state["in_flight"]
        for worker in report.workers(edge)
        for state in worker["functions"].values()
    )


def _up(edge: EdgeClient) -> Metric:
    up = GaugeMetricFamily(
        "edge_function_up",
        "1 when the last health check on the host went well",
        labels=["function"],
    )
    for result in edge.results.values():
        up.add_metric([result.name], float(result.healthy))
    return up


def _open_breakers(edge: EdgeClient) -> Metric:
    family = GaugeMetricFamily(
        "edge_breaker_open", "Workers whose breaker of a function is open", labels=["function"]
    )
    counts = report.open_breakers(edge)
    for function in edge.functions:
        family.add_metric([function.name], counts[function.name])
    return family


def _calls(counted: Mapping[str, FunctionStatistics]) -> Metric:
    family = CounterMetricFamily(
        "edge_calls",
        "Calls of edge functions on the host, by how they ended",
        labels=["function", "outcome"],
    )
    for name, statistics in counted.items():
        for outcome, calls in statistics.outcomes.items():
            family.add_metric([name, outcome], calls)
    return family


def _seconds(counted: Mapping[str, FunctionStatistics]) -> Metric:
    family = HistogramMetricFamily(
        "edge_call_duration_seconds",
        "How long calls of edge functions took on the host",
        labels=["function"],
    )
    for name, statistics in counted.items():
        if statistics.latency:
            buckets = [(repr(end), float(n)) for end, n in cumulative(statistics.latency)]
            total = float(sum(statistics.latency.values()))
            family.add_metric([name], [*buckets, ("+Inf", total)], statistics.seconds)
    return family


def _uptime(counted: Mapping[str, FunctionStatistics]) -> Metric:
    family = GaugeMetricFamily(
        "edge_function_uptime_ratio",
        "Share of health checks on the host that went well",
        labels=["function", "window"],
    )
    for name, statistics in counted.items():
        for window, share in statistics.uptime.items():
            if share is not None:
                family.add_metric([name, window], share)
    return family

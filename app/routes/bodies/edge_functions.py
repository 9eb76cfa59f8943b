"""What is said of the edge functions: which there are, how they are, what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from app.edge.calls import OK
from app.edge.client import EdgeClient
from app.edge.errors import ErrorKind
from app.edge.functions import (
    LONGEST_TIMEOUT,
    MAX_TEXT,
    MOST_CONCURRENCY,
    MOST_RETRIES,
    NAME,
    Priority,
)
from app.edge.functions import EdgeFunction as Registered
from app.edge.health import FunctionHealth, HealthState
from app.edge.protection import BreakerState
from app.edge.statistics import PERCENTILES, FunctionStatistics, percentile
from app.edge.transports import AIOHTTP_UNAVAILABLE, EVENTLET_WORKER
from app.healing.report import timestamp
from app.web.json_bodies import Count, Keywords, Moment, Pid, Seconds, Share, filled

TRANSPORTS = ("aiohttp", "requests")
FALLBACK_REASONS = (AIOHTTP_UNAVAILABLE, EVENTLET_WORKER)

Name = Annotated[str, Keywords(pattern=f"^{NAME.pattern}$", examples=["orders"])]
Transport = Annotated[
    str | None, "What calls are made with; null: none can be.", Keywords(enum=[*TRANSPORTS, None])
]
Milliseconds = Annotated[float, Keywords(minimum=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFunction:
    """One function."""

    name: Name
    category: str
    priority: Priority
    description: Annotated[str, Keywords(maxLength=MAX_TEXT)]
    tags: list[str]
    health_status: Annotated[
        list[Annotated[int, Keywords(minimum=200, maximum=599)]],
        "What counts as healthy; empty: 200 to 299.",
    ]
    method: Annotated[str | None, "The method it is called with; null: the caller's."]
    timeout: Annotated[Seconds, "Seconds that a call may take.", Keywords(maximum=LONGEST_TIMEOUT)]
    retries: Annotated[Count, Keywords(maximum=MOST_RETRIES)]
    concurrency: Annotated[int, Keywords(minimum=1, maximum=MOST_CONCURRENCY)] | None
    max_request: Annotated[Count, "Bytes."]
    max_response: Annotated[Count, "Bytes."]
    stream: Annotated[bool, "Whether its answers are passed on as they come."]
    url: Annotated[str | None, "With the token only.", Keywords(format="uri")] = None
    health_path: Annotated[str | None, "With the token only."] = None
    headers: Annotated[
        list[str] | None, "The names of the headers it is sent; with the token only."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCheck:
    """A function's last health check, and the state that its checks amount to."""

    name: Name
    healthy: Annotated[bool, "What this check found."]
    state: HealthState
    streak: Annotated[int, "How many checks in a row had this result.", Keywords(minimum=1)]
    status: Annotated[int | None, "What it answered.", Keywords(minimum=100, maximum=999)]
    error: Annotated[ErrorKind | None, "Why it did not answer."]
    milliseconds: Milliseconds
    checked_at: Annotated[Moment, "When."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeBreaker:
    """A function's circuit breaker over all workers."""

    state: Annotated[BreakerState, "The worst of all workers."]
    workers: Annotated[dict[str, Count], "How many workers are in which state."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeStatistics:
    """Counts over all workers, restarts included."""

    calls: Count
    ok: Count
    errors: Annotated[dict[str, Count], "How many calls ended otherwise, by how."]
    latency_ms: Annotated[
        dict[str, Milliseconds | None], "Milliseconds by percentile; null before the first call."
    ]
    uptime: Annotated[
        dict[str, Share | None], "The share of health checks that went well, by length of time."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedFunction(EdgeFunction):
    """One function, and how it is."""

    health: EdgeCheck | None
    breaker: EdgeBreaker
    statistics: EdgeStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionInWorker:
    """A function in one worker."""

    breaker: BreakerState
    retry_after: Annotated[Seconds, "Seconds until it is tried again."]
    limit: Annotated[Count, "Calls that may be under way."]
    in_flight: Annotated[Count, "Calls that are."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeWorker:
    """What one worker says of itself."""

    host: str
    pid: Pid
    transport: Transport
    functions: Annotated[dict[str, FunctionInWorker], "Those of which there is something to tell."]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFault:
    """One fault of the registry file."""

    line: Annotated[int, Keywords(minimum=1)] | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The registry file."""

    state: Annotated[str, Keywords(enum=["valid", "none", "invalid"])]
    faults: Annotated[list[RegistryFault], "What is wrong with it; with the token only."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOverview:
    """How functions are called, and what is configured."""

    transport: Transport
    fallback_reason: Annotated[
        str | None,
        "Why it is not the first choice.",
        Keywords(enum=[*FALLBACK_REASONS, "no_transport", None]),
    ]
    configuration: Configuration
    total: Annotated[Count, "How many functions are registered."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeList(EdgeOverview):
    """The registered functions."""

    functions: list[EdgeFunction]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeMetrics(EdgeOverview):
    """Counts, latencies and uptime of each function."""

    functions: Annotated[dict[str, EdgeStatistics], "By name."]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCounts(EdgeOverview):
    """How many functions are in which state."""

    healthy: Count
    unhealthy: Count
    unknown: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeStatus(EdgeCounts):
    """The functions with their health, breakers and statistics."""

    workers: list[EdgeWorker]
    functions: list[WatchedFunction]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeHealth(EdgeCounts):
    """The health of every function, checked now."""

    results: list[EdgeCheck]


Overview = TypeVar("Overview", bound=EdgeOverview)
Function = TypeVar("Function", bound=EdgeFunction)


def overview(body: type[Overview], edge: EdgeClient, *, details: bool, **given: object) -> Overview:
    """A body with what every answer about the functions says, and what is given."""
    registry, faults = edge.registry, []
    if registry.error is None:
        state = "valid" if registry.configured else "none"
    else:
        state = "invalid"
        faults = [filled(RegistryFault, one) for one in registry.error.faults] if details else []
    counts: dict[str, object] = {}
    if issubclass(body, EdgeCounts):
        states = Counter(result.state for result in edge.results.values())
        states[HealthState.UNKNOWN] += len(edge.functions) - states.total()
        counts = {str(state): states[state] for state in HealthState}
    return body(
        transport=edge.transport_name(),
        fallback_reason=edge.fallback_reason(),
        configuration=Configuration(state=state, faults=faults),
        total=len(edge.functions),
        **counts,
        **given,
    )


def function(
    body: type[Function], registered: Registered, *, details: bool, **given: object
) -> Function:
    """A registered function; where it is and what it is sent are details."""
    hidden: dict[str, object] = {"url": None, "health_path": None, "headers": None}
    shown = {"headers": sorted(name for name, _ in registered.headers)}
    return filled(body, registered, **(shown if details else hidden), **given)


def watched(
    edge: EdgeClient, workers: Iterable[Mapping[str, Any]], *, details: bool
) -> list[WatchedFunction]:
    """Every registered function with its health, its breaker over all workers, its statistics."""
    workers, results, shared = list(workers), edge.results, edge.statistics.shared()
    return [
        function(
            WatchedFunction,
            one,
            details=details,
            health=check(results[one.name]) if one.name in results else None,
            breaker=_breaker(one.name, workers),
            statistics=statistics(edge.statistics.of(one.name, shared=shared)),
        )
        for one in edge.functions
    ]


def check(result: FunctionHealth) -> EdgeCheck:
    """How one health check went."""
    return filled(EdgeCheck, result, checked_at=timestamp(result.checked_at))


def statistics(counted: FunctionStatistics) -> EdgeStatistics:
    """What was counted of one function; latencies in milliseconds."""
    outcomes = counted.outcomes
    latencies = {name: percentile(counted.latency, share) for name, share in PERCENTILES.items()}
    return EdgeStatistics(
        calls=sum(outcomes.values()),
        ok=outcomes.get(OK, 0),
        errors={outcome: calls for outcome, calls in sorted(outcomes.items()) if outcome != OK},
        latency_ms={n: None if s is None else round(s * 1000, 2) for n, s in latencies.items()},
        uptime={n: None if s is None else round(s, 6) for n, s in counted.uptime.items()},
    )


def worker(said: Mapping[str, Any]) -> EdgeWorker:
    """What a worker said, which may be one of another version."""
    functions = {name: filled(FunctionInWorker, one) for name, one in said["functions"].items()}
    return filled(EdgeWorker, said, functions=functions)


def _breaker(name: str, workers: Iterable[Mapping[str, Any]]) -> EdgeBreaker:
    closed = {"breaker": BreakerState.CLOSED}
    states = Counter(worker["functions"].get(name, closed)["breaker"] for worker in workers)
    worst = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)
    return EdgeBreaker(state=next(s for s in worst if states[s]), workers=dict(states))

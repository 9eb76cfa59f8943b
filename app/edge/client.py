"""Calls the registered functions, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from app.edge.bodies import CallerBody
from app.edge.breaker import Breaker, BreakerState
from app.edge.bulkhead import Bulkhead
from app.edge.calling import call
from app.edge.deadlines import Deadlines
from app.edge.errors import CallerFault, NoTransport, UnknownFunction
from app.edge.exchange import CallFailed, EdgeRequest
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.headers import address, forwarded, method_for
from app.edge.health import (
    LIFETIME,
    FunctionHealth,
    HealthState,
    breaker_checks,
    down_checks,
    judge,
)
from app.edge.invocation import Invocation
from app.edge.lane import CALLER_FAULT, Lane
from app.edge.registry_file import FixedRegistry
from app.edge.statistics import Statistics
from app.edge.store import EdgeStore
from app.edge.transports import (
    AIOHTTP_UNAVAILABLE,
    Importer,
    TransportChoice,
    Transports,
    monkey_patched,
)
from app.healing.background import SharedCall
from app.healing.report import Check
from app.telemetry.context import work_of
from app.telemetry.tracing import NullTracer, Tracer

#: Calls that may be under way at once in a worker whose threads are green.
GREEN_SHARE = 256
#: A caller's body has to be here by this share of the call's time before its end, so that who was
#: too slow is never in doubt.
BODY_MARGIN = 0.1


class Registry(Protocol):
    """Where the client finds what is registered, at any time."""

    @property
    def registry(self) -> EdgeRegistry:
        """What is registered now."""


class EdgeClient:
    """The registered functions, called through whichever transport can be imported.

    Args:
        registry: what may be called; one that follows its file, or one that stays as it is.
        importer: gives the module of a name, or None when it cannot be imported; asked at each
            call, so that a heal changes the transport.
        home: where statistics are kept for all workers; with none they stay in this process.
        share: how many calls may be under way at once in this worker.
        clock: seconds that never go back.
        wall_clock: seconds since the epoch.
        tracer: gives what makes a span of each call.
    """

    def __init__(
        self,
        registry: EdgeRegistry | Registry,
        importer: Importer,
        *,
        home: Path | None = None,
        share: int = 4,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        tracer: Callable[[], Tracer] = NullTracer,
    ) -> None:
        fixed = isinstance(registry, EdgeRegistry)
        self._source: Registry = FixedRegistry(registry) if fixed else registry  # type: ignore[arg-type, assignment]
        self.statistics = Statistics(EdgeStore(home), clock=wall_clock)
        self._transports = Transports(importer)
        self._bulkhead = Bulkhead(lambda: GREEN_SHARE if monkey_patched() else share, clock=clock)
        self._check_limit = self._bulkhead.limit(None)
        self._check_limit.bound(max(1, self._check_limit.ceiling // 2))
        #: Ends what takes too long on a caller's side.
        self.deadlines = Deadlines()
        self._clock, self._wall_clock = clock, wall_clock
        self._tracer = tracer
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._lanes_of: EdgeRegistry | None = None
        self._results: dict[str, FunctionHealth] = {}
        self._check_all = SharedCall(self._checked_now)

    @property
    def registry(self) -> EdgeRegistry:
        """What is registered now."""
        return self._source.registry

    @property
    def functions(self) -> tuple[EdgeFunction, ...]:
        """The registered functions, in the order of the file."""
        return self.registry.functions

    @property
    def results(self) -> Mapping[str, FunctionHealth]:
        """How each registered function was when a worker of the host last checked it.

        What is older than LIFETIME is left out.
        """
        oldest = self._wall_clock() - LIFETIME
        return {n: r for n, r in self._last_results().items() if r.checked_at >= oldest}

    def transport_name(self) -> str | None:
        """The transport that a call made now would use; None when there is none."""
        choice = self._choice()
        return choice.transport.name if choice else None

    def fallback_reason(self) -> str | None:
        """Why that is not the first choice, as a code; None when it is."""
        choice = self._choice()
        return choice.fallback_reason if choice else "no_transport"

    def lanes(self) -> Mapping[str, Lane]:
        """Every registered function with its breaker and its limit in this process."""
        registry = self.registry
        if registry is not self._lanes_of:
            with self._lock:
                if registry is not self._lanes_of:
                    self._lanes = {f.name: self._lane(f) for f in registry.functions}
                    self._lanes_of = registry
        return self._lanes

    def breakers(self) -> dict[str, BreakerState]:
        """The breakers of this process that are not closed."""
        states = {name: lane.breaker.state for name, lane in self.lanes().items()}
        return {name: state for name, state in states.items() if state is not BreakerState.CLOSED}

    def check_all(self) -> list[FunctionHealth]:
        """Call every function's health path concurrently; callers at the same time share one run.

        Raises:
            NoTransport: when nothing that could make calls can be imported.
        """
        return self._check_all()

    def check_all_for_request(self) -> list[FunctionHealth]:
        """``check_all`` for somebody whose thread waits for it.

        It takes one of the places of edge calls, of which it leaves half to calls: a function that
        hangs must not take all of a worker's threads.

        Raises:
            NoTransport: when nothing that could make calls can be imported.
            Saturated: when edge calls and checks have their share of threads already.
        """
        place = self._bulkhead.enter(self._check_limit)
        try:
            return self._check_all()
        finally:
            place.leave()

    def invoke(
        self,
        name: str,
        *,
        method: str = "GET",
        path: str = "",
        query: str = "",
        body: CallerBody | bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        patience: float | None = None,
    ) -> Invocation:
        """Call a function and bring back its answer, or the beginning of a long one.

        What goes wrong at the function is in the result; close it in any case.

        Args:
            name: the function's name.
            method: the caller's HTTP method.
            path: what is added to the function's URL, decoded; it cannot leave that URL.
            query: the query string, as the caller wrote it.
            body: the request's body.
            headers: the caller's headers; only those of the allow-list go through. The request id
                and trace are those of the request that this thread answers, or else theirs.
            patience: seconds that the caller gives the call, when less than the function's timeout.

        Raises:
            UnknownFunction: when the name is not registered.
            InvalidPath: when the path has dot segments, backslashes or control characters.
            MethodRefused: when the function is called with another method.
            NoTransport: when nothing that could make calls can be imported.
            Refused: when its breaker is open, or edge calls have their share of threads already.
            CallerFault: when the caller's body is too large or does not come in time.
        """
        lane = self.lanes().get(name)
        if lane is None:
            raise UnknownFunction(name)
        function, fields = lane.function, list(headers)
        work = work_of({key.lower(): value for key, value in fields})
        method, url = method_for(function, method), address(function.url, path, query)
        choice = self._transports.choose()
        passage = lane.enter()
        span = self._tracer().call(work.trace, name, method, function.url)
        request = EdgeRequest(
            name=name,
            id=work.request_id,
            method=method,
            url=url,
            timeout=min(function.timeout, patience or function.timeout),
            headers=forwarded(function, fields, work.request_id, span.trace),
            body=body if isinstance(body, bytes) else None,
            max_bytes=function.max_response,
            stream=function.stream,
        )
        result = Invocation(name, request.id, choice, passage, span)
        self._call(result, function, request, body if isinstance(body, CallerBody) else None)
        return result

    def checks(self) -> list[Check]:
        """What the service's own health says of edge functions; calls nobody.

        A function that is down, or left alone by its breaker, makes the service degraded, never
        unhealthy.
        """
        down = [r for r in self.results.values() if r.state is HealthState.UNHEALTHY]
        return [self._own_check(), *down_checks(down), *breaker_checks(self.breakers())]

    def share_state(self, *, idle: float = 0.0) -> None:
        """Write what was counted, tell other workers what holds here, learn what they found.

        While nothing is new here, what was learnt last counts for ``idle`` seconds.
        """
        lanes = {name: lane.state() for name, lane in self.lanes().items() if not lane.quiet}
        state = {"transport": self.transport_name(), "functions": lanes}
        self.statistics.refresh(state, idle=idle)

    def close(self) -> None:
        """Give back threads and connections, and write what was counted."""
        self._transports.close()
        self.deadlines.close()
        self.statistics.close()

    def _call(
        self,
        result: Invocation,
        function: EdgeFunction,
        request: EdgeRequest,
        body: CallerBody | None,
    ) -> None:
        until, passage = time.monotonic() + request.timeout, result.passage
        try:
            if body is not None:
                in_by = until - request.timeout * BODY_MARGIN
                admitted = body.admit(function.max_request, in_by, passage.callers_turn)
                request = replace(request, body=admitted)
            result.reply = call(result.choice.transport, request, until, function.retries)
        except CallFailed as failure:
            result.error, result.failed_status = failure.kind, failure.status
        except CallerFault:
            passage.ended(CALLER_FAULT)
            result.close(CALLER_FAULT)
            raise
        except BaseException as error:
            result.close(type(error).__name__)
            raise
        result.seconds = passage.seconds
        result.settle()

    def _lane(self, function: EdgeFunction) -> Lane:
        """The function's lane; a breaker stays as long as the URL does."""
        old = self._lanes.get(function.name)
        if old is not None and old.function == function:
            return old
        kept = old.breaker if old is not None and old.function.url == function.url else None
        breaker = kept or Breaker(clock=self._clock)
        return Lane(function, self._bulkhead, self.statistics, breaker)

    def _choice(self) -> TransportChoice | None:
        try:
            return self._transports.choose()
        except NoTransport:
            return None

    def _last_results(self) -> dict[str, FunctionHealth]:
        """The newest result of each registered function, whichever worker has it."""
        lanes = self.lanes()
        if not lanes:
            return {}
        shared, own = self.statistics.shared().checks, self._results
        found = {}
        for name in lanes:
            both = [r for r in (shared.get(name), own.get(name)) if r is not None]
            if both:
                found[name] = max(both, key=lambda result: result.checked_at)
        return found

    def _checked_now(self) -> list[FunctionHealth]:
        functions = self.functions
        if not functions:
            return []
        requests = [_health_request(function) for function in functions]
        responses = self._transports.choose().transport.send(requests)
        now, before = self._wall_clock(), self._last_results()
        results = [
            judge(function, response, before.get(function.name), now)
            for function, response in zip(functions, responses, strict=True)
        ]
        self._results = {result.name: result for result in results}
        self.statistics.count_checks(results)
        return results

    def _own_check(self) -> Check:
        reason, advice = self._trouble()
        choice = self._choice()
        falls_back = choice is not None and choice.fallback_reason is not None
        return Check(
            name="edge_functions",
            kind="edge",
            subject="edge functions",
            ok=reason is None,
            reason=reason,
            advice=advice,
            fallback=choice.transport.name if choice and falls_back else None,
        )

    def _trouble(self) -> tuple[str | None, str | None]:
        """The first thing that is wrong here: a reason code and a sentence."""
        if self.registry.error is not None:
            return "registry_invalid", f"edge functions file: {self.registry.error}"
        choice = self._choice()
        if choice is None:
            return "no_transport", "neither aiohttp nor requests can be imported"
        if choice.fallback_reason == AIOHTTP_UNAVAILABLE:
            return "fallback_transport", "aiohttp cannot be imported, so requests is used"
        # An eventlet worker has no better transport, so nothing is wrong with that one.
        return None, None


def _health_request(function: EdgeFunction) -> EdgeRequest:
    return EdgeRequest(
        name=function.name,
        url=function.health_url,
        timeout=function.timeout,
        headers=dict(function.headers),
    )

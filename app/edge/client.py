"""Calls the registered functions, and nothing else."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from app.edge.calls import GuardedFunction, Invocation, address, forwarded, method_for
from app.edge.errors import CircuitOpen, NoTransport, Refused, UnknownFunction
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.health import LIFETIME, FunctionHealth, failed_checks, judge
from app.edge.protection import Breaker, BreakerState, Bulkhead, Deadlines
from app.edge.statistics import FunctionStatistics, Statistics
from app.edge.store import EdgeStore
from app.edge.transports import (
    AIOHTTP_UNAVAILABLE,
    CallerBody,
    EdgeRequest,
    Transports,
    monkey_patched,
)
from app.healing.background import SharedCall
from app.healing.report import Check
from app.telemetry.context import request_id, work_of
from app.telemetry.tracing import Tracer

#: Calls that may be under way at once in a worker whose threads are green.
GREEN_SHARE = 256
#: Outcomes of calls that were not made.
CIRCUIT_OPEN, SATURATED = "circuit_open", "saturated"


class EdgeClient:
    """The registered functions, called through whichever transport can be imported.

    Args:
        registry: gives what is registered now.
        load: gives the module of a name, or None when it cannot be imported; asked at each call, so
            that a heal changes the transport.
        installed: whether that module is there, without importing it: asked while no function is
            registered.
        home: where statistics are kept for all workers; with none they stay in this process.
        share: how many calls may be under way at once in this worker.
        clock: seconds that never go back.
        wall_clock: seconds since the epoch.
        tracer: gives what makes a span of each call.
    """

    def __init__(  # noqa: PLR0913 - all but two have a default
        self,
        registry: Callable[[], EdgeRegistry],
        load: Callable[[str], ModuleType | None],
        *,
        installed: Callable[[str], bool] | None = None,
        home: Path | None = None,
        share: int = 4,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        tracer: Callable[[], Tracer] = Tracer,
    ) -> None:
        self._registered = registry
        self.statistics = Statistics(EdgeStore(home), clock=wall_clock)
        self._transports = Transports(load, installed)
        self._bulkhead = Bulkhead(lambda: GREEN_SHARE if monkey_patched() else share, clock=clock)
        self._check_limit = self._bulkhead.limit(None)
        self._check_limit.bound(max(1, self._check_limit.ceiling // 2))
        #: Ends what takes too long on a caller's side.
        self.deadlines = Deadlines()
        #: When the process will end, of ``time.monotonic``.
        self._ends_at = math.inf
        self._clock, self._wall_clock = clock, wall_clock
        self._tracer = tracer
        self._lock = threading.Lock()
        self._guarded: dict[str, GuardedFunction] = {}
        self._guarded_of: EdgeRegistry | None = None
        self._results: dict[str, FunctionHealth] = {}
        #: Calls every function's health path concurrently; callers at the same time share one run.
        #: Raises NoTransport when nothing that could make calls can be imported.
        self.check_all = SharedCall(self._check_now)

    @property
    def registry(self) -> EdgeRegistry:
        """What is registered now."""
        return self._registered()

    @property
    def functions(self) -> tuple[EdgeFunction, ...]:
        """The registered functions, in the order of the file."""
        return self.registry.functions

    def guarded(self) -> Mapping[str, GuardedFunction]:
        """Every registered function with its breaker and its limit in this process.

        A breaker stays as long as the URL does.
        """
        registry = self.registry
        with self._lock:
            if registry is not self._guarded_of:
                before, self._guarded, self._guarded_of = self._guarded, {}, registry
                for function in registry.functions:
                    old = before.get(function.name)
                    if old is None or old.function != function:
                        same = old if old is not None and old.function.url == function.url else None
                        breaker = same.breaker if same else Breaker(clock=self._clock)
                        limit = self._bulkhead.limit(function.concurrency)
                        old = GuardedFunction(function, breaker, limit)
                    self._guarded[function.name] = old
            return self._guarded

    def breakers(self) -> dict[str, BreakerState]:
        """The breakers of this process that are not closed."""
        states = {name: guarded.breaker.state for name, guarded in self.guarded().items()}
        return {name: state for name, state in states.items() if state is not BreakerState.CLOSED}

    def transport_name(self) -> str | None:
        """The transport that a call made now would use; None when there is none."""
        return self._transport()[0]

    def fallback_reason(self) -> str | None:
        """Why that is not the first choice, as a code; None when it is."""
        return self._transport()[1]

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
        guarded = self.guarded().get(name)
        if guarded is None:
            raise UnknownFunction("no edge function has this name")
        function, fields = guarded.function, list(headers)
        work = work_of({key.lower(): value for key, value in fields})
        method, url = method_for(function, method), address(function.url, path, query)
        choice = self._transports.choose()
        try:
            permission, slot = guarded.enter(self._bulkhead)
        except Refused as refusal:
            outcome = CIRCUIT_OPEN if isinstance(refusal, CircuitOpen) else SATURATED
            self.statistics.count(name, outcome)
            raise
        span = self._tracer().call(work.trace, name, method, function.url)
        count = self.statistics.count
        invocation = Invocation(guarded, work.request_id, choice, span, permission, slot, count)
        request = EdgeRequest(
            name=name,
            id=work.request_id,
            method=method,
            url=url,
            timeout=min(
                function.timeout,
                patience or function.timeout,
                max(0.001, self._ends_at - time.monotonic()),
            ),
            headers=forwarded(function, fields, work.request_id, span.trace),
            body=body if isinstance(body, bytes) else None,
            max_bytes=function.max_response,
            stream=function.stream,
        )
        invocation.call(request, body if isinstance(body, CallerBody) else None)
        return invocation

    def drain(self, seconds: float) -> None:
        """Let no call last longer than the process, which has so many seconds left.

        What is under way a second before that is cut, so that it can still be answered as failed.
        """
        self._ends_at = time.monotonic() + max(seconds / 2, seconds - 1.0)
        self.deadlines.watch(self._ends_at, self._transports.close)

    def check_all_for_request(self) -> list[FunctionHealth]:
        """``check_all`` for somebody whose thread waits for it.

        It takes one of the slots of edge calls, of which it leaves half to calls: a function that
        hangs must not take all of a worker's threads.

        Raises:
            NoTransport: when nothing that could make calls can be imported.
            Saturated: when edge calls and checks have their share of threads already.
        """
        slot = self._bulkhead.acquire(self._check_limit)
        try:
            return self.check_all()
        finally:
            slot.release()

    @property
    def results(self) -> Mapping[str, FunctionHealth]:
        """How each registered function was when a worker of the host last checked it.

        What is older than LIFETIME is left out.
        """
        oldest = self._wall_clock() - LIFETIME
        return {n: r for n, r in self._last_results().items() if r.checked_at >= oldest}

    def checks(self) -> list[Check]:
        """What the service's own health says of edge functions; calls nobody.

        A function that is down, or left alone by its breaker, makes the service degraded, never
        unhealthy.
        """
        (transport, why), error, reason, advice = self._transport(), self.registry.error, None, None
        if error is not None:
            reason = "variable_unset" if self.registry.unset else "registry_invalid"
            advice = f"edge functions file: {error}"
        elif transport is None:
            reason, advice = "no_transport", "neither aiohttp nor requests can be imported"
        elif why == AIOHTTP_UNAVAILABLE:
            # An eventlet worker has no better transport, so nothing is wrong with that one.
            reason, advice = "fallback_transport", "aiohttp cannot be imported, so requests is used"
        own = Check(
            name="edge_functions",
            kind="edge",
            subject="edge functions",
            ok=reason is None,
            reason=reason,
            advice=advice,
            fallback=transport if why else None,
        )
        return [own, *failed_checks(self.results.values(), self.breakers())]

    def workers(self) -> list[dict[str, Any]]:
        """What each worker of the host says of itself, this one as of now.

        ``functions`` has those alone of which there is something to say: a breaker that is not
        closed, calls under way, a limit below its ceiling.
        """
        own = {"host": socket.gethostname(), "pid": os.getpid()}
        shared = self.statistics.shared().workers if self.functions else ()
        others = [w for w in shared if (w.get("host"), w.get("pid")) != tuple(own.values())]
        return [*others, {**own, **self._state()}]

    def statistics_by_name(self) -> dict[str, FunctionStatistics]:
        """The statistics of each registered function, as of now."""
        if not self.functions:
            return {}
        shared = self.statistics.shared(now=True)
        return {f.name: self.statistics.of(f.name, shared=shared) for f in self.functions}

    def share_state(self, *, idle: float = 0.0) -> None:
        """Write what was counted, say how this worker is, read what the others say.

        While nothing is new here, what was read last counts for ``idle`` seconds.
        """
        self.statistics.refresh(self._state(), idle=idle)

    def close(self) -> None:
        """Give back threads and connections, and write what was counted."""
        self._transports.close()
        self.deadlines.close()
        self.statistics.close()

    def _transport(self) -> tuple[str | None, str | None]:
        """The name of the transport in use, and why it is not the first choice."""
        try:
            if not self.functions:
                return self._transports.expected()
            choice = self._transports.choose()
        except NoTransport:
            return None, "no_transport"
        return choice.transport.name, choice.fallback_reason

    def _state(self) -> dict[str, object]:
        states = {name: guarded.state() for name, guarded in self.guarded().items()}
        functions = {name: state for name, state in states.items() if state is not None}
        return {"transport": self.transport_name(), "functions": functions}

    def _last_results(self) -> dict[str, FunctionHealth]:
        """The newest result of each registered function, whichever worker has it."""
        names = [function.name for function in self.functions]
        shared = self.statistics.shared().checks if names else {}
        both = [*shared.values(), *self._results.values()]
        newest = {r.name: r for r in sorted(both, key=lambda result: result.checked_at)}
        return {name: newest[name] for name in names if name in newest}

    def _check_now(self) -> list[FunctionHealth]:
        functions = self.functions
        if not functions:
            return []
        requests = [
            EdgeRequest(
                name=function.name,
                id=request_id(None),
                url=function.url + function.health_path,
                timeout=function.timeout,
                headers=dict(function.headers),
            )
            for function in functions
        ]
        outcomes = self._transports.choose().transport.send(requests)
        now, before = self._wall_clock(), self._last_results()
        results = [
            judge(function, outcome, before.get(function.name), now)
            for function, outcome in zip(functions, outcomes, strict=True)
        ]
        self._results = {result.name: result for result in results}
        self.statistics.count_checks(results)
        return results

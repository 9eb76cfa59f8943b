"""How edge functions are doing, for those who ask: in this worker, in each, and together."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

from app.edge.breaker import BreakerState
from app.edge.client import EdgeClient
from app.edge.statistics import FunctionStatistics


def workers(edge: EdgeClient) -> list[dict[str, Any]]:
    """What each worker of the host says of itself, this one as of now.

    ``functions`` has those alone of which there is something to tell: a breaker that is not
    closed, calls under way, a limit below its ceiling.
    """
    others = [worker for worker in edge.statistics.shared().workers if not _is_this(worker)]
    return [*others, _this(edge)]


def statistics(edge: EdgeClient) -> dict[str, FunctionStatistics]:
    """The statistics of each registered function, as of now."""
    shared = edge.statistics.shared(now=True)
    return {f.name: edge.statistics.of(f.name, shared=shared) for f in edge.functions}


def open_breakers(edge: EdgeClient) -> Counter[str]:
    """In how many workers each function is left alone."""
    return Counter(
        name
        for worker in workers(edge)
        for name, state in worker["functions"].items()
        if state["breaker"] == BreakerState.OPEN
    )


def _is_this(worker: Mapping[str, Any]) -> bool:
    return worker.get("pid") == os.getpid() and worker.get("host") == socket.gethostname()


def _this(edge: EdgeClient) -> dict[str, Any]:
    lanes = {name: lane.state() for name, lane in edge.lanes().items() if not lane.quiet}
    who = {"host": socket.gethostname(), "pid": os.getpid()}
    return {**who, "transport": edge.transport_name(), "functions": lanes}

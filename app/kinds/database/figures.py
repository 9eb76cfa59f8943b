"""What is measured of a database in each process: its series, and what operators look at."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.kinds.database.engines import Usage

GAUGES: Mapping[str, str] = {
    "database_up": "Workers for which a database does what its role says",
    "database_connections_in_use": "Connections that are given out",
    "database_connections_idle": "Connections that nobody uses",
    "database_connections_waiting": "Checkouts that wait for a connection",
}
COUNTERS: Mapping[str, str] = {
    "database_checkouts_total": "Connections given out by all workers",
    "database_reconnects_total": "Times that a database came back to a worker",
    "database_failovers_total": "Times that a worker found another host to serve",
    "database_down_seconds_total": "Seconds for which a database was down, of all workers",
}


@dataclass(slots=True)
class Counts:
    """What has happened to a database since the process began; ``down_since`` is monotonic."""

    reconnects: int = 0
    failovers: int = 0
    seconds_down: float = 0.0
    down_since: float | None = None


def measured(counts: Counts, usage: Usage, holders: tuple[str, ...]) -> dict[str, Any]:
    """The values of the series, and ``holders``: who has connections, functions and lines."""
    now = time.monotonic()
    down = 0.0 if counts.down_since is None else now - counts.down_since
    return {
        "database_up": int(counts.down_since is None),
        "database_connections_in_use": usage.in_use,
        "database_connections_idle": usage.idle,
        "database_connections_waiting": usage.waiting,
        "database_checkouts_total": usage.checkouts,
        "database_reconnects_total": counts.reconnects,
        "database_failovers_total": counts.failovers,
        "database_down_seconds_total": round(counts.seconds_down + down, 1),
        "most": usage.most,
        "holders": list(holders),
    }

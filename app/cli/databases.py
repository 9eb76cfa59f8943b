"""``database``: how the declared databases are, looked at now, and the pools of the workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from app.cli.command import OK, WRONG, Output, command, reading_engine, settings
from app.cli.healing import UnknownSubject
from app.healing.report import timestamp
from app.isolation.workers import WorkerBoard
from app.kinds.database.kind import DatabaseKind
from app.kinds.database.plans import KIND

COLUMNS = ("database", "state", "role", "host", "in_use", "most", "waiting", "pending")


@command("database", codes="Exits with 1 when one of them is not well.")
@click.argument("name", required=False)
def database(output: Output, name: str | None) -> int:
    """Every declared database: state, role, host, pools, pending migrations; of NAME all of it."""
    kind = reading_engine().kinds[KIND]
    if not isinstance(kind, DatabaseKind):
        raise TypeError(KIND)
    if name is not None and name not in kind.subjects():
        raise UnknownSubject(f"the manifest declares no database {name}")
    workers = [
        worker.get("measured", {}).get(KIND, {}) for worker in WorkerBoard(settings().home).read()
    ]
    with output.working("asking the databases"):
        rows = [_look(kind, one, workers) for one in kind.subjects() if name in {None, one}]
    output.document(rows if name is None else rows[0])
    if name is None:
        output.table(COLUMNS, rows)
    else:
        for key, value in rows[0].items():
            for text in value or ["-"] if isinstance(value, list) else [value]:
                output.line(f"{key.replace('_', ' '):<12}{'-' if text in {None, ''} else text}")
    return OK if all(row["state"] == "ok" for row in rows) else WRONG


def _look(
    kind: DatabaseKind, name: str, workers: Iterable[Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """What is known of a database, the pools of all workers added up."""
    probed = kind.look(name)
    fault = next((one for one in kind.faults() if one.subject == name), None)
    measured = [worker[name] for worker in workers if name in worker]

    def total(figure: str) -> int:
        return sum(each.get(figure, 0) for each in measured)

    return {
        "database": name,
        "state": "ok" if fault is None else str(fault.cause),
        "advice": None if fault is None else fault.advice,
        "role": probed.role,
        "host": probed.host,
        "looked_at": timestamp(probed.at),
        "in_use": total("database_connections_in_use"),
        "idle": total("database_connections_idle"),
        "waiting": total("database_connections_waiting"),
        "most": total("most"),
        "holders": [holder for each in measured for holder in each.get("holders", ())],
        "pending": list(probed.pending),
    }

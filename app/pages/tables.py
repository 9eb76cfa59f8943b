"""Tables of what the parts know, each a plain list of rows: one template shows them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.edge.client import EdgeClient
from app.edge.health import HealthState
from app.edge.statistics import PERCENTILES, percentile
from app.healing.engine import Engine
from app.healing.journal import Attempt
from app.healing.kind import Fix, Kind, Measuring, Outcome
from app.isolation.states import BlueprintState
from app.settings.declarations import VARIABLES
from app.settings.sources import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value: text, how good it is (``good``, ``warn``, ``bad``), and what it leads to.

    ``at`` is a moment in seconds since the epoch that is shown instead of text. ``fault`` is the
    kind and the subject whose page it leads to. ``copy`` is what a button beside it copies.
    """

    text: str = ""
    mark: str = ""
    at: float | None = None
    fault: tuple[str, str] | None = None
    code: bool = False
    copy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its heading; ``empty`` is said in its place when it has no rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str = "None."


def blueprints(states: Iterable[BlueprintState]) -> Table:
    """Every blueprint: where it answers, whether it serves, and why not."""
    rows = [
        (
            Cell(text=state.name.replace("_", " ")),
            Cell(text=" ".join(state.paths), code=True),
            Cell(text="critical" if state.critical else ""),
            Cell(text="up", mark="good")
            if state.active
            else Cell(text=f"down: {state.reason}", mark="bad" if state.critical else "warn"),
            Cell(text="until a restart" if state.needs_restart else ""),
        )
        for state in states
    ]
    columns = ("blueprint", "addresses", "critical", "state", "lasts")
    return Table(title="Blueprints", columns=columns, rows=tuple(rows))


def needs(engine: Engine) -> Table:
    """What blueprints need, of every kind, and whether it is there."""
    rows = []
    for kind in engine.kinds.values():
        for subject, modules in sorted(kind.needs.items()):
            fault = kind.unmet(subject)
            met = Cell(text="met", mark="good")
            if fault is not None:
                met = Cell(text=fault.cause, mark="warn", fault=(fault.kind, fault.subject))
            rows.append(
                (
                    Cell(text=kind.name),
                    Cell(text=subject, code=True),
                    Cell(text=", ".join(modules)),
                    met,
                )
            )
    columns = ("kind", "subject", "needed by", "state")
    return Table(title="What they need", columns=columns, rows=tuple(rows))


def workers(found: Iterable[dict[str, Any]]) -> Table:
    """The living workers of the host, what each serves, and how much it runs now."""
    rows = [
        (
            Cell(text=f"{one.get('host')} {one.get('pid')}"),
            Cell(text=str(one.get("mode", ""))),
            Cell(text=", ".join(one.get("active", ()))),
            Cell(
                text=", ".join(f"{n} ({why})" for n, why in one.get("quarantined", {}).items()),
                mark="warn",
            ),
            Cell(text=str(one.get("requests", ""))),
            Cell(text=str(one.get("booted_at", ""))),
            Cell(at=one["last_seen"]),
        )
        for one in found
    ]
    columns = (
        *("worker", "mode", "serves", "does not serve"),
        *("requests under way", "booted", "last seen"),
    )
    return Table(title="Workers", columns=columns, rows=tuple(rows))


def subjects(kind: Kind) -> Table:
    """What a kind watches and what is wrong with it, by what it tells itself."""
    faults = {fault.subject: fault for fault in kind.faults()}
    watched = {**dict.fromkeys(faults, False), **kind.subjects()}
    rows = []
    for subject in sorted(watched):
        fault = faults.get(subject)
        state = Cell(text="well", mark="good")
        if fault is not None:
            state = Cell(text=fault.cause, mark="bad", fault=(kind.name, subject))
        needed_by = ", ".join(kind.needs.get(subject, ()))
        critical = "critical" if watched[subject] else ""
        rows.append(
            (Cell(text=subject, code=True), Cell(text=critical), Cell(text=needed_by), state)
        )
    columns = ("subject", "critical", "needed by", "state")
    return Table(title="What is watched", columns=columns, rows=tuple(rows))


def measured(kind: Kind) -> Table | None:
    """What a kind measures of its subjects, in its own words; None where it measures nothing."""
    if not isinstance(kind, Measuring):
        return None
    rows = [
        (Cell(text=subject, code=True), Cell(text=name.replace("_", " ")), Cell(text=str(value)))
        for subject, values in sorted(kind.measure().items())
        for name, value in values.items()
    ]
    columns = ("subject", "what", "value")
    return Table(title="What is measured", columns=columns, rows=tuple(rows))


def layers(fixes: Iterable[Fix]) -> Table:
    """What runs only because it was healed, with the line that makes it permanent."""
    rows = [
        (
            Cell(text=fix.kind),
            Cell(text=fix.subject, code=True),
            Cell(text=", ".join(fix.installed)),
            Cell(text=fix.at),
            Cell(text="listed" if fix.listed else "", mark="good"),
            Cell(text=fix.requirement, code=True, copy="" if fix.listed else fix.requirement),
        )
        for fix in fixes
    ]
    columns = ("kind", "subject", "installed", "at", "in the requirements", "line")
    empty = "Nothing: what runs was there before the service began."
    title = "What runs only because it was healed"
    return Table(title=title, columns=columns, rows=tuple(rows), empty=empty)


def attempts(found: Iterable[Attempt]) -> Table:
    """Attempts as the journal has them, newest first."""
    rows = [
        (
            Cell(at=one.at),
            Cell(text=one.kind),
            Cell(text=one.subject, fault=(one.kind, one.subject)),
            Cell(text=one.cause, code=True),
            Cell(text=one.outcome, mark="good" if one.outcome == Outcome.HEALED else "warn"),
            Cell(text=f"{one.seconds:.1f} s"),
            Cell(text=f"{one.host} {one.pid}"),
            Cell(text=", ".join(one.installed)),
        )
        for one in found
    ]
    columns = ("ended", "kind", "subject", "cause", "outcome", "took", "process", "installed")
    return Table(title="Attempts", columns=columns, rows=tuple(rows), empty="None was made.")


def settings(environ: Environment) -> Table:
    """The service's settings and where each comes from; no values."""
    rows = []
    for variable in VARIABLES:
        reading = variable.read(environ)
        state = Cell(text="used", mark="good")
        if reading.fault is not None:
            state = Cell(text=f"has to be {reading.fault.expected}", mark="bad")
        rows.append(
            (
                Cell(text=variable.name, code=True),
                Cell(text=reading.source),
                Cell(text=variable.documented_default, code=True),
                Cell(text=variable.meaning),
                state,
            )
        )
    columns = ("setting", "from", "default", "meaning", "state")
    return Table(title="Settings", columns=columns, rows=tuple(rows))


def edge_functions(edge: EdgeClient) -> Table:
    """Each edge function: its last check, the share of good checks, and how long calls take."""
    results, counted = edge.results, edge.statistics_by_name()
    rows = []
    for function in edge.functions:
        result, statistics = results.get(function.name), counted[function.name]
        state = Cell(text="not checked yet")
        if result is not None:
            mark = "good" if result.state is HealthState.HEALTHY else "bad"
            state = Cell(text=f"{result.state}, {result.milliseconds:.0f} ms", mark=mark)
        calls = ", ".join(f"{count} {outcome}" for outcome, count in statistics.outcomes.items())
        shares = ((w, share) for w, share in statistics.uptime.items() if share is not None)
        times = {name: percentile(statistics.latency, p) for name, p in PERCENTILES.items()}
        shown = (f"{name} {time * 1000:.0f} ms" for name, time in times.items() if time)
        rows.append(
            (
                Cell(text=function.name, code=True),
                state,
                Cell(text=", ".join(f"{window} {share:.1%}" for window, share in shares)),
                Cell(text=calls),
                Cell(text=", ".join(shown)),
            )
        )
    columns = ("function", "last check", "good checks", "calls", "latency of calls")
    return Table(
        title="Edge functions", columns=columns, rows=tuple(rows), empty="None is registered."
    )

"""``status``, ``health`` and ``history``: how things are on this host, and how they came to be."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import click

from app import CORE
from app.cli.command import OK, WRONG, Output, command, reading_engine, settings
from app.healing.home import trouble
from app.healing.journal import MAX_ROWS, Attempt
from app.healing.kind import Outcome
from app.healing.report import timestamp
from app.isolation.workers import WorkerBoard
from app.settings.declarations import Mode
from app.utils.auto_fix import AutoFixer

#: Seconds between two looks at the journal while following.
PAUSE = 0.5
#: More attempts than this are not made between two looks.
LOOKED_BACK = 100
HISTORY = ("at", "kind", "subject", "cause", "outcome", "seconds", "host", "pid", "installed")
FAULTS = ("kind", "subject", "cause", "outcome", "attempts_left", "next_try", "reason")
COUNTS = ("subject", "attempts", "successes", "failures", "attempts_left", "retry_after")
AGO = re.compile(r"(\d{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@command("status")
def status(output: Output) -> int:
    """Modes, open faults, budgets, fixes and living workers."""
    fixer, found = reading_engine(), settings()
    fixer.adopt()
    reason = trouble(found.home) if found.mode is Mode.HEAL else None
    mode = found.mode if reason is None else Mode.REPORT
    workers = [
        {**worker, "last_seen": timestamp(worker["last_seen"])}
        for worker in WorkerBoard(found.home).read()
    ]
    service = sorted({str(worker["mode"]) for worker in workers if "mode" in worker})
    faults: list[dict[str, Any]] = []
    for opened in fixer.open_faults():
        # That this command only reads is no refusal of the service's.
        refused = opened.outcome != Outcome.MODE or mode is not Mode.HEAL
        wait = opened.budget.retry_after
        faults.append(
            {
                **asdict(opened.fault),
                "fixable": opened.fault.fixable,
                "outcome": opened.outcome if refused else None,
                "reason": opened.reason if refused else None,
                "attempts_left": opened.budget.attempts_left,
                "retry_after": round(wait, 1),
                "next_try": timestamp(time.time() + wait) if wait > 0 else None,
            }
        )
    fixes = [fix.subject for fix in fixer.fixes()]
    counters: dict[str, Any] = fixer.status()
    output.document(
        {
            **counters,
            "mode": str(mode),
            "mode_reason": reason,
            "service_modes": service,
            "home": str(found.home),
            "lock": found.lock.name,
            "faults": faults,
            "fixes": fixes,
            "workers": workers,
        }
    )
    why = f" ({reason})" if reason else ""
    output.line(f"mode      {mode}{why}; the service: {', '.join(service) or 'not running'}")
    output.line(f"home      {found.home}")
    output.line(f"approved  {len(fixer.dependency_map)} modules")
    output.line(f"workers   {len(workers)}")
    output.line(f"fixes     {', '.join(fixes) or 'none in force'}")
    output.line(f"faults    {len(faults) or 'none'}")
    if faults:
        output.line()
        for one in faults:
            # What is wrong comes first where none may be tried: no outcome says it.
            if not one["fixable"] or not one["reason"]:
                more = None if one["outcome"] == Outcome.NOT_FIXABLE else one["reason"]
                one["reason"] = "; ".join(filter(None, (one["advice"], more)))
        output.table(FAULTS, faults)
    if counters["modules"]:
        output.line()
        budgets = counters["budgets"]
        counts = [(label, counters["modules"][label]) for label in sorted(counters["modules"])]
        output.table(COUNTS, [{"subject": one, **own, **budgets[one]} for one, own in counts])
    return OK


@command("health", codes="Exits with 1 when the service is unhealthy, 0 when healthy or degraded.")
def health(output: Output) -> int:
    """Every dependency and blueprint, looked at now.

    They are imported in a process of this command's own, which heals nothing.
    """
    fixer = reading_engine()
    fixer.adopt()
    with output.working("importing the blueprints"):
        for blueprint in (*CORE, *fixer.manifest.current.blueprints):
            # As the service does: without what it needs it is not imported.
            if not any(fixer.unmet(blueprint.needs)):
                fixer.resilient_blueprint_import(
                    blueprint.module, critical=blueprint.critical, heal=False
                )
        report = fixer.health_report()
    # The engine only reads here, which is not the mode that was set.
    engine = {**report.auto_fixer, "mode": str(settings().mode)}
    output.document(replace(report, auto_fixer=engine).to_dict())
    overall = str(report.overall_status)
    output.line(overall, colour={"healthy": "green", "degraded": "yellow"}.get(overall, "red"))
    shown = (
        {
            "check": one.name,
            "result": "ok" if one.ok else one.reason or "failed",
            "advice": one.advice,
        }
        for one in report.checks
    )
    output.table(("check", "result", "advice"), shown)
    for fix in report.fixes:
        output.line(f"healed: {fix}")
    return WRONG if overall == "unhealthy" else OK


# -- history ---------------------------------------------------------------------------------


def _since(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """An RFC 3339 moment, or a time ago, in seconds since the epoch."""
    if text is None:
        return None
    if match := AGO.fullmatch(text):
        ago = timedelta(**{UNITS[match[2]]: int(match[1])})
        return (datetime.now(UTC) - ago).timestamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("give 2026-11-23, 2026-11-23T18:00+00:00, 90m, 2h or 7d") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@command("history")
@click.option("--kind", help="Only attempts at faults of this kind, such as dependency.")
@click.option("--subject", "--module", help="Only attempts at this subject.")
@click.option("--outcome", help="Only this outcome, such as healed or hash_mismatch.")
@click.option("--cause", help="Only this cause, such as missing_distribution.")
@click.option("--since", callback=_since, help="Not older: an RFC 3339 moment, or 90m, 2h, 7d.")
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=20, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until interrupted.")
def history(
    output: Output, *, since: float | None, limit: int, follow: bool, **given: str | None
) -> int:
    """The journal's attempts to heal, newest last.

    With --json --follow they are an object a line.
    """

    def wanted(attempt: Attempt) -> bool:
        same = all(value in {None, getattr(attempt, name)} for name, value in given.items())
        return same and (since is None or attempt.at >= since)

    def body(attempt: Attempt) -> dict[str, object]:
        at, seconds = timestamp(attempt.at), round(attempt.seconds, 3)
        return {**asdict(attempt), "at": at, "module": attempt.subject, "seconds": seconds}

    fixer = reading_engine()
    recorded = fixer.history(MAX_ROWS)
    found = [attempt for attempt in reversed(recorded) if wanted(attempt)][-limit:]
    if not follow:
        output.document([body(attempt) for attempt in found])
        output.table(HISTORY, map(body, found))
        return OK
    try:
        for attempt in chain(found, _coming(fixer, {attempt.attempt for attempt in recorded})):
            if wanted(attempt):
                output.document(body(attempt), compact=True)
                output.row(HISTORY, body(attempt))
    except KeyboardInterrupt:
        # That is how following ends.
        pass
    return OK


def _coming(fixer: AutoFixer, seen: set[str]) -> Iterator[Attempt]:
    """The attempts that nobody has seen yet, as they are recorded."""
    while True:
        for attempt in reversed(fixer.history(LOOKED_BACK)):
            if attempt.attempt not in seen:
                seen.add(attempt.attempt)
                yield attempt
        time.sleep(PAUSE)

"""``status`` and ``health``: what the engine of this host did, and how things are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.cli import engines
from app.cli.command import OK, WRONG, command
from app.cli.output import Output
from app.isolation.workers import WorkerBoard
from app.utils.auto_fix import AutoFixer


@command("status")
def status(output: Output) -> int:
    """The engine's counters, budgets, fixes in force and living workers."""
    fixer = engines.reading()
    body = _status(fixer)
    output.document(body)
    if output.as_json:
        return OK
    output.line(f"mode      {body['mode']}")
    output.line(f"home      {body['home']}")
    output.line(f"approved  {body['dependency_map_size']} modules")
    output.line(f"workers   {len(body['workers'])}")
    output.line(f"fixes     {', '.join(body['fixes']) or 'none in force'}")
    if body["modules"]:
        output.line()
        output.table(("module", "attempts", "healed", "failed", "left", "again in"), _rows(body))
    return OK


def _status(fixer: AutoFixer) -> dict[str, Any]:
    counters: dict[str, Any] = fixer.status()
    return {
        **counters,
        "mode": str(engines.settings().mode),
        "home": str(fixer.settings.home),
        "lock": fixer.settings.lock.name,
        "fixes": [fix.subject for fix in fixer.fixes()],
        "workers": [
            {**worker, "last_seen": datetime.fromtimestamp(worker["last_seen"], UTC).isoformat()}
            for worker in WorkerBoard(fixer.settings.home).read()
        ],
    }


def _rows(body: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            name,
            counts["attempts"],
            counts["successes"],
            counts["failures"],
            body["budgets"][name]["attempts_left"],
            f"{body['budgets'][name]['retry_after']:.0f} s",
        )
        for name, counts in sorted(body["modules"].items())
    ]


@command("health", codes="Exits with 1 when the service is unhealthy, 0 when healthy or degraded.")
def health(output: Output) -> int:
    """Every dependency and blueprint, looked at now in this process; heals nothing."""
    from app import BLUEPRINTS

    fixer = engines.reading()
    fixer.adopt()
    with output.working("importing the blueprints"):
        for spec in BLUEPRINTS:
            fixer.resilient_blueprint_import(spec.path, critical=spec.critical, heal=False)
        report = fixer.health_report()
    output.document(report.to_dict())
    overall = str(report.overall_status)
    output.line(overall, colour={"healthy": "green", "degraded": "yellow"}.get(overall, "red"))
    rows = [
        (check.name, "ok" if check.ok else check.reason or "failed", check.advice or "")
        for check in report.checks
    ]
    output.table(("check", "result", "advice"), rows)
    for fix in report.fixes:
        output.line(f"healed: {fix}")
    return WRONG if overall == "unhealthy" else OK

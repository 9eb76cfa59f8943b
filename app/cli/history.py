"""``history``: the journal's attempts, filtered, and followed as they come."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

import click

from app.cli import engines
from app.cli.command import OK, command
from app.cli.output import Output
from app.healing.journal import MAX_ROWS, Attempt
from app.utils.auto_fix import AutoFixer

#: Seconds between two looks at the journal while following.
PAUSE = 0.5
#: More attempts than this are not made between two looks.
LOOKED_BACK = 100
COLUMNS = ("at", "module", "cause", "outcome", "seconds", "pid", "installed")
AGO = re.compile(r"(\d{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _since(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """An ISO 8601 moment, or a time ago, in seconds since the epoch."""
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
@click.option("--module", help="Only this module's attempts.")
@click.option("--outcome", help="Only this outcome, such as healed or hash_mismatch.")
@click.option("--cause", help="Only this cause, such as missing_distribution.")
@click.option("--since", callback=_since, help="Not older: an ISO 8601 moment, or 90m, 2h, 7d.")
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=20, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until interrupted.")
def history(
    output: Output,
    *,
    module: str | None,
    outcome: str | None,
    cause: str | None,
    since: float | None,
    limit: int,
    follow: bool,
) -> int:
    """The attempts that the journal has, newest last; with --json --follow an object a line."""

    def wanted(attempt: Attempt) -> bool:
        given = {"subject": module, "outcome": outcome, "cause": cause}
        same = all(value in {None, getattr(attempt, name)} for name, value in given.items())
        return same and (since is None or attempt.at >= since)

    fixer = engines.reading()
    kept = fixer.history(MAX_ROWS)
    found = [attempt for attempt in reversed(kept) if wanted(attempt)][-limit:]
    if not follow:
        output.document([_body(attempt) for attempt in found])
        output.table(COLUMNS, [_row(attempt) for attempt in found])
        return OK
    try:
        for attempt in chain(found, _coming(fixer, {attempt.attempt for attempt in kept})):
            if wanted(attempt):
                output.document(_body(attempt), compact=True)
                output.line("  ".join(map(str, _row(attempt))))
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


def _row(attempt: Attempt) -> tuple[object, ...]:
    return (
        _moment(attempt.at),
        attempt.subject,
        attempt.cause,
        attempt.outcome,
        f"{attempt.seconds:.2f}",
        attempt.pid,
        " ".join(attempt.installed),
    )


def _body(attempt: Attempt) -> dict[str, object]:
    return {
        "attempt": attempt.attempt,
        "at": _moment(attempt.at),
        "host": attempt.host,
        "pid": attempt.pid,
        **attempt.to_dict(),
        "error_class": attempt.error_class,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

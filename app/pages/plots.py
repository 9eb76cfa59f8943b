"""A plot of attempts over time, drawn on the server: it needs no script and prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.healing.journal import Attempt
from app.healing.kind import Outcome

#: Bars of a plot; the width of each and the height of the highest, in units of the drawing.
BARS, WIDTH, HEIGHT = 48, 10, 60
#: Seconds that a bar may stand for, the shortest that shows all attempts is taken.
SPANS = (60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400, 31 * 86400)


@dataclass(frozen=True, slots=True)
class Bar:
    """The attempts of one span: where it stands, and how high what was healed and what was not."""

    x: int
    start: float
    healed: int
    failed: int
    healed_height: int
    failed_height: int


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars from the oldest to the newest, each of ``seconds``, and the most attempts of one."""

    bars: tuple[Bar, ...]
    seconds: int
    most: int


def attempts_over_time(attempts: Iterable[Attempt], now: float) -> Plot | None:
    """The attempts up to now; None where there are none."""
    found = [(one.at, one.outcome == Outcome.HEALED) for one in attempts if one.at <= now]
    if not found:
        return None
    age = now - min(at for at, _ in found)
    seconds = next((span for span in SPANS if span * (BARS - 1) >= age), SPANS[-1])
    last = int(now // seconds)
    counts = [[0, 0] for _ in range(BARS)]
    for at, healed in found:
        position = BARS - 1 - (last - int(at // seconds))
        if position >= 0:
            counts[position][healed] += 1
    most = max(map(sum, counts))
    bars = [
        Bar(
            x=position * WIDTH,
            start=(last - BARS + 1 + position) * seconds,
            healed=healed,
            failed=failed,
            healed_height=round(healed / most * HEIGHT),
            failed_height=round(failed / most * HEIGHT),
        )
        for position, (failed, healed) in enumerate(counts)
        if failed or healed
    ]
    return Plot(tuple(bars), seconds, most)

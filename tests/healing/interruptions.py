"""Kills heals with SIGKILL at random moments and looks at what the next process finds.

Runs as a program of its own: a nursery that has the engine's code loaded and nothing done with
it, and that forks one new process after the other. That is ten times faster than starting
interpreters, and to the files under the home there is no difference.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.settings.declarations import HealingSettings, Mode
from app.utils.auto_fix import AutoFixer

#: Heals that are not interrupted, to learn how long one takes; the first one fills caches.
UNDISTURBED = 4


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Interrupt as often as asked for; half of the times in a home that was never used before."""
    chance = random.Random(given["seed"])  # noqa: S311 - no secret
    durations = [timed(engine(given, f"trial{number}")) for number in range(UNDISTURBED)]
    found: Counter[str] = Counter()
    for number in range(given["times"]):
        home = "shared" if number % 2 else f"home{number}"
        moment = chance.uniform(0, statistics.median(durations[1:]))
        for word in interrupt(given, home, moment):
            found[word] += 1
    return {"found": found, "seconds": durations}


def engine(given: dict[str, Any], home: str) -> AutoFixer:
    """Return an engine that has not touched anything yet."""
    settings = HealingSettings(
        home=Path(given["root"]) / home,
        lock=Path(given["lock"]),
        wheelhouse=Path(given["wheelhouse"]),
        tools=tuple(given["tools"]),
    )
    return AutoFixer(settings, dependency_map={"prey": "prey>=1"}, required=())


def timed(fixer: AutoFixer) -> float:
    """Return how long one heal takes in a new process."""
    started = time.monotonic()
    said, _ = in_new_process(lambda: str(fixer.safe_import("prey")[0]))
    if said != "True":
        raise RuntimeError("the trial does not heal")
    return time.monotonic() - started


def interrupt(given: dict[str, Any], home: str, moment: float) -> list[str]:
    """Kill one heal after ``moment`` seconds; name what was met and all that is wrong then."""
    victim = engine(given, home)
    reported, died = in_new_process(lambda: report(victim), kill_after=moment)
    root = Path(given["root"]) / home
    met = ["killed" if died else "ended"]
    met += ["in staging"] * any(root.glob("staging/*/*"))
    met += ["reported"] * bool(reported)
    heir = engine(given, home)
    said, _ = in_new_process(lambda: json.dumps(inspect(heir, root, reported)))
    return met + (json.loads(said) if said else ["WRONG the next process does not survive"])


def report(fixer: AutoFixer) -> str:
    """Heal, and say which attempt it was once that is done."""
    done, _ = fixer.safe_import("prey")
    return " ".join(layer.attempt for layer in fixer.layers.committed()) if done else ""


def inspect(fixer: AutoFixer, root: Path, reported: str) -> list[str]:
    """What a new process finds, and how its own heal ends; then the fix is taken back."""
    wrong = []
    if fixer.mode is Mode.HEAL and fixer.layers.loaded and not whole():
        wrong.append("WRONG a half-installed layer is on the path")
    done, _ = fixer.safe_import("prey")
    if not (done and whole()):
        wrong.append("WRONG the next process does not heal")
    rows = {row.attempt: row.outcome for row in fixer.history(10_000)}
    if any(rows.get(attempt) != "healed" for attempt in reported.split()):
        wrong.append("WRONG a reported row is lost")
    if any(layer.attempt not in rows for layer in fixer.layers.committed()):
        wrong.append("WRONG a committed layer has no row")
    if len(rows) != sum(fixer.fix_attempts.values()):
        wrong.append("WRONG the totals do not fit the rows")
    fixer.layers.remove("prey")
    if left := [path.name for path in root.glob("staging/*/*")]:
        wrong.append(f"WRONG staging is not empty: {left}")
    return wrong


def whole() -> bool:
    """Whether the module that can be imported has all its parts."""
    importlib.invalidate_caches()
    return bool(getattr(importlib.import_module("prey"), "WHOLE", True))


def in_new_process(work: Callable[[], str], kill_after: float | None = None) -> tuple[str, bool]:
    """Return what ``work`` said in a process of its own, and whether that was killed."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(reader)
            os.write(writer, work().encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said, os.WIFSIGNALED(status)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))

"""Processes that keep a file and restore it, and are killed at random moments."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

from app.kinds.configuration.declaration import File
from app.kinds.configuration.formats import Format
from app.kinds.configuration.kind import ConfigurationKind
from app.kinds.configuration.last_good import DIRECTORY, LastGoods
from app.kinds.configuration.served import PROVEN_SECONDS
from tests.support.clock import Clock
from tests.support.processes import wait_until

DECLARED = {"counter": File("counter", "counter.json", Format.JSON)}
#: How many numbers one process may write before it is killed.
MANY = 1_000_000


def interrupt(root: Path, times: int, seed: int) -> Counter[str]:
    """Kill so many processes, one after the other; what was found after each.

    ``LOST`` is a version that had been kept and is not there, nor a newer one; ``HALF`` is one that
    nobody has written.
    """
    moments, found = random.Random(seed), Counter[str]()  # noqa: S311 - no secret
    # Forks of a process with threads may wait for ever.
    context = multiprocessing.get_context("forkserver")
    for kill in range(1, times + 1):
        process = context.Process(target=_live, args=(root, kill * MANY))
        process.start()
        wait_until(partial(_has_kept, root, kill * MANY), interval=0.005)
        time.sleep(moments.uniform(0, 0.02))
        known = _kept(root)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        process.close()
        found[_word(root, known)] += 1
    return found


def _word(root: Path, known: int) -> str:
    """What a process finds that begins after a kill, while this was kept before it."""
    path = root / "counter.json"
    path.write_text("half a fi")
    value = _kind(root, Clock()).files["counter"].state.value
    if value is None or value["number"] < known:
        return "LOST"
    whole = value["rest"] == _rest(value["number"])
    begun = [path.name for path in (root / "home" / DIRECTORY).iterdir() if path.name[0] != "."]
    return "whole" if whole and begun == ["counter"] else "HALF"


def _live(root: Path, number: int) -> None:
    """Serve good versions until they are kept, and restore each over a broken one."""
    path, clock = root / "counter.json", Clock()
    while True:
        number += 1
        path.write_text(json.dumps({"number": number, "rest": _rest(number)}))
        kind = _kind(root, clock)
        clock.pass_by(PROVEN_SECONDS)
        kind.adopt()
        path.write_text("nonsense")
        assert _kind(root, clock).files["counter"].value["number"] == number


def _kind(root: Path, clock: Clock) -> ConfigurationKind:
    kind = ConfigurationKind(lambda: DECLARED, {}, root, LastGoods(root / "home"), clock=clock)
    kind.prepare()
    kind.adopt()
    return kind


def _kept(root: Path) -> int:
    """The number of the version that is kept; 0 for none."""
    versions = LastGoods(root / "home").get("counter").versions
    number: int = json.loads(versions[-1].content)["number"] if versions else 0
    return number


def _has_kept(root: Path, number: int) -> bool:
    return _kept(root) > number


def _rest(number: int) -> str:
    return f"{number} " * (number % 997)

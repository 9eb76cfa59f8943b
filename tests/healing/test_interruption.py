"""A heal may be killed at any moment: the next process finds the old state or the new one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import World
from tests.healing.engines import processes_at
from tests.support.processes import ROOT, wait_until

#: How often a heal with uv is killed; the environment may ask for more.
TIMES = int(os.environ.get("INTERRUPTIONS", "200"))
PARTS = 6


def interrupt(world: World, tool: str, times: int, seed: int) -> dict[str, Any]:
    """Kill ``times`` heals of a module with several files, and return what was found."""
    parts = {f"prey/part{number}.py": f"value = {number}\n" for number in range(PARTS)}
    imports = "".join(f"from prey import part{number}\n" for number in range(PARTS))
    init = f"{imports}WHOLE = part{PARTS - 1}.value == {PARTS - 1}\n"
    world.publish("prey", files={"prey/__init__.py": init, **parts})
    given = {
        "root": str(world.root / "homes"),
        "lock": str(world.settings.lock),
        "wheelhouse": str(world.index.directory),
        "tools": [tool],
        "times": times,
        "seed": seed,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.healing.interruptions", json.dumps(given)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(60 + TIMES)
@pytest.mark.parametrize(("tool", "times"), [("uv", TIMES), ("pip", max(1, TIMES // 50))])
def test_kill_9_at_random_moments(world: World, tool: str, times: int) -> None:
    """No half-installed layer, no lost row that was reported, empty staging, and a heal after."""
    seed = random.randrange(1 << 32)  # noqa: S311 - no secret
    found = interrupt(world, tool, times, seed)["found"]
    wrong = {word: count for word, count in found.items() if word.startswith("WRONG")}
    assert wrong == {}, f"seed {seed}"
    assert found["killed"] + found.get("ended", 0) == times
    # Otherwise the moments were no random ones of a heal.
    assert found["in staging"] > times // 10
    wait_until(lambda: not processes_at(world.root / "homes"))

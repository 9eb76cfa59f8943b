"""Eight processes that miss the same module at the same moment.

The module is small and its import is next to nothing, so that what is measured is the waiting and
not eight imports on however few processors there are. Its wheel comes from an index on loopback
that takes a tenth of a second for a file, as one at the other end of a network does; the details
have the same with wheels at hand.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from app.healing.journal import Journal
from benchmarks.engines import Setting, small
from benchmarks.harness import ROOT, Measurement, directory, interleaved, medians, spread
from tests.support.index import SimpleIndex

REPEATS = 9
CROWD = 8
LATENCY = 0.1
#: Seconds until the agreed moment: every process has to be waiting for it by then.
LEAD = 0.1
MISS = """
fixer.mode
print("ready", flush=True)
moment = float(sys.stdin.readline())
time.sleep(moment - time.monotonic())
assert fixer.safe_import("prey")[0]
print(time.monotonic() - moment, flush=True)
"""


class DistantIndex(SimpleIndex):
    """An index whose files take their time."""

    def wait_for_gate(self) -> None:
        """Answer late."""
        time.sleep(LATENCY)


def measure() -> Iterator[Measurement]:
    """They cause one install, and wait for little more than one of them alone would."""
    installs: list[int] = []
    with directory() as root, DistantIndex(root / "wheels") as index:
        near = small(root, ["prey"])
        far = replace(near, wheelhouse=None, index=index.url)
        times = interleaved(
            REPEATS,
            {
                "one": lambda: _together(far, root, 1, []),
                "eight": lambda: _together(far, root, CROWD, installs),
                "one, wheels at hand": lambda: _together(near, root, 1, []),
                "eight, wheels at hand": lambda: _together(near, root, CROWD, installs),
            },
        )
    middle = medians(times)
    yield Measurement(
        what=f"installs that {CROWD} processes cause at once, the most of {len(installs)} rounds",
        rule="exactly",
        target=1,
        measured=max(installs),
        unit="",
    )
    yield Measurement(
        what=f"wall time of {CROWD} processes against one alone",
        rule="at most",
        target=1.3,
        measured=middle["eight"] / middle["one"],
        unit="times",
        details=spread(times),
    )


def _together(setting: Setting, root: Path, count: int, installs: list[int]) -> float:
    """Seconds from the agreed moment until the last of them has its module."""
    home = root / uuid.uuid4().hex
    children = [_start(setting, home) for _ in range(count)]
    for child in children:
        assert _hear(child) == "ready"
    moment = time.monotonic() + LEAD
    for child in children:
        assert child.stdin is not None
        child.stdin.write(f"{moment}\n")
        child.stdin.flush()
    seconds = max(float(_hear(child)) for child in children)
    for child in children:
        child.communicate()
    installs.append(sum(total.count for total in Journal(home / "journal.sqlite3").totals()))
    return seconds


def _start(setting: Setting, home: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command, settings = setting.command(home, MISS), setting.environ()
    return subprocess.Popen(command, cwd=ROOT, env=settings, stdin=pipe, stdout=pipe, text=True)


def _hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()

"""What a bad blueprint costs the others: their latency while it is bad, and boots of workers."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.harness import Measurement
from benchmarks.served import house, light_load, pause
from tests.serving.house import all_workers, working
from tests.support.processes import Server

WORKERS = 2
ROUNDS, SECONDS = 12, 1
#: Few enough not to queue: latencies are then the service's own.
LIGHT = 2
#: What a bad one does. The hook raises after each answer of the others, so that they are answered.
BAD = {
    "hangs": "import threading\nthreading.Event().wait()\n",
    "crashes at import": "import os\nos._exit(3)\n",
    "raises in its hooks": """
from flask import Blueprint

bp = Blueprint("other", __name__)


@bp.teardown_app_request
def fail(error):
    raise RuntimeError("as it is made to")
""",
}
#: The window of the boots.
WINDOW = 30.0
#: What a wheel holds, and how a blueprint imports it.
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
DEADLY = {
    "the package": ({"deadly/__init__.py": KILL}, "import deadly\n"),
    "a part": ({"deadly/__init__.py": "", "deadly/part.py": KILL}, "import deadly.part\n"),
    "a part that is asked for later": (
        {"deadly/__init__.py": "", "deadly/part.py": KILL},
        "import deadly\nif deadly:\n    import deadly.part\n",
    ),
}
#: Seconds between two looks.
POLL = 0.1
ENDS = {
    "leaves the interpreter": "import os\nos._exit(3)\n",
    "never lets go of its lock": "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n",
}


def measure() -> Iterator[Measurement]:
    """Latency beside each of the bad ones against that beside a good one; then the boots."""
    yield _latency()
    yield from _boots()
    yield _deadly_packages()


def _latency() -> Measurement:
    """One server for each; those that are not measured are stopped.

    The lower quartile of the rounds is compared: the others tell of the machine's other tenants.
    """
    codes = {"good": working("other"), **BAD}
    with contextlib.ExitStack() as stack:
        servers = {name: _serve(stack, code, WORKERS) for name, code in codes.items()}
        p99: dict[str, list[float]] = {name: [] for name in servers}
        for server in servers.values():
            all_workers(server, WORKERS)
            pause(server.process.pid, signal.SIGSTOP)
        for number in range(ROUNDS + 1):
            for name in sorted(servers, reverse=bool(number % 2)):
                load = light_load(servers[name], "/good", seconds=SECONDS, connections=LIGHT)
                p99[name] += [load.p99] if number else []
        for server in servers.values():
            pause(server.process.pid, signal.SIGCONT)
    quiet = {name: statistics.quantiles(values, n=4)[0] for name, values in p99.items()}
    ratios = {name: quiet[name] / quiet["good"] for name in BAD}
    return Measurement(
        what="p99 of a healthy blueprint beside a bad one against that beside a good one",
        rule="at most",
        target=1.1,
        measured=max(ratios.values()),
        unit="times",
        details={f"p99 ms, {name}": sorted(values) for name, values in p99.items()},
        parts={f"the other one {name}": ratio for name, ratio in ratios.items()},
    )


def _boots() -> Iterator[Measurement]:
    """How often a worker boots until it is served without what ends it, and how long that takes."""
    boots, seconds = {}, {}
    for name, code in ENDS.items():
        with contextlib.ExitStack() as stack:
            started = time.monotonic()
            server = _serve(stack, code, 1)
            while server.get("/good").status != 200:
                time.sleep(POLL)
            seconds[name] = time.monotonic() - started
            time.sleep(max(0.0, started + WINDOW - time.monotonic()))
            boots[name] = float(server.log_text.count("Booting worker"))
    yield Measurement(
        what=f"boots of a worker in {WINDOW:g} s with a blueprint that ends it at import",
        rule="at most",
        target=3,
        measured=max(boots.values()),
        unit="",
        parts={f"one that {name}": count for name, count in boots.items()},
    )
    yield Measurement(
        what="seconds until the others are served",
        rule="at most",
        target=WINDOW,
        measured=max(seconds.values()),
        unit="s",
        parts={f"beside one that {name}": one for name, one in seconds.items()},
    )


def _deadly_packages() -> Measurement:
    """Wheels that a heal brings and whose import ends the process; each alone, served for 30 s.

    The last one's import is one that no reading of the code tells, so it gets as far as a worker.
    """
    boots = {}
    for name, (files, asking) in DEADLY.items():
        with house() as here:
            here.world.settings = replace(
                here.world.settings, wheelhouse=here.world.index.directory
            )
            here.world.publish("deadly", files=files)
            here.add("other", asking + working("other"))
            with here.serve(workers=1) as server:
                until = time.monotonic() + WINDOW
                answers = True
                while time.monotonic() < until:
                    # One that is killed takes what it was answering with it.
                    with contextlib.suppress(OSError):
                        answers = server.get("/livez").status == 200
                    time.sleep(POLL)
                boots[name] = float(server.log_text.count("Booting worker")) if answers else 1e9
    return Measurement(
        what=f"boots of a worker in {WINDOW:g} s with a package whose import kills it",
        rule="at most",
        target=3,
        measured=max(boots.values()),
        unit="",
        parts=boots,
    )


def _serve(stack: contextlib.ExitStack, other: str, workers: int) -> Server:
    here = stack.enter_context(house())
    here.add("other", other)
    here.add("good", working("good"))
    return stack.enter_context(here.serve(workers=workers))

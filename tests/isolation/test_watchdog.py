"""What makes a process stand still or deaf ends it, and what is only busy does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.serving.house import House, reason, serving, status, statuses, workers, working
from tests.support.processes import ROOT, Server, wait_until

LIVE = 60
STUCK = "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')\n"
DEAF = (
    "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n"
)
#: Patches as eventlet does, and harms nobody.
HARMLESS = "import time\nreal = time.sleep\ntime.sleep = lambda seconds: real(seconds)\n"
#: Longer than the watchdog waits, and its thread gets its turns.
BUSY = "import time\nuntil = time.monotonic() + 9\nwhile time.monotonic() < until: pass\n"
SLOW = """
@bp.get("/slow")
def slow():
    time.sleep(11)
    return "slow"
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with an enabled watchdog that waits for a tenth of the usual time."""
    begin = "from app.isolation import watchdog as module\nmodule.SECONDS = 0.8\n"
    begin += "import os, time\nwatchdog = module.watchdog\nwatchdog.enable()\n"
    return subprocess.run(
        [sys.executable, "-c", begin + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestProcess:
    """The watchdog in a process of its own."""

    def test_the_interpreter_stands_still(self) -> None:
        """What holds its lock for too long ends the process, and the log says where."""
        done = run(
            f"def stuck():\n    {STUCK.replace(chr(10), chr(10) + '    ')}\n"
            "with watchdog.watching():\n    stuck()\n"
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "in stuck" in done.stderr

    def test_nothing_is_shown(self) -> None:
        """So does a demand that is not satisfied, however much goes on."""
        done = run("watchdog.demand()\nwhile True: pass\n")
        assert done.returncode == 1
        assert "in <module>" in done.stderr

    @pytest.mark.parametrize(
        "code",
        [
            "with watchdog.watching(): pass\ntime.sleep(2)\n",
            "watchdog.demand()\nwatchdog.satisfied()\ntime.sleep(2)\n",
            "with watchdog.watching():\n    while time.monotonic() < begin + 2: pass\n",
            "watchdog.demand()\nwhile time.monotonic() < begin + 2: watchdog.prolong()\n",
            "watchdog.demand()\nwatchdog.demand()\nwatchdog.satisfied()\ntime.sleep(2)\n",
        ],
        ids=["over", "satisfied", "busy", "progress", "twice"],
    )
    def test_all_is_well(self, code: str) -> None:
        """Otherwise it goes on."""
        done = run(f"begin = time.monotonic()\n{code}print('well')\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")

    def test_a_fork(self) -> None:
        """A child of a watched process is not watched, and can be."""
        done = run(
            "with watchdog.watching():\n"
            "    time.sleep(0.1)\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(1)\n"
            "        watchdog.demand()\n"
            "        time.sleep(30)\n"
            "        os._exit(0)\n"
            "    _, status = os.wait()\n"
            "print(os.waitstatus_to_exitcode(status))\n"
        )
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


class TestServed:
    """A service whose blueprint does that."""

    @pytest.mark.parametrize("code", [STUCK, DEAF], ids=["stuck", "deaf"])
    def test_it_is_isolated(self, house: House, code: str) -> None:
        """Its workers end, and then the rest is served; a mended file brings it back."""
        house.add("bad", code + working("bad"))
        house.add("good", working("good"))
        with house.serve(workers=2) as server:
            assert set(serving(server, 2, "good")) == set(workers(server))
            assert reason(server, "bad") == "crashed_import"
            assert server.get("/bad/any").status == 503
            assert server.log_text.count("Booting worker") <= 6
            words = "ended its process" if code == STUCK else "patches the standard library"
            assert words in status(server)["blueprints"]["bad"]["advice"]
            before = set(workers(server))
            house.write("bad", working("bad"))
            assert set(serving(server, 2, "bad")) == before
        assert not list((house.home / "imports").iterdir())

    def test_with_preload(self, house: House) -> None:
        """There the master ends, and the third one serves the rest."""
        house.add("bad", STUCK + working("bad"))
        house.add("good", working("good"))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended with status 1"), house.serve("--preload"):
                pass
        with house.serve("--preload") as server:
            assert statuses(server, "/good") == {200}
            assert reason(server, "bad") == "crashed_import"

    def test_one_that_comes_while_it_runs(self, house: House) -> None:
        """A worker that has become deaf is replaced, by one without what made it deaf."""
        house.add("bad", "1 / 0\n")
        house.add("good", working("good"))
        with house.serve(workers=1) as server:
            (before,) = serving(server, 1, "good")
            house.write("bad", DEAF + working("bad"))
            wait_until(lambda: _isolated(server), timeout=LIVE)
            assert before not in workers(server)
            assert statuses(server, "/good") == {200}

    @pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
    def test_one_that_patches_and_harms_nobody(
        self, house: House, preload: tuple[str, ...]
    ) -> None:
        """It is served like any other once its worker has answered itself, and leaves no mark."""
        house.add("patches", HARMLESS + working("patches"))
        with house.serve(*preload, workers=1) as server:
            (before,) = serving(server, 1, "patches")
            assert statuses(server, "/patches") == {200}
            assert not list((house.home / "imports").iterdir())
            assert set(workers(server)) == {before}

    @pytest.mark.parametrize("worker", ["gthread", "sync"])
    def test_one_that_is_only_busy(self, house: House, worker: str) -> None:
        """Slow requests on all threads and a long import beside them end no worker."""
        house.add("slow", "import time\n" + working("slow") + SLOW)
        house.add("busy", "1 / 0\n")
        with house.serve(workers=1, WORKER_CLASS=worker, THREADS="1") as server:
            (before,) = serving(server, 1, "slow")
            answers: list[str] = []
            asking = threading.Thread(target=lambda: answers.append(server.get("/slow/slow").text))
            asking.start()
            house.write("busy", BUSY + working("busy"))
            asking.join(LIVE)
            assert answers == ["slow"]
            assert set(serving(server, 1, "busy")) == {before}


def _isolated(server: Server) -> bool:
    try:
        return reason(server, "bad") == "crashed_import"
    except OSError:
        return False


def test_no_mark_outlives_a_process_in_vain(tmp_path: Path) -> None:
    """Two processes that died of one source count; each later one counts as well."""
    (tmp_path / "ends.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    code = (
        "from pathlib import Path\n"
        "from app.isolation.import_marks import ImportMarks\n"
        "marks = ImportMarks(Path('home'))\n"
        "print(marks.deaths('ends', 'ends'), marks.crashed('ends', 'ends'), flush=True)\n"
        "with marks.during('ends', 'ends'):\n"
        "    import ends\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        ).stdout
        for _ in range(4)
    ]
    assert found == ["0 False\n", "1 False\n", "2 True\n", "3 True\n"]

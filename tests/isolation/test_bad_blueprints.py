"""However a blueprint's module misbehaves, the service starts and serves the rest."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.serving.house import House, reason, serving, status, statuses, workers, working
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from tests.support.processes import Server

LIVE = 40
HANGING = """
import os, time
open("hanging", "w").close()
while not os.path.exists("released"):
    time.sleep(0.02)
open("let_go", "w").close()
"""
OWNING = """
from flask import Blueprint

bp = Blueprint("owns", __name__, url_prefix="/own")
bp.add_url_rule("", view_func=lambda: "own")
"""
THREADS = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
raise RuntimeError("after starting a thread")
"""
TRIED = """
import os, pathlib
pathlib.Path(__file__).with_name("tried").touch()
os._exit(5)
"""
#: Name to code, reason code and a word of the advice.
BAD = {
    "raises": ("1 / 0\n", "code_error", "ZeroDivisionError"),
    "exits": ("import sys\nsys.exit(1)\n", "code_error", "SystemExit"),
    "exits_well": ("import sys\nsys.exit()\n", "code_error", "SystemExit"),
    "interrupts": ("raise KeyboardInterrupt\n", "code_error", "KeyboardInterrupt"),
    "cancels": (
        "import asyncio\nraise asyncio.CancelledError\n",
        "code_error",
        "CancelledError",
    ),
    "threads": (
        THREADS,
        "code_error",
        "RuntimeError",
    ),
    "syntax": ("def broken(:\n", "code_error", "syntax error"),
    "indented": ("x = 1\n  y = 2\n", "code_error", "syntax error"),
    "encoded": ("# -*- coding: nonsense -*-\n", "code_error", "syntax error"),
    "circles": ("import circle\n", "circular_import", "circle"),
    "recurses": ("def f():\n    f()\nf()\n", "code_error", "RecursionError"),
    "misses": ("import absent_thing\n", "missing_distribution", "absent_thing"),
    "asks_too_much": ("from json import nothing_like_it\n", "missing_attribute", "nothing_like_it"),
    "empty": ("", "blueprint_missing", "bp"),
    "absent": (None, "first_party_missing", "restore"),
    "vanishes": ("import sys\ndel sys.modules[__name__]\n", "code_error", ""),
    "impersonates": ("import sys\nsys.modules[__name__] = 42\n", "blueprint_missing", ""),
}


class TestEachAlone:
    """All of them in one service, which serves the rest."""

    def test_isolated_with_its_own_reason(self, house: House) -> None:
        """Each answers 503 with its own reason code and advice; whoever comes after is served."""
        for name, (code, _, _) in BAD.items():
            house.add(name, code)
        (house.directory / "circle.py").write_text("from bp_circles import bp\n")
        house.add("good", working("good"))
        with house.serve(workers=1) as server:
            assert server.get("/good").text == "good"
            shown = status(server)["blueprints"]
            found = {name: shown[name]["reason"] for name in BAD}
            assert found == {name: code for name, (_, code, _) in BAD.items()}
            for name, (_, _, word) in BAD.items():
                assert word in shown[name]["advice"], shown[name]
                assert statuses(server, f"/{name}/any", 1) == {503}
            assert server.get("/readyz").status == 200
            assert server.get("/api/auto-fix/health").json()["overall_status"] == "degraded"


class TestHanging:
    """A module that does not come back holds nobody up for long."""

    def test_the_others_are_served_meanwhile(self, house: House) -> None:
        """Requests are answered while it still hangs, and it is served when it lets go.

        Until then the processes have not started and are not ready; one that has its prefix from
        its source answers 503 there as well.
        """
        house.add("hangs", HANGING + working("hangs"))
        house.add("owns", HANGING + OWNING, prefix=None)
        house.add("good", working("good"))
        with house.serve() as server:
            assert statuses(server, "/good") == {200}
            assert statuses(server, "/hangs") == {503}
            assert (house.directory / "hanging").exists()
            assert not (house.directory / "let_go").exists()
            assert server.get("/hangs").json()["code"] == "importing"
            advice = status(server)["blueprints"]["hangs"]["advice"]
            assert "has not finished importing" in advice
            assert (answer := server.get("/own/any")).status == 503
            assert answer.json()["code"] == "importing"
            assert (answer := server.get("/startupz")).status == 503
            assert answer.json()["code"] == "not_started"
            assert answer.json()["failed"] == ["blueprint_hangs", "blueprint_owns"]
            assert server.get("/readyz").json()["failed"] == ["starting"]
            assert server.get("/livez").status == 200
            before = set(serving(server, 2, "good"))
            (house.directory / "released").touch()
            assert set(serving(server, 2, "hangs", "owns")) == before
            for path in ("/hangs", "/own", "/startupz"):
                assert statuses(server, path) == {200}
            wait_until(lambda: server.get("/readyz").status == 200, timeout=LIVE)

    def test_a_critical_one_is_not_ready_meanwhile(self, house: House) -> None:
        """The service is out of rotation until its import has ended, and in it soon after."""
        house.add("hangs", HANGING + working("hangs"), critical=True)
        with house.serve(workers=1) as server:
            assert server.get("/readyz").status == 503
            assert server.get("/livez").status == 200
            assert reason(server, "hangs") == "importing"
            (house.directory / "released").touch()
            wait_until(lambda: server.get("/readyz").status == 200, timeout=LIVE)
            assert statuses(server, "/hangs") == {200}

    def test_several_share_the_boots_patience(self, house: House) -> None:
        """Ten that hang delay the start hardly more than one, and keep no worker from ending.

        They are waited for as long as the setting says: then the rest is ready without them.
        """
        for number in range(10):
            house.add(f"hangs{number}", HANGING + working(f"hangs{number}"))
        with house.serve(workers=1, STARTUP_PATIENCE="1") as server:
            assert server.get("/").status == 200
            wait_until(lambda: server.get("/startupz").status == 200, timeout=LIVE)
            wait_until(lambda: server.get("/readyz").status == 200, timeout=LIVE)
        assert server.process.returncode == 0
        assert not (house.directory / "let_go").exists()

    def test_in_the_master_of_a_preloaded_service(self, house: House) -> None:
        """The workers that were forked meanwhile need a restart and say so; then it is served."""
        house.add("hangs", HANGING + working("hangs"))
        with house.serve("--preload", workers=1) as server:
            assert statuses(server, "/hangs") == {503}
            wait_until(lambda: _needing_restart(server) == {"hangs"}, timeout=LIVE)
            assert "restart" in status(server)["blueprints"]["hangs"]["advice"]
            (house.directory / "released").touch()
            wait_until((house.directory / "let_go").exists)
            (worker,) = workers(server)
            os.kill(worker, signal.SIGTERM)
            wait_until(lambda: worker not in workers(server), timeout=LIVE)
            serving(server, 1, "hangs")
            assert statuses(server, "/hangs") == {200}


@pytest.mark.parametrize("code", ["import absent_thing\n", "1 / 0\n"])
def test_no_attempt_is_made_for_what_nothing_heals(house: House, code: str) -> None:
    """The index is not asked, and no row is written."""
    house.add("red", code)
    with house.serve(workers=1) as server:
        assert reason(server, "red")
        assert status(server)["recent_attempts"] == []
    assert house.world.index.requests == []


def _needing_restart(server: Server) -> set[str]:
    names: list[list[str]] = [worker["needs_restart"] for worker in workers(server).values()]
    return {name for each in names for name in each}


class TestCrashing:
    """An import that ends its process costs each worker a few boots, and then nothing."""

    @pytest.mark.parametrize(
        "end", ["os._exit(3)", "os._exit(4)", "os.kill(os.getpid(), 9)"], ids=["3", "4", "signal"]
    )
    def test_it_is_isolated_and_mended(self, house: House, end: str) -> None:
        """At most three boots a worker, then the rest is served; a mended file brings it back."""
        house.add("crashes", f"import os\n{end}\n{working('crashes')}")
        house.add("good", working("good"))
        with house.serve(workers=2) as server:
            assert set(serving(server, 2, "good")) == set(workers(server))
            assert statuses(server, "/good") == {200}
            assert server.get("/crashes/any").status == 503
            assert server.get("/crashes").json()["code"] == "crashed_import"
            assert "ended its process" in status(server)["blueprints"]["crashes"]["advice"]
            assert server.get("/readyz").status == 200
            assert server.get("/api/auto-fix/health").json()["overall_status"] == "degraded"
            assert server.log_text.count("Booting worker") <= 6
            before = set(workers(server))
            house.write("crashes", working("crashes"))
            assert set(serving(server, 2, "crashes")) == before
            assert statuses(server, "/crashes") == {200}
        assert not list((house.home / "imports").iterdir())

    def test_a_layer_that_ends_it(self, house: House) -> None:
        """A wheel whose part ends the process costs its blueprint, and the layer is set aside."""
        part = "import os\nos._exit(3)\n"
        house.world.publish("prey", files={"prey/__init__.py": "", "prey/part.py": part})
        asking = "import prey\nif prey:\n    import prey.part\n"
        house.add("crashes", asking + working("crashes"))
        house.add("good", working("good"))
        with house.serve(workers=1) as server:
            serving(server, 1, "good")
            assert statuses(server, "/good") == {200}
            assert server.get("/livez").status == 200
            wait_until(lambda: "a layer ended the process" in server.log_text, timeout=LIVE)
            wait_until(lambda: "set_aside" in server.log_text, timeout=LIVE)
            assert statuses(server, "/crashes") == {503}
            assert server.log_text.count("Booting worker") <= 3
            assert "background turn failed" not in server.log_text
        assert list((house.home / "quarantine").glob("prey.*"))

    def test_what_does_not_mend_it(self, house: House) -> None:
        """A file that is mended wrongly is tried in a child, and ends no worker."""
        house.add("crashes", f"import os\nos._exit(3)\n{working('crashes')}")
        with house.serve(workers=1) as server:
            (before,) = serving(server, 1, "main")
            house.write("crashes", TRIED + working("crashes"))
            wait_until((house.directory / "tried").exists)
            assert reason(server, "crashes") == "crashed_import"
            house.write("crashes", "1 / 0\n")
            wait_until(lambda: reason(server, "crashes") == "code_error", timeout=LIVE)
            assert set(workers(server)) == {before}

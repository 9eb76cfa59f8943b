"""The reconciler works under every way of serving, installs once and goes without a trace."""

from __future__ import annotations

import os
import signal
import time

import pytest

from app.settings.declarations import Settings
from tests.healing.engines import processes_at, staged
from tests.serving.house import House, journal, serving, statuses, workers, working
from tests.support.processes import stop, wait_until

LIVE = 40
GRACEFUL = Settings().graceful_timeout


class TestServing:
    """The same under each way of serving."""

    @pytest.mark.parametrize(
        "arguments",
        [("--preload",), ("--reload",), ("-k", "sync"), ("-k", "gthread", "--threads", "2")],
        ids=["preload", "reload", "sync", "gthread"],
    )
    def test_heals_and_activates(self, house: House, arguments: tuple[str, ...]) -> None:
        """What is healed after the start goes live in the same workers."""
        house.add("blue")
        with house.serve(*arguments) as server:
            before = serving(server, 2, "main")
            assert statuses(server, "/blue") == {503}
            house.write("blue", working("blue"))
            assert set(serving(server, 2, "blue")) == set(before)
            assert statuses(server, "/blue") == {200}

    def test_under_preload_a_fix_of_each_worker_is_its_own(self, house: House) -> None:
        """What was loaded before the fork stays, and the swap happens after it."""
        house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        house.world.index.hold()
        with house.serve("--preload") as server:
            assert statuses(server, "/red") == {503}
            house.world.index.release()
            after = serving(server, 2, "red")
            assert server.process.pid not in after
        assert len(house.world.index.downloads("red-wheel")) == 1


class TestInstalling:
    """One process of a host installs."""

    def test_four_workers_download_once(self, house: House) -> None:
        """Every worker needs the wheel at the same moment, and it is fetched once."""
        house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        with house.serve(workers=4) as server:
            serving(server, 4, "red")
            assert len(house.world.index.downloads("red-wheel")) == 1
            outcomes = [a["outcome"] for a in journal(server)]
        assert outcomes == ["healed"]

    def test_a_required_dependency_needs_nobody_to_ask(self, house: House) -> None:
        """What the map requires is healed although no blueprint imports it."""
        house.world.publish("red_wheel")
        house.required = ("red_wheel",)
        with house.serve() as server:
            wait_until(lambda: [a["module"] for a in journal(server)] == ["red_wheel"])

    def test_a_worker_is_killed_while_it_installs(self, house: House) -> None:
        """Another one takes over; nothing half-done stays behind."""
        house.world.publish("red_wheel")
        house.required = ("red_wheel",)
        house.world.index.hold()
        with house.serve() as server:
            wait_until(lambda: house.world.index.waiting)
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
            house.world.index.release()
            wait_until(lambda: "healed" in [a["outcome"] for a in journal(server)], timeout=LIVE)
        assert staged(house.home) == []


class TestEnding:
    """It leaves nothing behind."""

    @pytest.mark.parametrize("kind", ["gthread", "sync"])
    def test_in_time(self, house: House, kind: str) -> None:
        """A SIGTERM during an install ends every process within the graceful time."""
        house.world.publish("red_wheel")
        house.required = ("red_wheel",)
        house.world.index.hold()
        with house.serve(WORKER_CLASS=kind) as server:
            serving(server, 2, "main")
            wait_until(lambda: house.world.index.waiting)
            started = time.monotonic()
            assert stop(server.process) == 0
            assert time.monotonic() - started < GRACEFUL
            wait_until(lambda: processes_at(house.root) == [])
            assert "Traceback" not in server.log_text
        assert list((house.home / "workers").iterdir()) == []

    def test_nothing_runs_before_start(self, house: House) -> None:
        """Building the application and its callable starts no thread that stays."""
        house.add("blue", working("blue"))
        house.furnish()
        code = "import threading, wsgi; print([t.name for t in threading.enumerate()])"
        assert house.run(code).splitlines()[-1] == "['MainThread']"

    def test_starting_and_stopping_twice(self, house: House) -> None:
        """Both may be called again, in any order."""
        house.furnish()
        code = (
            "import threading, wsgi\n"
            "wsgi.app.stop()\nwsgi.app.start()\nwsgi.app.start()\nwsgi.app.stop()\nwsgi.app.stop()\n"
            "print(threading.active_count())"
        )
        assert house.run(code).splitlines()[-1] == "1"

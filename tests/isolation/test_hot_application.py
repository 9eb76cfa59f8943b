"""A blueprint that is healed goes live in every worker, and no request notices."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from app.healing.budget import MAX_RETRIES
from app.isolation.reconciler import TICK
from tests.healing import engines
from tests.serving.house import House, reason, serving, statuses, workers, working
from tests.support.processes import http_get, wait_until

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from pathlib import Path

    from tests.support.processes import Server

LIVE = 40
#: A blueprint whose page waits, half sent, for a file to appear.
SLOW = """
import os, time
from flask import Blueprint, current_app

bp = Blueprint("slow", __name__)


@bp.get("")
def index():
    application = current_app._get_current_object()

    def body():
        yield f"{id(application)} "
        while not os.path.exists("go"):
            time.sleep(0.02)
        yield " ".join(state.name for state in application.extensions["blueprints"] if state.active)

    return body()
"""


class TestHealing:
    """Whoever mends the cause, every worker serves the blueprint without a restart."""

    def test_by_the_system(self, house: House) -> None:
        """The index comes back: the same processes serve the blueprint, from one download."""
        house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        house.world.index.hold()
        with house.serve(AUTO_FIX_MODE="heal") as server:
            before = _quarantined(server)
            assert statuses(server, "/red/pid") == {503}
            assert reason(server, "red") == "missing_distribution"
            house.world.index.release()
            after = serving(server, 2, "red")
            assert set(after) == set(before)
            assert {worker["booted_at"] for worker in after.values()} == {
                worker["booted_at"] for worker in before.values()
            }
            assert statuses(server, "/red/pid") == {200}
            seen: set[int] = set()

            def both() -> bool:
                seen.update(_answering(server, "/red/pid"))
                return len(seen) == 2

            # The kernel hands connections to the same worker for a while.
            wait_until(both)
            assert seen == set(after)
        assert len(house.world.index.downloads("red-wheel")) == 1

    def test_by_another_process(self, house: House) -> None:
        """Workers that may not heal use what a process of its own commits to the same home."""
        house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        with house.serve(AUTO_FIX_MODE="report") as server:
            before = _quarantined(server)
            assert engines.run(house.world, 'say(fixer.safe_import("red_wheel")[0])') == "True"
            assert set(serving(server, 2, "red")) == set(before)
            assert statuses(server, "/red") == {200}

    def test_by_a_file_that_appears(self, house: House) -> None:
        """An operator puts the module there, or a volume brings it."""
        house.add("red")
        with house.serve() as server:
            before = _quarantined(server)
            assert reason(server, "red") == "first_party_missing"
            house.write("red", working("red"))
            assert set(serving(server, 2, "red")) == set(before)
            assert statuses(server, "/red") == {200}

    def test_by_a_file_that_is_mended(self, house: House) -> None:
        """An operator mends the code, after another mistake: each reason is shown in turn."""
        house.add("red", "def broken(:\n")
        with house.serve() as server:
            before = _quarantined(server)
            assert reason(server, "red") == "code_error"
            house.write("red", "import nothing_of_this_name\n")
            wait_until(lambda: reason(server, "red") == "missing_distribution", timeout=LIVE)
            house.write("red", working("red"))
            assert set(serving(server, 2, "red")) == set(before)
            assert statuses(server, "/red") == {200}

    def test_by_a_wheelhouse_that_gets_its_wheel(self, house: House, tmp_path: Path) -> None:
        """The wheel is copied in after the budget was used up: nobody has to ask or wait."""
        wheelhouse = tmp_path / "wheelhouse"
        wheelhouse.mkdir()
        house.world.settings = replace(house.world.settings, wheelhouse=wheelhouse)
        wheel = house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        with house.serve() as server:
            before = _quarantined(server)
            wait_until(lambda: _attempts(server, "red_wheel") >= MAX_RETRIES)
            wheel.rename(wheelhouse / wheel.name)
            assert set(serving(server, 2, "red")) == set(before)
        assert house.world.index.requests == []

    def test_of_several_one_after_the_other(self, house: House) -> None:
        """One that is back does not wait for one that is not."""
        house.world.publish("red_wheel")
        house.needs("red", "red_wheel")
        house.add("blue")
        with house.serve() as server:
            serving(server, 2, "red")
            assert statuses(server, "/blue") == {503}
            house.write("blue", working("blue"))
            serving(server, 2, "red", "blue")


class TestRequestsInFlight:
    """A swap takes nothing from anybody."""

    @pytest.mark.parametrize("kind", ["gthread", "sync"])
    def test_end_on_the_application_that_they_met(self, house: House, kind: str) -> None:
        """A response that is half sent during the swap is completed by the old application."""
        house.add("slow", SLOW)
        house.add("red")
        # A sync worker does one thing at a time, so another one has to answer meanwhile.
        count = 2 if kind == "sync" else 1
        with house.serve(workers=count, WORKER_CLASS=kind) as server:
            _quarantined(server, count)
            with urllib.request.urlopen(f"{server.url}/slow") as old:
                identity = _first_word(old)
                house.write("red", working("red"))
                wait_until(lambda: _swaps(server) == count, timeout=LIVE)
                (house.directory / "go").touch()
                assert "red" not in old.read().decode().split()
            new, *active = http_get(f"{server.url}/slow").text.split()
            assert "red" in active
            assert count > 1 or identity != new


class TestBuildThatFails:
    """An application that cannot be built leaves the one that serves alone."""

    def test_the_old_one_goes_on(self, house: House) -> None:
        """It is tried again later, with a pause, and the one that succeeds is served."""
        house.add("red")
        house.furnish()
        (house.directory / "rebuild_fails").touch()
        with house.serve(workers=1) as server:
            _quarantined(server, 1)
            house.write("red", working("red"))
            wait_until(lambda: "application cannot be rebuilt" in server.log_text, timeout=LIVE)
            assert statuses(server, "/red") == {503}
            assert statuses(server, "/") == {200}
            (worker,) = workers(server).values()
            assert "red" not in worker["active"]
            wait_until(lambda: len(_times(server, "application cannot be rebuilt")) > 1)
            (house.directory / "rebuild_fails").unlink()
            serving(server, 1, "red")
            assert statuses(server, "/red") == {200}
            first, second, *_ = _times(server, "application cannot be rebuilt")
            assert (second - first).total_seconds() > 3 * TICK


def _quarantined(server: Server, count: int = 2) -> dict[int, dict[str, object]]:
    """Wait until every worker says that the red blueprint is in quarantine."""

    def found() -> dict[int, dict[str, object]] | None:
        seen = workers(server)
        return seen if sum("red" in w["quarantined"] for w in seen.values()) == count else None

    return wait_until(found, timeout=LIVE) or {}


def _answering(server: Server, path: str) -> set[int]:
    """The processes that answered some requests."""
    return {int(http_get(server.url + path).text) for _ in range(40)}


def _attempts(server: Server, module: str) -> int:
    attempts = server.get("/api/auto-fix/status").json()["fix_attempts"]
    return int(attempts.get(module, 0))


def _swaps(server: Server) -> int:
    return server.log_text.count("application swapped")


def _times(server: Server, message: str) -> list[datetime]:
    """When an event was logged."""
    records = server.lines()
    return [datetime.fromisoformat(r["time"]) for r in records if r["event"].startswith(message)]


def _first_word(response: HTTPResponse) -> str:
    return b"".join(iter(lambda: response.read(1), b" ")).decode()

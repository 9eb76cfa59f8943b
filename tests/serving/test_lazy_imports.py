"""A module that a view imports and nobody has is healed while the client waits elsewhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.serving.house import House, journal, serving
from tests.support.processes import Response, http_get, wait_until

if TYPE_CHECKING:
    from tests.support.processes import Server

LAZY = """
from flask import Blueprint

bp = Blueprint("lazy", __name__)


@bp.get("/approved")
def approved():
    import red_wheel
    return red_wheel.version


@bp.get("/stranger")
def stranger():
    import a_stranger_to_everybody


@bp.get("/raised")
def raised():
    raise ModuleNotFoundError("out of thin air")
"""


@pytest.fixture
def lazy(house: House) -> House:
    """A house with views that import when they are asked."""
    house.world.publish("red_wheel")
    house.add("lazy", LAZY)
    return house


class TestApproved:
    """What the map has is healed."""

    def test_503_then_served(self, lazy: House) -> None:
        """The first client is told to come again, and is served when it does."""
        lazy.world.index.hold()
        with lazy.serve() as server:
            first = server.get("/lazy/approved")
            assert (first.status, first.json()["code"]) == (503, "missing_distribution")
            assert int(first.headers["Retry-After"]) > 0
            assert "red_wheel" in lazy.world.dependency_map
            lazy.world.index.release()
            wait_until(lambda: server.get("/lazy/approved").status == 200)
            # The other worker learns of it by itself, within a second of its own.
            wait_until(lambda: {_ask(server).status for _ in range(12)} == {200})
            wait_until(lambda: server.get("/lazy/approved").text == "1.0")

    def test_many_at_once_cause_one_heal(self, lazy: House) -> None:
        """Twenty clients in two processes: one attempt, one download, no waiting in line."""
        lazy.world.index.hold()
        with lazy.serve(THREADS="12") as server:
            serving(server, 2, "lazy")
            with ThreadPoolExecutor(20) as clients:
                found = list(clients.map(lambda _: _ask(server), range(20)))
            assert {answer.status for answer in found} == {503}
            # All of them were answered while the only download was held back.
            assert len(lazy.world.index.downloads("red-wheel")) <= 1
            lazy.world.index.release()
            wait_until(lambda: [a["outcome"] for a in journal(server)] == ["healed"])
        assert len(lazy.world.index.downloads("red-wheel")) == 1

    def test_the_thread_is_not_held(self, lazy: House) -> None:
        """With a single thread, others are answered although the heal goes on."""
        lazy.world.index.hold()
        with lazy.serve(workers=1, THREADS="1") as server:
            assert _ask(server).status == 503
            wait_until(lambda: lazy.world.index.waiting)
            assert server.get("/livez").status == 200
            started = time.monotonic()
            assert _ask(server).status == 503
            # A heal that is held back for ever takes for ever: any bound tells.
            assert time.monotonic() - started < 5
            assert lazy.world.index.waiting == 1

    def test_a_failing_heal_keeps_the_503(self, lazy: House) -> None:
        """Without an index the client is told to come again, and nothing is hammered."""
        with lazy.serve(workers=1, UV_DEFAULT_INDEX="http://127.0.0.1:9/simple/") as server:
            for _ in range(10):
                assert _ask(server).status == 503
            wait_until(lambda: journal(server))
            assert len(journal(server)) <= 3


class TestRefused:
    """What nothing may heal is an error like any other."""

    @pytest.mark.parametrize("view", ["stranger", "raised"])
    def test_500_with_an_id(self, lazy: House, view: str) -> None:
        """The client gets an id and no name; the log has the trace under it."""
        with lazy.serve(workers=1) as server:
            answer = server.get(f"/lazy/{view}")
            assert answer.status == 500
            assert "a_stranger_to_everybody" not in answer.text
            assert "thin air" not in answer.text
            identity = answer.json()["id"]
            wait_until(lambda: identity in server.log_text)
            assert "Traceback" in server.log_text
        assert lazy.world.index.requests == []


def _ask(server: Server) -> Response:
    return http_get(f"{server.url}/lazy/approved")

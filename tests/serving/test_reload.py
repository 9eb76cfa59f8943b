"""A reload in the middle of a heal is no failed attempt."""

from __future__ import annotations

import signal

from tests.healing.engines import committed, staged
from tests.serving.house import House, journal, serving, status, workers
from tests.support.processes import Server, wait_until


def test_reloads_during_a_heal(house: House) -> None:
    """However often the workers are replaced, the budget is whole and the heal is made at last."""
    house.world.publish("prey")
    house.needs("red", "prey")
    house.world.index.hold()
    with house.serve(workers=1, STARTUP_PATIENCE="0", GRACEFUL_TIMEOUT="1") as server:
        for reload in (1, 2):
            _wait_for_install(house, reload)
            before = set(workers(server))
            server.process.send_signal(signal.SIGHUP)
            _wait_for_others(server, before)
        assert "prey" not in status(server)["budgets"]
        house.world.index.release()
        serving(server, 1, "red")
        assert [attempt["outcome"] for attempt in journal(server)] == ["healed"]
    assert (committed(house.home), staged(house.home)) == (["prey"], [])


def _wait_for_install(house: House, number: int) -> None:
    wait_until(lambda: len(house.world.index.downloads()) >= number, timeout=60)


def _wait_for_others(server: Server, before: set[int]) -> None:
    wait_until(lambda: workers(server) and not before & set(workers(server)), timeout=60)

"""A reload in the middle of a heal is no failed attempt."""

from __future__ import annotations

import signal

from tests.conftest import World
from tests.healing.engines import committed, run, staged, start
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


def test_an_end_during_a_preload(house: House) -> None:
    """What its master has begun to heal costs nothing when the server is stopped."""
    house.world.publish("prey")
    house.needs("red", "prey")
    house.world.index.hold()
    with house.serve("--preload", workers=1):
        _wait_for_install(house, 1)
    house.world.index.release()
    with house.serve("--preload", workers=1) as server:
        serving(server, 1, "red")
        assert [attempt["outcome"] for attempt in journal(server)] == ["healed"]


BOOT = """
from app.isolation.importing import ends_at_once
with ends_at_once(fixer.end):
    say(fixer.safe_import("prey")[0])
"""


def test_an_end_during_the_boot(world: World) -> None:
    """A process that serves nobody yet ends at once, and the next one has the whole budget."""
    world.publish("prey")
    world.index.hold()
    boot = start(world, BOOT)
    try:
        wait_until(world.index.downloads, timeout=60)
        boot.terminate()
        assert boot.wait(30) == 0
    finally:
        boot.kill()
        boot.communicate()
    world.index.release()
    assert run(world, BOOT) == "True"
    assert [attempt.outcome for attempt in world.fixer().history()] == ["healed"]


def _wait_for_install(house: House, number: int) -> None:
    wait_until(lambda: len(house.world.index.downloads()) >= number, timeout=60)


def _wait_for_others(server: Server, before: set[int]) -> None:
    wait_until(lambda: workers(server) and not before & set(workers(server)), timeout=60)

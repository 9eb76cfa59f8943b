"""The counts of a real server: its workers die, are replaced and reloaded, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from app.telemetry.directory import PREFIX
from tests.support.exposition import scrape
from tests.support.processes import Server, serve, serve_by_address, wait_until

ROUTE = "/api/edge-functions"
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
KILLS = 20


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Two workers, a home of their own, nothing to heal."""
    return {
        "AUTO_FIX_HOME": str(tmp_path / "home"),
        "AUTO_FIX_MODE": "report",
        "WEB_CONCURRENCY": "2",
        "ACCESS_LOG": "off",
    }


@pytest.fixture(params=[(), ("--preload",)], ids=["forked", "preloaded"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, environ: dict[str, str]
) -> Iterator[Server]:
    """A server that counts in a directory of the test's, loaded in each worker or before."""
    named = {**environ, VARIABLE: str(tmp_path / "metrics")}
    with serve(tmp_path / "log", named, arguments=request.param) as running:
        yield running


def send(server: Server, requests: int, *, at_once: int = 1) -> None:
    """Have so many requests answered."""
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda _: server.get(ROUTE).status, range(requests)))
    assert set(answers) == {200}


def counted(server: Server) -> float:
    """How many of them were counted, by whichever worker.

    They are counted twice, by number and by time, in two files: a scrape can come in between.
    """
    found = scrape(server)
    times = found.total("http_request_duration_seconds_count", route=ROUTE)
    answered = found.total("http_requests_total", route=ROUTE)
    return min(times, answered)


def wait_for(server: Server, requests: int) -> None:
    """Wait until so many were counted: a request is when its answer has been sent."""
    wait_until(lambda: counted(server) >= requests)
    assert counted(server) == requests


def children(pid: int) -> set[int]:
    """The processes that a process has started and that live."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found if _state(int(child)) not in "ZX"}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def workers(server: Server, besides: frozenset[int] = frozenset()) -> frozenset[int]:
    """The two workers of a server, as soon as there are two and not the same as before."""

    def found() -> frozenset[int]:
        living = frozenset(children(server.process.pid))
        return living if len(living) == 2 and living != besides else frozenset()

    return wait_until(found, timeout=20)


def directory_of(pid: int) -> Path:
    """Where a worker that has counted has its counts."""
    mapped = Path(f"/proc/{pid}/maps").read_text().split()
    return next(Path(name).parent for name in mapped if PREFIX in name)


def made_directory(server: Server) -> Path:
    """The directory that a server's master has made."""
    send(server, 1)

    def found() -> Path | None:
        for pid in children(server.process.pid):
            try:
                return directory_of(pid)
            except StopIteration:
                continue
        return None

    return wait_until(found) or Path()


class TestCounting:
    """All workers together."""

    def test_every_request_once(self, server: Server, tmp_path: Path) -> None:
        """However many clients at once: the sum over the workers is what was sent, exactly."""
        send(server, 300, at_once=12)
        wait_for(server, 300)
        names = {path.name for path in (tmp_path / "metrics").glob("counter_*.db")}
        assert names >= {"counter_0.db"}

    @pytest.mark.timeout(300)
    def test_workers_that_die(self, server: Server, tmp_path: Path) -> None:
        """Twenty workers are killed: nothing is lost, nothing goes back, no file piles up."""
        for kill in range(1, KILLS + 1):
            send(server, 5)
            wait_for(server, 5 * kill)
            before = workers(server)
            os.kill(max(before) if kill % 2 else min(before), signal.SIGKILL)
            assert len(workers(server, besides=before) - before) == 1
        wait_for(server, 5 * KILLS)
        files = {path.name for path in (tmp_path / "metrics").iterdir()}
        slots = {name for name in files if name.endswith(".slot")}
        # With --preload the master may have one of its own.
        assert len(slots) <= 3
        assert len(files) <= 1 + 3 * len(slots)


class TestDirectory:
    """Where the counts are."""

    def test_made_and_removed(self, tmp_path: Path, environ: dict[str, str]) -> None:
        """Without a setting it is a directory in memory that ends with the server."""
        with serve(tmp_path / "log", environ) as server:
            directory = made_directory(server)
            assert directory.stat().st_mode & 0o777 == 0o700
            if Path("/dev/shm").is_dir():  # noqa: S108 - what the service chooses
                assert directory.parent == Path("/dev/shm")  # noqa: S108
            wait_for(server, 1)
        # Another server that starts at this moment may be the one that removes it.
        wait_until(lambda: not directory.exists())

    def test_outlives_a_reload(self, tmp_path: Path, environ: dict[str, str]) -> None:
        """HUP reads the configuration again: new workers count on where the old ones ended."""
        with serve(tmp_path / "log", environ) as server:
            directory = made_directory(server)
            send(server, 9)
            wait_for(server, 10)
            for _ in range(2):
                before = workers(server)
                server.process.send_signal(signal.SIGHUP)
                wait_until(partial(_are_new, server, before), timeout=20)
            send(server, 10)
            wait_for(server, 20)
            counting = _counting(server.process.pid)
            assert {directory_of(pid) for pid in counting} == {directory}
        # Another server that starts at this moment may be the one that removes it.
        wait_until(lambda: not directory.exists())

    @pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["forked", "preloaded"])
    def test_is_handed_on(
        self, tmp_path: Path, environ: dict[str, str], arguments: tuple[str, ...]
    ) -> None:
        """USR2 starts a new master, which counts on, outlives the old one, and then cleans up."""
        with serve_by_address(tmp_path / "log", environ, *arguments) as server:
            directory = made_directory(server)
            send(server, 9)
            wait_for(server, 10)
            old = server.process.pid
            before = workers(server)
            server.process.send_signal(signal.SIGUSR2)
            (new,) = wait_until(lambda: children(old) - before)
            wait_until(lambda: len(children(new)) == 2, timeout=30)
            send(server, 10, at_once=4)
            wait_for(server, 20)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
            assert directory.exists()
            send(server, 10)
            wait_for(server, 30)
            os.kill(new, signal.SIGTERM)
            wait_until(lambda: not directory.exists(), timeout=20)

    def test_left_by_a_killed_server(self, tmp_path: Path, environ: dict[str, str]) -> None:
        """The next server removes what one could not that was killed."""
        with serve(tmp_path / "first", environ) as server:
            directory = made_directory(server)
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            # Gone already if any other server of this host has begun meanwhile.
            wait_until(lambda: not directory.exists() or _unused(directory))
        with serve(tmp_path / "second", environ) as server:
            assert not directory.exists()
            assert made_directory(server) != directory

    def test_named_by_the_operator(self, tmp_path: Path, environ: dict[str, str]) -> None:
        """An earlier server's counts are gone from it, what else is in it stays, and so does it."""
        place = tmp_path / "metrics"
        place.mkdir()
        (place / "note.txt").write_text("the operator's")
        (place / "counter_4711.db").write_bytes(b"\xff" * 64)
        named = {**environ, VARIABLE: str(place)}
        for name in ("first", "second"):
            with serve(tmp_path / name, named) as server:
                send(server, 10)
                wait_for(server, 10)
        assert (place / "note.txt").read_text() == "the operator's"
        assert not (place / "counter_4711.db").exists()

    def test_cannot_be_used(self, tmp_path: Path, environ: dict[str, str]) -> None:
        """A server that has nowhere to count together says so once, and serves and counts on."""
        place = tmp_path / "metrics"
        place.touch()
        one = {**environ, VARIABLE: str(place), "WEB_CONCURRENCY": "1"}
        with serve(tmp_path / "log", one) as server:
            send(server, 10)
            wait_for(server, 10)
            assert server.log_text.count("there is no directory to count in") == 1
            assert "Traceback" not in server.log_text


def _are_new(server: Server, before: frozenset[int]) -> bool:
    living = children(server.process.pid)
    return len(living) == 2 and not living & before


def _counting(master: int) -> list[int]:
    """The workers that have counted something."""
    return [pid for pid in children(master) if PREFIX in Path(f"/proc/{pid}/maps").read_text()]


def _unused(directory: Path) -> bool:
    """Whether no process has anything of it open any more."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory) in (process / "maps").read_text():
                return False
        except OSError:
            continue
    return True

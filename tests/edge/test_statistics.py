"""Statistics: sound percentiles, added up over workers and restarts, never in a call's way."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from app.edge.health import FunctionHealth, HealthState
from app.edge.statistics import Statistics, bucket_of, cumulative, percentile
from app.edge.store import Counts, EdgeStore
from tests.support.clock import Clock
from tests.support.processes import ROOT

HOUR = 3600.0


class TestHistogram:
    """Log-scaled buckets."""

    @pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
    def test_error_is_bounded(self, share: float) -> None:
        """A percentile is at most 4.5% off, over five orders of magnitude."""
        dice = random.Random(7)  # noqa: S311 - test data
        values = sorted(10 ** dice.uniform(-3.5, 1.5) for _ in range(20_000))
        counts = Counter(map(bucket_of, values))
        found = percentile(counts, share)
        assert found == pytest.approx(values[int(share * len(values)) - 1], rel=0.0451)

    def test_merging(self) -> None:
        """Two histograms add up to that of all values."""
        one, two = Counter(map(bucket_of, [0.1, 0.2])), Counter(map(bucket_of, [0.2, 5.0]))
        assert one + two == Counter(map(bucket_of, [0.1, 0.2, 0.2, 5.0]))

    def test_extremes(self) -> None:
        """Nothing, and what no clock should say, is answered too; the size is bounded."""
        assert percentile({}, 0.5) is None
        counts = Counter(map(bucket_of, [-1.0, 0.0, 1e-12, 1e12]))
        assert sum(counts.values()) == 4
        assert len({bucket_of(10**n) for n in range(-300, 300)}) < 200

    def test_octaves(self) -> None:
        """Prometheus' buckets grow, and hold what is within them, ends included."""
        counts = Counter(map(bucket_of, [0.25, 0.250001, 1.0, 3.0, 1000.0]))
        found = dict(cumulative(counts))
        assert (found[0.25], found[0.5], found[1.0], found[4.0]) == (1, 2, 3, 4)
        assert list(found.values()) == sorted(found.values())


def _result(name: str, *, healthy: bool, at: float) -> FunctionHealth:
    state = HealthState.HEALTHY if healthy else HealthState.UNHEALTHY
    return FunctionHealth(
        name=name,
        healthy=healthy,
        state=state,
        streak=1,
        status=200,
        error=None,
        milliseconds=1.0,
        checked_at=at,
    )


class TestSharing:
    """What workers know together."""

    def test_workers_add_up(self, tmp_path: Path) -> None:
        """Counts of two workers are their sum, for both of them."""
        workers = [Statistics(EdgeStore(tmp_path)) for _ in range(2)]
        for worker in workers:
            for seconds in (0.1, 0.1, 0.4):
                worker.count("f", "ok", seconds)
            worker.count("f", "circuit_open")
            worker.refresh()
        for worker in workers:
            found = worker.of("f", shared=worker.shared(now=True))
            assert found.outcomes == {"ok": 6, "circuit_open": 2}
            assert sum(found.latency.values()) == 6
            assert found.seconds == pytest.approx(1.2)

    def test_restart(self, tmp_path: Path) -> None:
        """What was counted is there after a restart."""
        first = Statistics(EdgeStore(tmp_path))
        first.count("f", "ok", 0.1)
        first.close()
        assert Statistics(EdgeStore(tmp_path)).of("f").outcomes == {"ok": 1}

    def test_many_processes(self, tmp_path: Path) -> None:
        """Processes that write at the same time lose nothing."""
        program = (
            "import sys; from pathlib import Path;"
            "from app.edge.statistics import Statistics; from app.edge.store import EdgeStore\n"
            "s = Statistics(EdgeStore(Path(sys.argv[1])))\n"
            "for n in range(50):\n    s.count('f', 'ok', 0.01); s.refresh()\n"
            "s.close()\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path)]
        children = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
        assert [child.wait() for child in children] == [0, 0, 0]
        assert Statistics(EdgeStore(tmp_path)).of("f").outcomes == {"ok": 150}

    def test_workers_say_how_they_are(self, tmp_path: Path) -> None:
        """What a worker says is there until it ends, or has not been heard of for a while."""
        now = [1000.0]
        workers = [Statistics(EdgeStore(tmp_path), clock=lambda: now[0]) for _ in range(2)]
        for worker in workers:
            worker.refresh({"functions": {}})
        assert len(workers[0].shared(now=True).workers) == 2
        workers[1].close()
        assert [w["pid"] for w in workers[0].shared(now=True).workers] == [os.getpid()]
        now[0] += 60
        assert workers[0].shared(now=True).workers == ()

    def test_nothing_new(self, tmp_path: Path) -> None:
        """A worker that has nothing new to say leaves the disk alone for a while, no longer."""
        clock = Clock()
        clock.now = 1e9
        statistics = Statistics(EdgeStore(tmp_path), clock=clock)
        others = Statistics(EdgeStore(tmp_path), clock=clock)
        others.count("f", "ok", 0.1)
        statistics.refresh({"functions": {}}, idle=9)
        others.refresh()
        statistics.refresh({"functions": {}}, idle=9)
        assert statistics.shared().outcomes == {}
        statistics.refresh({"functions": {"f": "open"}}, idle=9)
        assert statistics.shared().outcomes == {"f": {"ok": 1}}
        others.count("f", "ok", 0.1)
        others.refresh()
        clock.pass_by(9)
        statistics.refresh({"functions": {"f": "open"}}, idle=9)
        assert statistics.shared().outcomes == {"f": {"ok": 2}}
        statistics.count("f", "ok", 0.1)
        statistics.refresh({"functions": {"f": "open"}}, idle=9)
        assert others.shared(now=True).outcomes == {"f": {"ok": 3}}

    def test_counting_from_many_threads(self) -> None:
        """No count is lost between threads."""
        statistics = Statistics(EdgeStore(None))

        def work() -> None:
            for _ in range(500):
                statistics.count("f", "ok", 0.01)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statistics.of("f", shared=statistics.shared(now=True)).outcomes == {"ok": 4000}


class TestUptime:
    """The share of health checks that went well."""

    def test_windows(self, tmp_path: Path) -> None:
        """Each window counts its own time; a new process sees them all."""
        now = [100 * 24 * HOUR]
        begin = now[0]
        statistics = Statistics(EdgeStore(tmp_path), clock=lambda: now[0])
        for ago, healthy in ((6 * 24, False), (20, False), (0.5, True), (0, True)):
            now[0] = begin - ago * HOUR
            statistics.count_checks([_result("f", healthy=healthy, at=now[0])])
            statistics.refresh()
        now[0] = begin
        found = Statistics(EdgeStore(tmp_path), clock=lambda: now[0]).of("f").uptime
        assert found == {"1h": 1.0, "24h": pytest.approx(2 / 3), "7d": 0.5}

    def test_never_checked(self) -> None:
        """Without a check there is no uptime, rather than a good one."""
        assert Statistics(EdgeStore(None)).of("f").uptime == {"1h": None, "24h": None, "7d": None}

    def test_size_is_bounded(self) -> None:
        """A month of checks leaves no more than eight days of hours."""
        now = [0.0]
        store = EdgeStore(None)
        for hour in range(24 * 30):
            now[0] = hour * HOUR
            store.add(Counts(), [[_result("f", healthy=True, at=now[0])]], now[0])
        with store._open() as db:
            (rows,) = db.execute("SELECT COUNT(*) FROM uptime").fetchone()
        assert rows <= 24 * 8 + 26


class TestBadDisk:
    """The disk costs history, nothing else."""

    def test_corrupt_file(self, tmp_path: Path) -> None:
        """A file that is no database is set aside, and counting goes on in a new one."""
        (tmp_path / "edge.sqlite3").write_bytes(b"canary" * 1000)
        statistics = Statistics(EdgeStore(tmp_path))
        statistics.count("f", "ok", 0.1)
        assert statistics.of("f", shared=statistics.shared(now=True)).outcomes == {"ok": 1}
        (aside,) = tmp_path.glob("edge.sqlite3.corrupt-*")
        assert aside.read_bytes().startswith(b"canary")

    def test_unusable_home(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A home that cannot be made is logged once; what was counted waits until it can."""
        now = [0.0]
        (tmp_path / "file").touch()
        statistics = Statistics(EdgeStore(tmp_path / "file" / "home"), clock=lambda: now[0])
        for _ in range(5):
            now[0] += 10
            statistics.count("f", "ok", 0.1)
            statistics.count_checks([_result("f", healthy=True, at=now[0])])
            statistics.refresh({})
        assert [r.levelno for r in caplog.records] == [logging.WARNING]
        (tmp_path / "file").unlink()
        now[0] += 10
        statistics.refresh()
        found = statistics.of("f")
        assert (found.outcomes, found.uptime["1h"]) == ({"ok": 5}, 1.0)

    def test_locked_file(self, tmp_path: Path) -> None:
        """A call is counted at once while another process holds the file."""
        statistics = Statistics(EdgeStore(tmp_path))
        statistics.refresh()
        holder = sqlite3.connect(tmp_path / "edge.sqlite3", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        statistics.count("f", "ok", 0.1)
        holder.execute("ROLLBACK")
        holder.close()
        assert statistics.of("f", shared=statistics.shared(now=True)).outcomes == {"ok": 1}

    def test_deleted_while_running(self, tmp_path: Path) -> None:
        """A file that is taken away is begun anew."""
        statistics = Statistics(EdgeStore(tmp_path))
        statistics.count("f", "ok")
        statistics.refresh()
        for file in tmp_path.iterdir():
            file.unlink()
        statistics.count("f", "ok")
        assert statistics.of("f", shared=statistics.shared(now=True)).outcomes == {"ok": 1}

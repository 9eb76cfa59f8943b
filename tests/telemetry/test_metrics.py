"""What a process counts, without a server: labels, beginnings, forks, places that are no use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import CollectorRegistry

from app.healing.journal import Attempt
from app.telemetry.metrics import Metrics
from app.telemetry.series import Series
from tests.support.exposition import Exposition, read
from tests.support.processes import ROOT, base_environ, wait_until

HEALED = Attempt(
    attempt="1",
    kind="dependency",
    subject="aiohttp",
    cause="missing_distribution",
    outcome="healed",
    seconds=0.3,
)
#: Counts a request for each line that it is sent, and says so.
COUNTER = """
import os, sys
from pathlib import Path
from app.telemetry.directory import shared_directory
from app.telemetry.metrics import Metrics
from app.telemetry.series import Series

metrics = Metrics(shared_directory())
metrics.begin(Series)
for line in sys.stdin:
    metrics.request(line.strip(), "GET", 200, 0.1)
    print(os.getpid(), flush=True)
"""
#: Counts a request and an attempt, and lives on.
COUNTING_ONCE = """
from app.healing.journal import Attempt
from app.telemetry.directory import shared_directory
from app.telemetry.metrics import Metrics
from app.telemetry.series import Series

metrics = Metrics(shared_directory())
metrics.begin(Series)
metrics.request("/", "GET", 200, 0.1)
metrics.heal(Attempt(attempt="1", kind="dependency", subject="x", cause="", outcome="healed"))
print("alive")
"""
#: Counts before and after a fork, in both.
FORKED = """
import os, sys
from app.telemetry.directory import shared_directory
from app.telemetry.metrics import Metrics
from app.telemetry.series import Series

metrics = Metrics(shared_directory())
metrics.begin(Series)
metrics.request("before", "GET", 200, 0.1)
child = os.fork()
for _ in range(100):
    metrics.request("after", "GET", 200, 0.1)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
#: Prints the sum over a directory.
SCRAPE = """
import sys
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry
from app.telemetry.directory import shared_directory
from app.telemetry.metrics import Metrics
from app.telemetry.series import Series

metrics = Metrics(shared_directory())
metrics.begin(Series)
registry = CollectorRegistry()
registry.register(metrics)
sys.stdout.write(generate_latest(registry).decode())
"""
#: May write no file larger than a few kilobytes, as if the file system were full.
NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"


@pytest.fixture
def metrics() -> Metrics:
    """Counts of this process alone, which have begun."""
    made = Metrics(None)
    made.begin(Series)
    return made


def exposed(metrics: Metrics) -> Exposition:
    """What a scrape of them gives."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return read(generate_latest(registry).decode())


def python(code: str, directory: Path) -> str:
    """What code prints that counts in a directory."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=base_environ(PROMETHEUS_MULTIPROC_DIR=str(directory)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def total(directory: Path, **labels: str) -> float:
    """The requests that were counted in a directory; whoever looks at it takes no slot."""
    made = [str(path) for path in directory.glob("*.db") if path.stat().st_size]
    samples = [
        (sample.name, sample.labels, sample.value)
        for family in MultiProcessCollector.merge(made)  # type: ignore[no-untyped-call]
        for sample in family.samples
    ]
    return Exposition(tuple(samples)).total("http_requests_total", **labels)


def files(directory: Path) -> set[str]:
    """What is in a directory."""
    return {path.name for path in directory.iterdir()}


@contextmanager
def counter(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that counts in a directory; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTER],
        cwd=ROOT,
        env=base_environ(PROMETHEUS_MULTIPROC_DIR=str(directory)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
            process.send_signal(signal.SIGKILL)
    finally:
        process.kill()


def count(process: subprocess.Popen[str], route: str, times: int = 1) -> None:
    """Have it count, and wait until it has."""
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(times):
        process.stdin.write(f"{route}\n")
        process.stdin.flush()
        assert process.stdout.readline()


class TestRequests:
    """Counting requests."""

    def test_count_and_duration(self, metrics: Metrics) -> None:
        """Each request is one in its counter and one in its histogram."""
        for seconds in (0.001, 0.2, 20.0):
            metrics.request("/livez", "GET", 200, seconds)
        found = exposed(metrics)
        labels = {"route": "/livez", "method": "GET"}
        assert found.find("http_requests_total", **labels, status="200") == [3]
        assert found.find("http_request_duration_seconds_count", **labels) == [3]
        assert found.total("http_request_duration_seconds_sum", **labels) == pytest.approx(20.201)
        for end, requests in (("0.005", 1), ("0.1", 1), ("0.25", 2), ("10.0", 2), ("+Inf", 3)):
            assert found.find("http_request_duration_seconds_bucket", le=end) == [requests]

    def test_labels_are_bounded(self, metrics: Metrics) -> None:
        """Whatever methods callers make up and whatever statuses functions answer: one series."""
        for number in range(500):
            metrics.request("/x", f"METHOD-{number}", 200, 0.1)
            metrics.request("/x", "GET", 600 + number, 0.1)
            metrics.request("/x", "GET", -number, 0.1)
        found = exposed(metrics)
        assert found.values_of("method") == {"GET", "other"}
        assert found.values_of("status") == {"200", "other"}
        assert found.total("http_requests_total") == 1500

    def test_from_many_threads(self, metrics: Metrics) -> None:
        """None is lost and none counted twice."""

        def work() -> None:
            for number in range(500):
                metrics.request(f"/{number % 7}", "GET", 200, 0.1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert exposed(metrics).total("http_requests_total") == 4000

    def test_no_creation_times(self, metrics: Metrics) -> None:
        """The same series as of many processes: none says when it began."""
        metrics.request("/", "GET", 200, 0.1)
        assert not [name for name in exposed(metrics).names if name.endswith("_created")]


class TestBeginning:
    """Before prometheus_client can be imported."""

    def test_counts_nothing(self) -> None:
        """Requests pass, and there is no series."""
        metrics = Metrics(None)
        metrics.request("/", "GET", 200, 0.1)
        assert list(metrics.collect()) == []

    def test_imports_nothing(self) -> None:
        """The module and what it does before its beginning need the standard library alone."""
        code = (
            "import sys; from app.telemetry.metrics import Metrics\n"
            "Metrics(None).request('/', 'GET', 200, 0.1)\n"
            "assert 'prometheus_client' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    def test_remembers_attempts(self) -> None:
        """A heal that comes first, that of prometheus_client itself, is counted later, once."""
        metrics = Metrics(None)
        metrics.heal(HEALED)
        metrics.begin(Series)
        metrics.begin(Series)
        labels = {"module": "aiohttp", "outcome": "healed"}
        assert exposed(metrics).find("auto_fix_heal_duration_seconds_count", **labels) == [1]
        metrics.heal(HEALED)
        found = exposed(metrics)
        assert found.find("auto_fix_heal_duration_seconds_count", **labels) == [2]
        assert found.find("auto_fix_heal_duration_seconds_bucket", le="0.25") == [0]
        assert found.find("auto_fix_heal_duration_seconds_bucket", le="0.5") == [2]


class TestTogether:
    """Processes that count in one directory."""

    def test_their_counts_add_up(self, tmp_path: Path) -> None:
        """Each has files of its own, and a scrape by any of them has them all."""
        with counter(tmp_path) as first, counter(tmp_path) as second:
            count(first, "/a", 3)
            count(second, "/a", 4)
            assert files(tmp_path) >= {"counter_0.db", "counter_1.db"}
            assert read(python(SCRAPE, tmp_path)).total("http_requests_total", route="/a") == 7

    def test_a_dead_one_s_files_are_taken_over(self, tmp_path: Path) -> None:
        """However many die, killed in the midst of it, nothing piles up and nothing is lost."""
        for number in range(1, 6):
            with counter(tmp_path) as process:
                count(process, "/a", 10)
            assert total(tmp_path, route="/a") == 10 * number
        assert files(tmp_path) == {"0.slot", "counter_0.db", "histogram_0.db"}

    def test_a_fork_counts_for_itself(self, tmp_path: Path) -> None:
        """A child takes none of its parent's counts along and overwrites none of them."""
        python(FORKED, tmp_path)
        assert total(tmp_path, route="before") == 1
        assert total(tmp_path, route="after") == 200
        assert {"counter_0.db", "counter_1.db"} <= files(tmp_path)

    def test_a_child_does_not_keep_its_parent_s_slot(self, tmp_path: Path) -> None:
        """When the parent is killed its slot is free, though a child of it lives on."""
        code = FORKED.replace("    os._exit(0)", "    os.read(0, 1)") + "os._exit(0)\n"
        with subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=base_environ(PROMETHEUS_MULTIPROC_DIR=str(tmp_path)),
            stdin=subprocess.PIPE,
            start_new_session=True,
        ) as parent:
            try:
                wait_until(lambda: total(tmp_path) == 201, timeout=30)
                parent.kill()
                parent.wait()
                with counter(tmp_path) as process:
                    count(process, "/a")
                    assert "counter_2.db" not in files(tmp_path)
                    assert total(tmp_path) == 202
            finally:
                os.killpg(parent.pid, signal.SIGKILL)

    def test_a_file_that_is_being_made(self, tmp_path: Path) -> None:
        """A scrape passes over a file that has no content yet."""
        (tmp_path / "counter_9.db").touch()
        assert read(python(SCRAPE, tmp_path)).samples == ()


class TestNoUse:
    """Directories in which nobody can count."""

    @pytest.mark.parametrize("kind", ["absent", "file", "full"])
    def test_the_process_counts_for_itself(self, tmp_path: Path, kind: str) -> None:
        """A place that cannot be written or has no room costs the others' view, nothing else."""
        place = tmp_path / "place"
        if kind == "file":
            place.touch()
        if kind == "full":
            place.mkdir()
        code = (NO_ROOM if kind == "full" else "") + SCRAPE.replace(
            "registry = ", "metrics.request('/', 'GET', 200, 0.1)\nregistry = "
        )
        assert read(python(code, place)).total("http_requests_total") == 1

    def test_a_child_that_finds_no_room(self, tmp_path: Path) -> None:
        """A worker that cannot have files after its fork counts no more, and works on."""
        code = FORKED.replace(
            "if child == 0:\n", "if child == 0:\n    print('alive', flush=True)\n"
        )
        code = code.replace("for _", f"if child == 0:\n    {NO_ROOM}for _", 1)
        assert python(code, tmp_path) == "alive\n"
        assert total(tmp_path, route="after") == 100

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        """A process that finds nonsense in the files of its slot counts nothing, and works on."""
        (tmp_path / "counter_0.db").write_bytes(b"\xff" * 65536)
        assert python(COUNTING_ONCE, tmp_path) == "alive\n"

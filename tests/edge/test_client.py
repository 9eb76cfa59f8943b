"""The client: which transport, what protects functions and workers, what it says of health."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from app.edge.calls import Invocation
from app.edge.client import EdgeClient
from app.edge.errors import CallFailed, CircuitOpen, ErrorKind, NoTransport, Saturated
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.health import EdgeMonitor, HealthState
from app.edge.protection import BreakerState
from app.edge.registry import RegistryFile
from app.edge.transports import CallerBody, monkey_patched
from app.healing.report import Check
from app.routes.bodies.edge_functions import EdgeBreaker, watched
from tests.edge.conftest import LOADERS, PATIENT, SHORT, Clients, until, without
from tests.support.edge_server import MEBIBYTE, EdgeServer
from tests.support.processes import ROOT, STALL


class TestChoice:
    """Which transport is used, chosen at each call."""

    def test_heal_changes_the_transport(
        self, clients: Clients, server: EdgeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The same client moves from requests to aiohttp when aiohttp becomes importable."""
        missing = {"aiohttp"}

        def load(name: str) -> ModuleType | None:
            return None if name in missing else importlib.import_module(name)

        client = clients(EdgeFunction(name="f", url=server.url, timeout=PATIENT), load=load)
        assert client.invoke("f").choice.fallback_reason == "aiohttp_unavailable"
        assert (client.transport_name(), client.fallback_reason()) == (
            "requests",
            "aiohttp_unavailable",
        )
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        missing.clear()
        assert client.invoke("f").choice.fallback_reason is None
        assert (client.transport_name(), client.fallback_reason()) == ("aiohttp", None)

    def test_none(self, clients: Clients, server: EdgeServer) -> None:
        """With neither library a call is refused clearly, and the client still answers."""
        client = clients(
            EdgeFunction(name="f", url=server.url), load=without("aiohttp", "requests")
        )
        for call in (lambda: client.invoke("f"), client.check_all):
            with pytest.raises(NoTransport):
                call()
        assert (client.transport_name(), client.fallback_reason()) == (None, "no_transport")

    def test_close_and_call_again(self, client: EdgeClient) -> None:
        """A closed client gives its threads back, and a later call starts anew."""
        client.invoke("f")
        client.close()
        until(lambda: not [t for t in threading.enumerate() if t.name.startswith("edge-")])
        assert client.invoke("f").status == 200

    def test_close_while_calling(self, client: EdgeClient, server: EdgeServer) -> None:
        """A call that is in flight when the client closes still ends."""
        ended = threading.Event()

        def call() -> None:
            client.invoke("hasty", path="hang")
            ended.set()

        threading.Thread(target=call).start()
        until(lambda: bool(server.seen))
        client.close()
        assert ended.wait(PATIENT)

    def test_drain(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """In a process that ends soon no call lasts longer than that, whenever it began."""
        slow = EdgeFunction(name="slow", url=server.url, timeout=120.0)
        client = clients(slow, load=LOADERS[transport])
        ended: list[Invocation] = []
        calling = threading.Thread(target=lambda: ended.append(client.invoke("slow", path="hang")))
        calling.start()
        until(lambda: bool(server.seen))
        client.drain(SHORT)
        calling.join(PATIENT)
        assert [invocation.error is None for invocation in ended] == [False]
        assert client.invoke("slow", path="hang").error is ErrorKind.TIMEOUT

    # A fork beside threads is what is tested; Python 3.12 and later warn of it.
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork(self, client: EdgeClient) -> None:
        """A process that was forked after a call makes its own threads and connections."""
        client.invoke("f")
        client.share_state()
        child = os.fork()
        if child == 0:
            try:
                client.share_state()
                os._exit(0 if client.invoke("f").status == 200 else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


class TestProtection:
    """A function that fails is left alone; one that is slow takes no more than its share."""

    @pytest.fixture
    def now(self) -> list[float]:
        """The time that breakers see."""
        return [0.0]

    @pytest.fixture
    def guarded(
        self, clients: Clients, server: EdgeServer, transport: str, now: list[float]
    ) -> EdgeClient:
        """A client with a share of two slots and a clock of the test's own."""
        return clients(
            EdgeFunction(name="f", url=server.url, timeout=PATIENT),
            EdgeFunction(name="g", url=server.url, timeout=PATIENT),
            EdgeFunction(name="hasty", url=server.url, timeout=SHORT),
            load=LOADERS[transport],
            share=2,
            clock=lambda: now[0],
        )

    @pytest.mark.parametrize("path", ["failing", "cut", "redirect", "oversized"])
    def test_breaker(
        self, guarded: EdgeClient, server: EdgeServer, now: list[float], path: str
    ) -> None:
        """Five failures open it; then nothing reaches the function until one probe does."""
        for _ in range(5):
            guarded.invoke("f", path=path)
        calls = len(server.seen)
        started = time.monotonic()
        for _ in range(20):
            with pytest.raises(CircuitOpen) as caught:
                guarded.invoke("f")
            assert caught.value.retry_after > 20
        assert time.monotonic() - started < STALL
        assert len(server.seen) == calls
        assert guarded.invoke("g").status == 200
        now[0] = 40.0
        assert guarded.invoke("f").status == 200
        assert guarded.breakers() == {}
        statistics = guarded.statistics.of("f", shared=guarded.statistics.shared(now=True))
        assert statistics.outcomes["circuit_open"] == 20

    def test_timeouts(self, guarded: EdgeClient) -> None:
        """A function that lets all of its time pass is left alone after five calls."""
        for _ in range(5):
            guarded.invoke("hasty", path="hang")
        assert guarded.breakers() == {"hasty": BreakerState.OPEN}

    def test_impatient_callers(self, guarded: EdgeClient) -> None:
        """Callers with less time than the function has close it to nobody, and count as nothing."""
        function = guarded.guarded()["f"]
        for patience in (1e-6, 1e-6, 1e-6, 1e-6, 1e-6, SHORT):
            invocation = guarded.invoke("f", path="hang", patience=patience)
            assert invocation.error is ErrorKind.TIMEOUT
        assert (function.breaker.state, function.limit.limit) == (BreakerState.CLOSED, 2)
        assert guarded.invoke("f").status == 200
        found = guarded.statistics.of("f", shared=guarded.statistics.shared(now=True))
        assert found.outcomes == {"cut_short": 6, "ok": 1}

    def test_impatient_probe(self, guarded: EdgeClient, now: list[float]) -> None:
        """A probe whose caller has no time decides nothing: the next call is the probe."""
        for _ in range(5):
            guarded.invoke("f", path="failing")
        now[0] = 40.0
        guarded.invoke("f", path="hang", patience=1e-6)
        assert guarded.breakers() == {"f": BreakerState.HALF_OPEN}
        assert guarded.invoke("f").status == 200
        assert guarded.breakers() == {}

    def test_probe_without_a_body(
        self, clients: Clients, server: EdgeServer, transport: str, now: list[float]
    ) -> None:
        """A HEAD of a function that streams closes its breaker as any good call does."""
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT, stream=True)
        client = clients(function, load=LOADERS[transport], clock=lambda: now[0])
        for _ in range(5):
            client.invoke("f", method="HEAD", path="failing")
        assert client.breakers() == {"f": BreakerState.OPEN}
        now[0] = 40.0
        client.invoke("f", method="HEAD")
        assert client.breakers() == {}

    def test_slow_calls_count(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """A call that nearly takes all of its time is a failure to the breaker."""
        function = EdgeFunction(name="f", url=server.url, timeout=2)
        client = clients(function, load=LOADERS[transport])
        # The first call imports the library.
        assert client.invoke("f").status == 200
        calls = [threading.Thread(target=client.invoke, args=("f",), kwargs={"path": "gated"})]
        client.guarded()["f"].limit.bound(8)
        for call in calls:
            call.start()
        until(lambda: "/gated" in server.paths())
        threading.Timer(1.75, server.gate.set).start()
        for call in calls:
            call.join()
        found = client.statistics.of("f", shared=client.statistics.shared(now=True))
        assert found.outcomes == {"ok": 1, "slow": 1}

    @pytest.fixture
    def hurried(self, clients: Clients, server: EdgeServer, transport: str) -> EdgeClient:
        """A client of a function that has three seconds: a busy machine needs one of them."""
        large = 4 * MEBIBYTE
        function = EdgeFunction(
            name="f", url=server.url, timeout=3, max_request=large, max_response=large
        )
        return clients(function, load=LOADERS[transport])

    @staticmethod
    def _assert_not_blamed(client: EdgeClient) -> None:
        """What is left of the time may be too little on a busy machine, which blames nobody."""
        found = client.statistics.of("f", shared=client.statistics.shared(now=True))
        assert found.outcomes.keys() <= {"ok", "cut_short"}
        assert found.seconds < 2.4

    @pytest.mark.parametrize("size", [2, 200_000])
    def test_slow_uploads(self, hurried: EdgeClient, size: int) -> None:
        """A caller that takes most of a call's time to bring its body makes no function slow."""
        halves = iter([b"x" * (size // 2)] * 2)

        def read(_size: int, _until: float) -> bytes:
            half = next(halves, b"")
            time.sleep(1.35 if half else 0)
            return half

        hurried.invoke("f", method="POST", path="count", body=CallerBody(size, read)).close()
        self._assert_not_blamed(hurried)

    def test_slow_readers(self, hurried: EdgeClient) -> None:
        """A caller that takes its time over an answer makes no function slow."""
        invocation = hurried.invoke("f", path="large")
        with contextlib.suppress(CallFailed):
            for number, _ in enumerate(invocation.chunks()):
                time.sleep(2.7 if number < 2 else 0)
        invocation.close()
        self._assert_not_blamed(hurried)

    def test_share(self, guarded: EdgeClient, server: EdgeServer) -> None:
        """Calls beyond the share are refused at once, and there is room again afterwards."""
        calls = [
            threading.Thread(target=guarded.invoke, args=("f",), kwargs={"path": "gated"})
            for _ in range(2)
        ]
        for call in calls:
            call.start()
        until(lambda: len(server.seen) == 2)
        for name in ("f", "g"):
            with pytest.raises(Saturated):
                guarded.invoke(name)
        assert len(server.seen) == 2
        server.gate.set()
        for call in calls:
            call.join()
        assert guarded.invoke("g").status == 200

    def test_share_of_checks(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """Requests for checks take slots, and leave half of them to calls of functions."""
        healthy = EdgeFunction(name="f", url=server.url, timeout=PATIENT)
        slow = replace(healthy, name="slow", health_path="/gated")
        client = clients(healthy, slow, load=LOADERS[transport], share=4)
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(client.check_all_for_request) for _ in range(2)]
            until(lambda: "/gated" in server.paths() and client._check_limit.in_flight == 2)
            with pytest.raises(Saturated):
                client.check_all_for_request()
            assert client.invoke("f").status == 200
            server.gate.set()
            assert all(result.healthy for call in waiting for result in call.result(PATIENT))
        assert len(client.check_all_for_request()) == 2

    def test_reload_keeps_the_breaker(
        self, server: EdgeServer, tmp_path: Path, transport: str
    ) -> None:
        """A breaker stays open when the file changes, unless the URL does."""
        file, now = tmp_path / "functions.toml", [0.0]

        def write(text: str) -> None:
            file.write_text(f'[[function]]\nname = "f"\n{text}\n')
            now[0] += 1

        write(f'url = "{server.url}/failing"')
        source = RegistryFile(file, clock=lambda: now[0])
        client = EdgeClient(source.current, LOADERS[transport])
        for _ in range(5):
            client.invoke("f")
        write(f'url = "{server.url}/failing"\ndescription = "changed"')
        assert client.breakers() == {"f": BreakerState.OPEN}
        write(f'url = "{server.url}/health"')
        assert client.invoke("f").status == 200
        write("nonsense")
        assert client.invoke("f").status == 200
        assert client.registry.error is not None
        client.close()


class TestHealth:
    """What edge functions add to the service's health."""

    def _checks(self, client: EdgeClient) -> dict[str, Check]:
        return {check.name: check for check in client.checks()}

    def test_nothing_configured(self) -> None:
        """With no file configured the check is fine."""
        (check,) = EdgeClient(EdgeRegistry, without()).checks()
        assert (check.name, check.ok, check.critical) == ("edge_functions", True, False)

    def test_broken_file(self, tmp_path: Path) -> None:
        """A broken file is a failed check that says the line, and never a critical one."""
        file = tmp_path / "functions.toml"
        file.write_text("[[function]]\nname = 'a'\n")
        (check,) = EdgeClient(RegistryFile(file).current, without()).checks()
        assert (check.ok, check.critical, check.reason) == (False, False, "registry_invalid")
        assert "line 1" in (check.advice or "")
        assert str(tmp_path) not in (check.advice or "")

    def test_fallback(self) -> None:
        """Running on requests for want of aiohttp is reported as a fallback, and as a fault."""
        (check,) = EdgeClient(EdgeRegistry, without("aiohttp")).checks()
        assert (check.ok, check.reason, check.fallback) == (False, "fallback_transport", "requests")

    @pytest.mark.parametrize(
        ("libraries", "transport", "reason"),
        [
            ({"aiohttp", "requests"}, "aiohttp", None),
            ({"requests"}, "requests", "aiohttp_unavailable"),
            (set(), None, "no_transport"),
        ],
    )
    def test_nothing_is_imported_for_no_function(
        self, libraries: set[str], transport: str | None, reason: str | None
    ) -> None:
        """While no function is registered the transport is named by what is installed."""
        loaded: list[str] = []

        def load(name: str) -> ModuleType:
            loaded.append(name)
            return importlib.import_module(name)

        client = EdgeClient(EdgeRegistry, load, installed=libraries.__contains__)
        if monkey_patched():
            pytest.skip("a process that eventlet has patched has one transport")
        assert (client.transport_name(), client.fallback_reason()) == (transport, reason)
        (check,) = client.checks()
        assert check.ok is (transport == "aiohttp")
        client.share_state()
        assert loaded == []

    def test_three_and_two(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """Three failures turn a function unhealthy, two successes turn it back."""
        function = EdgeFunction(name="f", url=server.url, health_path="/flaky", timeout=PATIENT)
        client = clients(function, load=LOADERS[transport])
        server.failures = 3
        states = [client.check_all()[0].state for _ in range(2)]
        assert states == [HealthState.UNKNOWN] * 2
        assert "edge_function_f" not in self._checks(client)
        assert client.check_all()[0].state is HealthState.UNHEALTHY
        check = self._checks(client)["edge_function_f"]
        assert (check.ok, check.critical, check.reason) == (False, False, "unexpected_status")
        assert client.check_all()[0].state is HealthState.UNHEALTHY
        assert client.check_all()[0].state is HealthState.HEALTHY
        assert "edge_function_f" not in self._checks(client)
        server.failures = 1
        assert client.check_all()[0].state is HealthState.HEALTHY

    def test_old_results(self, clients: Clients, server: EdgeServer, transport: str) -> None:
        """What was found out five minutes ago counts no more, without another call."""
        now = [1e9]
        function = EdgeFunction(name="f", url=server.url, health_path="/failing", timeout=PATIENT)
        client = clients(function, load=LOADERS[transport], wall_clock=lambda: now[0])
        for _ in range(3):
            client.check_all()
        assert "edge_function_f" in self._checks(client)
        now[0] += 301
        assert "edge_function_f" not in self._checks(client)
        assert client.results == {}
        assert len(server.seen) == 3

    def test_open_breaker(self, client: EdgeClient) -> None:
        """An open breaker degrades, and is never critical."""
        for _ in range(5):
            client.invoke("f", path="failing")
        check = self._checks(client)["edge_breaker_f"]
        assert (check.ok, check.critical, check.reason) == (False, False, "circuit_open")

    def test_many_that_are_down(self, clients: Clients) -> None:
        """Of hundreds of functions that are down a report names twenty and counts the rest."""
        functions = [
            EdgeFunction(name=f"f{n}", url="http://127.0.0.1:9", timeout=PATIENT)
            for n in range(100)
        ]
        client = clients(*functions, load=LOADERS["aiohttp"])
        for _ in range(3):
            client.check_all()
        checks = self._checks(client)
        assert len(checks) == 22
        assert checks["edge_functions_down"].advice == "80 more are down"


class TestWorkers:
    """Several workers of one host."""

    @pytest.fixture
    def pair(self, clients: Clients, server: EdgeServer, tmp_path: Path) -> list[EdgeClient]:
        """Two clients that share a home, as two workers do."""
        function = EdgeFunction(name="f", url=server.url, timeout=PATIENT)
        return [clients(function, load=without(), home=tmp_path) for _ in range(2)]

    def test_breakers_of_each(self, pair: list[EdgeClient]) -> None:
        """A breaker that is open in one worker shows in the other, which still calls."""
        first, second = pair
        for _ in range(5):
            first.invoke("f", path="failing")
        first.share_state()
        second.statistics.refresh()
        assert second.invoke("f").status == 200
        (other,) = second.statistics.shared().workers
        assert other["functions"]["f"]["breaker"] == "open"
        (shown,) = watched(second, [other, {"functions": {}}], details=True)
        assert shown.breaker == EdgeBreaker(
            state=BreakerState.OPEN, workers={"open": 1, "closed": 1}
        )

    def test_health_is_shared(self, pair: list[EdgeClient], server: EdgeServer) -> None:
        """What one worker found out all of them say."""
        first, second = pair
        first.check_all()
        first.share_state()
        second.statistics.refresh()
        assert second.results["f"].healthy
        assert len(server.seen) == 1

    def test_nothing_registered(self, tmp_path: Path) -> None:
        """Without a file there is no thread; a file that registers nothing costs no disk."""
        EdgeMonitor(EdgeClient(EdgeRegistry, without()), tmp_path).start()
        assert "edge-monitor" not in {thread.name for thread in threading.enumerate()}
        looks: list[EdgeRegistry] = []

        def empty() -> EdgeRegistry:
            looks.append(EdgeRegistry(configured=True))
            return looks[-1]

        client = EdgeClient(empty, without(), home=tmp_path / "home")
        monitor = EdgeMonitor(client, tmp_path / "home")
        monitor.start()
        until(lambda: len(looks) >= 2)
        assert (client.results, client.statistics_by_name(), len(client.workers())) == ({}, {}, 1)
        monitor.stop()
        client.close()
        assert not (tmp_path / "home").exists()

    def test_one_checks(self, pair: list[EdgeClient], server: EdgeServer, tmp_path: Path) -> None:
        """One worker checks in the background; when it ends another takes its place."""
        monitors = [EdgeMonitor(client, tmp_path, check_seconds=0.5) for client in pair]
        for monitor in monitors:
            monitor.start()
            monitor.start()
        until(lambda: len(server.seen) >= 2)
        leader = next(n for n, client in enumerate(pair) if client._results)
        assert not pair[1 - leader]._results
        until(lambda: "f" in pair[1 - leader].results)
        monitors[leader].stop()
        until(lambda: bool(pair[1 - leader]._results))
        monitors[1 - leader].stop()
        before = len(server.seen)
        time.sleep(1.2)
        assert len(server.seen) == before


def test_importing_the_package_imports_no_library() -> None:
    """Importing app.edge needs, and loads, nothing but the standard library."""
    program = (
        "import sys, app.edge;"
        "print({'aiohttp', 'requests', 'urllib3', 'yarl', 'flask', 'eventlet'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"

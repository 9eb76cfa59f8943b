"""One attack: a service of eight workers, a home, a package, a tool, and signals at any moment."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from app.healing.journal import Journal
from app.settings.declarations import HealingSettings
from tests.campaign.homes import HOMES, unmount
from tests.campaign.packages import PACKAGES
from tests.campaign.tools import environment
from tests.conftest import World
from tests.healing.engines import processes_at
from tests.serving.house import House, working
from tests.support.index import SimpleIndex
from tests.support.processes import Server, answers, http_get, serve_by_address, wait_until

WORKERS = 8
SIGNALS = ("SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR2")
#: Seconds within which all that is done to the service is done.
SPAN = 8.0
#: Seconds for which nobody may get an answer: the machine is busy, eight workers boot.
LONGEST_GAP = 20.0
#: Seconds after the last signal within which what can be healed is served.
HEALED_WITHIN = 60.0
#: Workers that may be started beyond those that signals ask for, in all; where importing a package
#: ends processes each worker may meet it twice, and once more after the home was lost.
SPARE_BOOTS, BOOTS_BY_DEATH = 2, 2 * WORKERS


@dataclass(frozen=True)
class Plan:
    """What is tried, in words, and the moments of the signals."""

    seed: str
    home: str
    package: str
    tool: str
    preload: bool
    signals: tuple[tuple[float, str], ...]

    @classmethod
    def draw(cls, seed: str, home: str, package: str, tool: str) -> Plan:
        """Draw signals and their moments."""
        chance = random.Random(seed)  # noqa: S311 - no secret
        signals = [(chance.uniform(0, SPAN), name) for name in chance.choices(SIGNALS, k=4)]
        # A second upgrade while the first is under way is refused by gunicorn.
        first = next((each for each in sorted(signals) if each[1] == "SIGUSR2"), None)
        signals = [each for each in signals if each[1] != "SIGUSR2" or each == first]
        return cls(seed, home, package, tool, chance.random() < 0.5, tuple(sorted(signals)))

    def __str__(self) -> str:
        names = " ".join(name.removeprefix("SIG") for _, name in self.signals)
        preload = " --preload" if self.preload else ""
        return f"home {self.home}, package {self.package}, {self.tool}, {names}{preload}"


@dataclass
class Result:
    """What did not hold, and some figures."""

    failures: list[str] = field(default_factory=list)
    boots: int = 0
    longest_gap: float = 0.0
    healed: int = 0


class Caller:
    """Somebody who asks /livez four times a second, and takes the time between two answers."""

    def __init__(self, url: str) -> None:
        self.longest_gap = 0.0
        self._url, self._ended = url, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End; the longest time without an answer, in seconds."""
        self._ended.set()
        self._thread.join()
        return self.longest_gap

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.25):
            alive = answers(f"{self._url}/livez", 200)
            self.longest_gap = max(self.longest_gap, time.monotonic() - last)
            last = time.monotonic() if alive else last


def attack(plan: Plan, root: Path) -> Result:
    """Serve below ``root`` and do what the plan says; nothing of it runs afterwards."""
    result = Result()
    kind, package = HOMES[plan.home], PACKAGES[plan.package]
    (root / "index").mkdir(parents=True)
    lock = root / "test.lock"
    lock.touch()
    home = kind.make(root)
    with SimpleIndex(root / "index") as index, _installers(index, root):
        world = World(root, index, HealingSettings(home=home, lock=lock))
        world.publish("prey", files=package.files)
        if package.fault is not None:
            index.faults["prey"] = package.fault
        house = House(root, world)
        house.add("red", package.code + working("red"))
        try:
            house.furnish()
            settings = house.environ(
                WEB_CONCURRENCY=str(WORKERS), STARTUP_PATIENCE="2", GRACEFUL_TIMEOUT="4"
            )
            with serve_by_address(
                root / "log",
                settings,
                *(("--preload",) if plan.preload else ()),
                directory=house.directory,
                python=str(environment(root, plan.tool)),
            ) as server:
                caller = Caller(server.url)
                asked = _disturb(plan, server, home)
                _judge(plan, server, home, asked, result)
                result.longest_gap = caller.stop()
                if result.longest_gap > LONGEST_GAP:
                    result.failures.append(f"no answer for {result.longest_gap:.0f} s")
                result.failures += _end(root)
        except (RuntimeError, TimeoutError) as error:
            result.failures.append(f"does not start: {str(error).splitlines()[0]}")
        finally:
            if plan.home in {"5 MB", "filled", "full", "read-only", "unmounted"}:
                unmount(home)
    return result


def _disturb(plan: Plan, server: Server, home: Path) -> int:
    """Send the signals and disturb the home, each at its moment; how many boots that asks for."""
    disturbances = HOMES[plan.home].disturb
    steps: list[tuple[float, str | Callable[[Path], None]]] = [*plan.signals]
    steps += [
        (SPAN * number / (len(disturbances) + 1), disturb)
        for number, disturb in enumerate(disturbances, 1)
    ]
    begun, size, boots, upgraded = time.monotonic(), WORKERS, WORKERS, False
    for moment, what in sorted(steps, key=itemgetter(0)):
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        if not isinstance(what, str):
            what(home)
            continue
        server.process.send_signal(signal.Signals[what])
        size += {"SIGTTIN": 1, "SIGTTOU": -1}.get(what, 0)
        boots += {"SIGHUP": size, "SIGTTIN": 1, "SIGUSR2": WORKERS}.get(what, 0)
        upgraded = upgraded or what == "SIGUSR2"
    if upgraded:
        # The new master may be booting still; then the old one goes, as after an upgrade.
        time.sleep(5)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
    return boots


def _judge(plan: Plan, server: Server, home: Path, asked: int, result: Result) -> None:
    kind, package = HOMES[plan.home], PACKAGES[plan.package]
    try:
        wait_until(lambda: answers(f"{server.url}/livez", 200))
    except TimeoutError:
        result.failures.append("does not answer at last")
        return
    if package.heals and kind.heals:
        try:
            wait_until(lambda: _serves(server, "/red"), HEALED_WITHIN, interval=0.5)
        except TimeoutError:
            result.failures.append("what can be healed is not served")
    else:
        # Time enough for a loop of boots or of heals to show.
        time.sleep(SPAN)
    if http_get(f"{server.url}/api/auto-fix/status").status != 200:
        result.failures.append("no status")
    log = server.log_text
    result.boots = log.count("Booting worker with pid")
    most = asked + SPARE_BOOTS + package.kills * BOOTS_BY_DEATH * (1 + len(kind.disturb))
    if result.boots > most:
        result.failures.append(f"{result.boots} boots of workers, {most} at most")
    result.healed = log.count('"fault healed"')
    # What was lost with its home, or did not last, is healed once more.
    if result.healed > 1 + len(kind.disturb) + package.kills:
        result.failures.append(f"healed {result.healed} times")
    if kind.heals and not Journal(home / "journal.sqlite3").readable():
        result.failures.append("the journal cannot be read")
    precious = home.with_name("victim") / "key" / "prey.precious" / "file"
    if plan.home == "linked" and not precious.exists():
        result.failures.append("somebody's own directory was deleted")


def _serves(server: Server, path: str) -> bool:
    """Whether several requests, of which each may meet another worker, are answered 200."""
    return all(http_get(server.url + path).status == 200 for _ in range(2 * WORKERS))


def _end(root: Path) -> Iterator[str]:
    """End what runs below ``root`` still, whatever has become of its parents."""
    for pid in processes_at(root):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    try:
        wait_until(lambda: not processes_at(root), timeout=15)
    except TimeoutError:
        left = processes_at(root)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yield f"{len(left)} processes do not end"


@contextmanager
def _installers(index: SimpleIndex, root: Path) -> Iterator[None]:
    """Point the installers at the index, with caches of their own."""
    settings = {
        "UV_DEFAULT_INDEX": index.url,
        "UV_CACHE_DIR": str(root / "uv-cache"),
        "UV_HTTP_RETRIES": "0",
        "UV_NO_CONFIG": "1",
        "PIP_INDEX_URL": index.url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_CACHE_DIR": str(root / "pip-cache"),
        "PIP_RETRIES": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value

"""The pages for operators: what the first screen costs, also with a hundred tabs that follow it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flask.testing import FlaskClient
from playwright.sync_api import sync_playwright

from app import create_app
from app.healing.journal import INSERT, Attempt, Journal, row_of
from app.settings.declarations import HealingSettings, Settings
from app.utils.auto_fix import AutoFixer
from benchmarks.harness import Measurement, directory
from benchmarks.served import house, wrk
from tests.serving.house import all_workers
from tests.support.processes import Server

FAULTS, ROWS, LOOKS = 200, 100_000, 30
TABS, ROUNDS, SECONDS, CONNECTIONS = 100, 12, 2, 8
#: A hundred tabs that ask again for what they have, as often as the page says.
FOLLOW = """
import asyncio, re, sys
import aiohttp

async def tab(session, url, number):
    tag, every = "", 5
    await asyncio.sleep(number * 0.05)
    while True:
        async with session.get(url, headers={"If-None-Match": tag}) as answer:
            said = re.search('data-every="(.*?)"', await answer.text())
            every = float(said[1]) if said else every
            tag = answer.headers.get("ETag", tag)
        await asyncio.sleep(every)

async def main(url, tabs):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(tab(session, url, number) for number in range(tabs)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def measure() -> Iterator[Measurement]:
    """Time of the server, throughput beside open tabs, time until something is seen."""
    yield from _server_time()
    yield _beside_tabs()
    yield from _browser()


def _server_time() -> Iterator[Measurement]:
    """The first screen made anew, and from the bytes that were made within the last second."""
    with directory() as root:
        settings = HealingSettings(home=root / "home", lock=root / "test.lock")
        settings.lock.touch()
        names = [f"missing_{number}" for number in range(FAULTS)]
        fixer = AutoFixer(settings, dependency_map=dict.fromkeys(names, "x"), required=names)
        _fill(settings.home, names)
        client = create_app({"SETTINGS": Settings(healing=settings), "AUTO_FIXER": fixer})
        browser = client.test_client()
        assert browser.get("/").text.count('class="fault"') == FAULTS
        fresh, cached = [], []
        for number in range(LOOKS):
            # A worker looks for faults every other second, whether somebody asks or not.
            fixer.open_faults()
            address = f"/?{number}"
            fresh.append(_seconds(browser, address))
            cached.append(_seconds(browser, address))
    for what, limit, times in (
        (f"first screen, {FAULTS} faults, {ROWS:,} journal rows: server time", 15, fresh),
        ("the same from cached bytes", 2, cached),
    ):
        yield Measurement(
            what=what,
            rule="at most",
            target=limit,
            measured=statistics.median(times) * 1000,
            unit="ms",
            details={"milliseconds": [round(one * 1000, 2) for one in sorted(times)]},
        )


def _fill(home: Path, names: list[str]) -> None:
    """A journal with many rows, half of them of the subjects that are at fault."""
    path = home / "journal.sqlite3"
    home.mkdir(mode=0o700)
    first = Attempt(attempt="0", kind="dependency", subject="x", cause="", outcome="network", at=1)
    assert Journal(path).append(first)
    rows = (
        Attempt(
            attempt=str(number),
            kind="dependency",
            subject=names[number % FAULTS] if number % 2 else f"other_{number % 997}",
            cause="missing_distribution",
            outcome="network",
            at=time.time() - ROWS + number,
        )
        for number in range(1, ROWS)
    )
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(INSERT, map(row_of, rows))


def _seconds(browser: FlaskClient, address: str) -> float:
    began = time.perf_counter()
    browser.get(address)
    return time.perf_counter() - began


def _beside_tabs() -> Measurement:
    """Throughput of a plain route with and without the tabs, in turn."""
    with house() as h, h.serve(workers=2, THREADS="8") as server:
        all_workers(server, 2)
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(_throughput(server))
            with _tabs(server):
                beside.append(_throughput(server))
    ratios = [b / a for a, b in zip(alone, beside, strict=True)]
    return Measurement(
        what=f"throughput of a plain route beside {TABS} open tabs against without them",
        rule="at least",
        target=0.97,
        measured=statistics.median(ratios),
        unit="times",
        details={"alone": alone, "beside": beside},
    )


def _throughput(server: Server) -> float:
    with wrk(f"{server.url}/livez", seconds=SECONDS, connections=CONNECTIONS) as loads:
        pass
    assert not loads[0].failed
    return loads[0].requests / loads[0].seconds


@contextlib.contextmanager
def _tabs(server: Server) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", FOLLOW, f"{server.url}/", str(TABS)])
    time.sleep(5.5)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _browser() -> Iterator[Measurement]:
    """First contentful paint of a first visit on loopback, and what it transfers."""
    paints, sizes = [], []
    paint = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    sent = (
        """() => performance.getEntries().reduce((sum, one) => sum + (one.transferSize || 0), 0)"""
    )
    with house() as h, h.serve(workers=2) as server, sync_playwright() as playwright:
        all_workers(server, 2)
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(7):
            context = chromium.new_context(bypass_csp=True)
            page = context.new_page()
            page.goto(server.url, wait_until="networkidle")
            page.wait_for_function(f"({paint})() > 0")
            paints.append(page.evaluate(paint))
            sizes.append(page.evaluate(sent))
            context.close()
        chromium.close()
    yield Measurement(
        what="first contentful paint of a first visit",
        rule="at most",
        target=300,
        measured=statistics.median(paints),
        unit="ms",
        details={"milliseconds": sorted(paints)},
    )
    yield Measurement(
        what="transferred for a first visit",
        rule="at most",
        target=60,
        measured=max(sizes) / 1000,
        unit="kB",
    )

"""What the tests of edge functions share: clients over each transport, and a real server."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from app.edge.client import EdgeClient
from app.edge.functions import EdgeFunction, EdgeRegistry
from app.edge.transports import monkey_patched
from tests.support.edge_server import EdgeServer, edge_server

Load = Callable[[str], ModuleType | None]

#: Seconds: enough for an answer from loopback on a busy machine.
PATIENT = 20.0
#: Seconds: what a function that never answers is given.
SHORT = 0.3


def without(*missing: str) -> Load:
    """Loads modules as on a machine where some libraries are missing."""
    return lambda name: None if name in missing else importlib.import_module(name)


LOADERS = {
    "aiohttp": without(),
    "requests": without("aiohttp"),
    "requests-eventlet": without(),
}
#: In a process that eventlet has patched, its own transport is the only one.
TRANSPORTS = ["requests-eventlet"] if monkey_patched() else ["aiohttp", "requests"]


class Clients:
    """Makes clients and closes them."""

    def __init__(self) -> None:
        self.made: list[EdgeClient] = []

    def __call__(
        self,
        *functions: EdgeFunction,
        load: Load,
        **more: Any,  # noqa: ANN401 - passed on
    ) -> EdgeClient:
        """A client of these functions."""
        registry = EdgeRegistry(functions=functions, configured=True)
        self.made.append(EdgeClient(lambda: registry, load, **more))
        return self.made[-1]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport in turn."""
    name: str = request.param
    return name


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    """A real server with well and badly behaved paths."""
    with edge_server() as running:
        yield running


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Clients that are closed at the end."""
    made = Clients()
    yield made
    for client in made.made:
        client.close()


@pytest.fixture
def client(clients: Clients, server: EdgeServer, transport: str) -> EdgeClient:
    """A client of two functions on the real server: a patient one and an impatient one."""
    return clients(
        EdgeFunction(name="f", url=server.url, timeout=PATIENT),
        EdgeFunction(name="hasty", url=server.url, timeout=SHORT),
        load=LOADERS[transport],
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for it to come true."""
    deadline = time.monotonic() + PATIENT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)

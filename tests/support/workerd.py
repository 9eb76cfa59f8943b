"""Runs real Workers (``tests/workers/*.js``) in the Cloudflare runtime, on loopback.

The runtime comes from npm (``tests/support/npm.py``).
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.npm import installed
from tests.support.processes import ROOT, answers, stop, wait_until

SOURCES = ROOT / "tests" / "workers"
NAMES = ("healthy", "slow", "failing", "streaming", "redirecting")
_ARCHITECTURES = {"x86_64": "64", "aarch64": "arm64"}
_CONFIG = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [{services}], sockets = [{sockets}]);
"""
_SERVICE = """
(name = "{name}", worker = (
  modules = [(name = "{name}.js", esModule = embed "{name}.js")],
  compatibilityDate = "2026-01-01"))"""
_SOCKET = '(name = "{name}", http = (), service = "{name}")'


def runtime() -> Path:
    """The runtime's program."""
    return installed(f"@cloudflare/workerd-linux-{_ARCHITECTURES[platform.machine()]}/bin/workerd")


@contextlib.contextmanager
def workers(directory: Path) -> Iterator[Mapping[str, str]]:
    """Run all of them until the block ends; the URL of each by its name.

    Args:
        directory: an empty one, for the configuration and the log.
    """
    with contextlib.ExitStack() as stack:
        listeners = {
            name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in NAMES
        }
        urls = {n: f"http://127.0.0.1:{s.getsockname()[1]}" for n, s in listeners.items()}
        process = stack.enter_context(_running(directory, listeners))
        wait_until(lambda: process.poll() is not None or answers(urls["healthy"]), timeout=30)
        assert process.poll() is None, (directory / "workerd.log").read_text()
        yield urls


@contextlib.contextmanager
def _running(
    directory: Path, listeners: Mapping[str, socket.socket]
) -> Iterator[subprocess.Popen[bytes]]:
    for name in NAMES:
        shutil.copy(SOURCES / f"{name}.js", directory)
    services = ",".join(_SERVICE.format(name=name) for name in NAMES)
    sockets = ", ".join(_SOCKET.format(name=name) for name in NAMES)
    config = directory / "workers.capnp"
    config.write_text(_CONFIG.format(services=services, sockets=sockets))
    handed = [f"--socket-fd={name}={listener.fileno()}" for name, listener in listeners.items()]
    with (directory / "workerd.log").open("wb") as log:
        process = subprocess.Popen(
            [runtime(), "serve", config, *handed],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno() for listener in listeners.values()],
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # It would wait for Workers that never answer.
        stop(process, timeout=1)

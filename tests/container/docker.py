"""Drives Docker's client: images and containers with names of their own, removed at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.image import copy_image
from tests.support.processes import ROOT, Response, http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DOCKER = os.environ.get("DOCKER", "docker")
PORT = 10000
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108 - inside
# Where nothing is published the container asks itself.
ASK = """
import json, sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


def unique(name: str) -> str:
    """Return a name that nothing else on this engine has."""
    return f"orchestrator-test-{name}-{uuid.uuid4().hex[:12]}"


def docker(*arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Run Docker's client and return what it printed.

    Raises:
        RuntimeError: It failed; the message ends with what it wrote.
    """
    return run([DOCKER, *arguments], environ)


def run(command: list[str], environ: Mapping[str, str] | None = None) -> str:
    """Run a command in the checkout; see :func:`docker`."""
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{result.stdout}\n{result.stderr}")
    return result.stdout.strip()


def engine_answers() -> bool:
    """Tell whether there is a Docker engine to talk to."""
    try:
        docker("info", "--format", "{{.ServerVersion}}")
    except (OSError, RuntimeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Container:
    """A running container of the service."""

    id: str

    @property
    def url(self) -> str:
        """Where the host reaches it; only with a published port."""
        return f"http://{docker('port', self.id, f'{PORT}/tcp').splitlines()[0]}"

    @property
    def health(self) -> str:
        """What Docker's own check found: starting, healthy or unhealthy."""
        return docker("inspect", "-f", "{{.State.Health.Status}}", self.id)

    @property
    def log(self) -> str:
        """What it has written so far."""
        result = subprocess.run(
            [DOCKER, "logs", self.id], capture_output=True, text=True, timeout=60, check=False
        )
        return result.stdout + result.stderr

    def execute(self, *command: str) -> str:
        """Run a command in it and return what that printed."""
        return docker("exec", self.id, *command)

    def get(self, path: str) -> Response:
        """GET a path from the host."""
        return http_get(self.url + path)

    def ask(self, path: str) -> tuple[int, str]:
        """GET a path from inside; returns status and body."""
        status, body = json.loads(
            self.execute("python", "-c", ASK, f"http://127.0.0.1:{PORT}{path}")
        )
        return status, body

    def ask_json(self, path: str) -> Any:  # noqa: ANN401 - a JSON document can be anything
        """GET a path from inside, which has to answer 200, and return the document."""
        status, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def wait_until_ready(self) -> None:
        """Wait until it answers its readiness probe.

        Raises:
            TimeoutError: It did not; the message ends with its log.
        """
        try:
            wait_until(self._ready, timeout=90, interval=0.2)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log}") from error

    def _ready(self) -> bool:
        with contextlib.suppress(RuntimeError):
            return self.ask("/readyz")[0] == 200
        return False


@contextlib.contextmanager
def running(image: str, *options: str) -> Iterator[Container]:
    """Run a container of ``image`` until the end of the block; wait until it is ready."""
    container = Container(docker("run", "-d", "--name", unique("run"), *options, image))
    try:
        container.wait_until_ready()
        yield container
    finally:
        docker("rm", "-f", "-v", container.id)


@contextlib.contextmanager
def volume() -> Iterator[str]:
    """A named volume until the end of the block."""
    name = docker("volume", "create", unique("volume"))
    try:
        yield name
    finally:
        docker("volume", "rm", "-f", name)


@contextlib.contextmanager
def built(context: Path, name: str, *options: str) -> Iterator[str]:
    """An image of a build context until the end of the block."""
    tag = unique(name)
    docker("build", "-q", "--force-rm", *options, "-t", tag, str(context))
    try:
        yield tag
    finally:
        docker("rmi", "-f", tag)


def copy_context(directory: Path) -> Path:
    """Copy what the image is made of, so that a test can change it."""
    shutil.copy(ROOT / "Dockerfile", directory)
    return copy_image(directory, "__pycache__")


@contextlib.contextmanager
def built_without_aiohttp(directory: Path) -> Iterator[str]:
    """The image with the original fault, built in ``directory``: nothing requires aiohttp.

    The doctor, which would refuse to build it, is off.
    """
    context = copy_context(directory)
    drop_aiohttp(context / "requirements-flask.txt", context / "requirements-faulty.txt")
    options = {"REQUIREMENTS": "requirements-faulty.txt", "DOCTOR": "off"}
    arguments = [part for item in options.items() for part in ("--build-arg", "=".join(item))]
    with built(context, "faulty", *arguments) as tag:
        yield tag


def drop_aiohttp(requirements: Path, faulty: Path) -> None:
    """Write the requirements with the original fault."""
    lines = requirements.read_text().splitlines(keepends=True)
    faulty.write_text("".join(line for line in lines if not line.startswith("aiohttp")))

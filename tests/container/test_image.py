"""The image runs the main job: it comes up with a dependency missing, heals itself and says so."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.container.docker import (
    DOCKER,
    HARDENED,
    Container,
    built,
    copy_context,
    docker,
    run,
    running,
    unique,
    volume,
)
from tests.support.processes import http_get, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

PUBLISHED = ("-p", "127.0.0.1::10000")
ENDPOINTS = [
    "/",
    "/livez",
    "/readyz",
    "/startupz",
    "/healthz",
    "/metrics",
    "/api/auto-fix/health",
    "/api/auto-fix/status",
    "/api/auto-fix/test-import?module=flask",
    "/api/auto-fix/force-health-check",
    "/api/edge-functions",
    "/api/edge-functions/status",
]


def uses_aiohttp(container: Container) -> bool:
    """Tell whether calls to edge functions go through aiohttp now."""
    return bool(container.ask_json("/api/edge-functions/status")["transport"] == "aiohttp")


def health(container: Container) -> Any:  # noqa: ANN401 - a JSON document
    """The health report, computed now."""
    return container.ask_json("/api/auto-fix/force-health-check")


@pytest.fixture(scope="module")
def healing(faulty_image: str) -> Iterator[Container]:
    """The faulty image, run as anybody would."""
    with running(faulty_image, *PUBLISHED) as container:
        yield container


@pytest.fixture(scope="module")
def offline(faulty_image: str) -> Iterator[Container]:
    """The faulty image without a network."""
    with running(faulty_image, "--network", "none") as container:
        yield container


@pytest.fixture(scope="module")
def plain(image: str) -> Iterator[Container]:
    """The image as it is."""
    with running(image) as container:
        yield container


class TestHealing:
    """An image without aiohttp, with a network."""

    def test_brings_the_feature_live_by_itself(self, healing: Container) -> None:
        """Edge functions answer 200 and within seconds go through aiohttp, without a restart."""
        assert healing.get("/api/edge-functions/status").status == 200
        wait_until(lambda: uses_aiohttp(healing), timeout=30)

    def test_says_what_it_did(self, healing: Container) -> None:
        """The status shows one attempt, which worked, and health is healthy with the fix listed."""
        wait_until(lambda: uses_aiohttp(healing), timeout=30)
        status = healing.get("/api/auto-fix/status").json()
        assert status["fix_attempts"] == {"aiohttp": 1}
        report = health(healing)
        assert report["overall_status"] == "healthy", report
        assert any("aiohttp" in fix for fix in report["fixes_applied"])
        assert '"aiohttp"' in healing.log

    @pytest.mark.parametrize("path", ENDPOINTS)
    def test_answers_everywhere(self, healing: Container, path: str) -> None:
        """Every endpoint answers from the host."""
        assert healing.get(path).status == 200


class TestWithoutNetwork:
    """The same image where nothing can be installed."""

    def test_falls_back_to_requests(self, offline: Container) -> None:
        """Calls to edge functions go through requests, and health is degraded."""
        assert offline.ask_json("/api/edge-functions/status")["transport"] == "requests"
        report = health(offline)
        assert report["overall_status"] == "degraded"
        assert report["checks"]["dependency_aiohttp"]["ok"] is False

    @pytest.mark.parametrize("path", ENDPOINTS)
    def test_answers_everywhere(self, offline: Container, path: str) -> None:
        """Every endpoint answers as ever."""
        assert offline.ask(path)[0] == 200


class TestHardened:
    """A read-only root, no capabilities, a volume."""

    def test_a_fix_outlives_a_restart(self, faulty_image: str) -> None:
        """It heals on a read-only root; a restart finds the fix and installs nothing."""
        with (
            volume() as home,
            running(faulty_image, *HARDENED, "-v", f"{home}:/var/lib/auto-fix") as container,
        ):
            wait_until(lambda: uses_aiohttp(container), timeout=30)
            docker("restart", container.id)
            container.wait_until_ready()
            assert uses_aiohttp(container)
            status = container.ask_json("/api/auto-fix/status")
            assert status["fix_attempts"] == {"aiohttp": 1}
            assert health(container)["overall_status"] == "healthy"

    def test_stops_within_the_time_that_docker_gives(self, image: str) -> None:
        """`docker stop` ends it gracefully: status 0, not killed."""
        with running(image, *HARDENED) as container:
            docker("stop", "-t", "10", container.id)
            assert docker("inspect", "-f", "{{.State.ExitCode}}", container.id) == "0"

    def test_docker_finds_it_healthy(self, image: str) -> None:
        """The image's own check turns healthy."""
        with running(image, *HARDENED) as container:
            wait_until(lambda: container.health == "healthy", timeout=60, interval=0.5)


class TestContents:
    """What is in the image, and what is not."""

    def test_runs_as_nobody_in_particular(self, plain: Container) -> None:
        """A fixed, unprivileged user that owns nothing of what it runs."""
        assert plain.execute("id", "-u") == "10001"
        assert plain.execute("sh", "-c", "test -w /srv || test -w /opt/venv || echo no") == "no"

    def test_any_user_of_group_0_has_the_home(self, image: str) -> None:
        """As on OpenShift: an arbitrary user of group 0 keeps its state, on a read-only root."""
        with running(image, *HARDENED, "--user", "1000740000:0") as container:
            assert container.execute("id", "-u") == "1000740000"
            assert container.execute("sh", "-c", "test -w /var/lib/auto-fix && echo yes") == "yes"
            assert container.execute("sh", "-c", "test -w /srv || echo no") == "no"
            assert container.ask_json("/api/auto-fix/status")["mode"] == "heal"

    def test_the_home_is_nobody_elses(self, image: str) -> None:
        """A user of another group heals nothing, says so, and serves."""
        with running(image, *HARDENED, "--user", "20000:20000") as container:
            assert container.ask("/readyz")[0] == 200
            assert container.ask_json("/api/auto-fix/status")["mode"] == "report"

    @pytest.mark.parametrize("program", ["cc", "gcc", "g++", "make", "curl", "wget", "git"])
    def test_has_no_tools_for_a_stranger(self, plain: Container, program: str) -> None:
        """No compiler, no downloader."""
        found = plain.execute("sh", "-c", f"command -v {program} || echo none")
        assert found == "none"

    @pytest.mark.parametrize(
        "installer", [["uv", "--version"], ["python", "-m", "pip", "--version"]]
    )
    def test_has_both_installers(self, plain: Container, installer: list[str]) -> None:
        """uv heals; pip is there to fall back on."""
        assert plain.execute(*installer)

    @pytest.mark.parametrize("path", ENDPOINTS)
    def test_answers_everywhere(self, plain: Container, path: str) -> None:
        """Every endpoint answers, healthy from the start."""
        assert plain.ask(path)[0] == 200

    def test_a_nonsensical_setting_ends_it_with_one_sentence(self, image: str) -> None:
        """No traceback: the log is one line that names the variable, and the status is 78."""
        name = docker("run", "-d", "--name", unique("wrong"), "-e", "PORT=abc", image)
        try:
            assert docker("wait", name) == "78"
            (line,) = Container(name).log.splitlines()
            assert "PORT" in line
        finally:
            docker("rm", "-f", "-v", name)


class TestBuilding:
    """What does not fit the lock is not built."""

    @pytest.mark.usefixtures("engine")
    def test_a_requirement_outside_the_lock_ends_the_build(self, tmp_path: Path) -> None:
        """Nothing gets into the image without a hash to check it by."""
        context = copy_context(tmp_path)
        with (context / "requirements-flask.txt").open("a") as requirements:
            requirements.write("six\n")
        with pytest.raises(RuntimeError, match="not in the lock: six"), built(context, "unlocked"):
            pass


class TestCompose:
    """`docker compose up` is all it takes."""

    def test_up_and_healthy(self, image: str) -> None:
        """It serves on the published port, hardened, and turns healthy."""
        project = unique("compose")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        environ = {"IMAGE": image, "PORT": port, "BIND": "127.0.0.1"}
        command = [*compose(), "-p", project]
        try:
            run([*command, "up", "-d", "--no-build"], environ)
            container = Container(run([*command, "ps", "-q"], environ))
            wait_until(lambda: container.health == "healthy", timeout=60, interval=0.5)
            assert http_get(f"http://127.0.0.1:{port}/livez").status == 200
            hardening = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
            assert docker("inspect", "-f", hardening, container.id) == "true [ALL]"
        finally:
            run([*command, "down", "-v", "-t", "10"], environ)


def compose() -> list[str]:
    """The Compose that this machine has: the client's plug-in, or the program of its own."""
    try:
        docker("compose", "version")
    except RuntimeError:
        return [shutil.which("docker-compose") or "docker-compose"]
    return [DOCKER, "compose"]

"""What the other tests stand on is real: installers install from the index, and its faults hurt."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.request
import zipfile
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from tests.support.index import JSON_API, STRANGER_VERSION, Fault, SimpleIndex
from tests.support.processes import base_environ, http_get, http_request, wait_until
from tests.support.wheels import build_sdist, build_wheel, lock_text, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Completed = subprocess.CompletedProcess[str]
    Install = Callable[..., Completed]

MODULE = "sample_pkg/__init__.py"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel in a directory of its own."""
    return build_wheel(tmp_path / "wheels", "sample-pkg", "1.2", files={MODULE: "VALUE = 42\n"})


@pytest.fixture
def index(wheel: Path) -> Iterator[SimpleIndex]:
    """An index that offers the wheel."""
    with SimpleIndex(wheel.parent) as running:
        yield running


@pytest.fixture
def locked(wheel: Path, tmp_path: Path) -> tuple[str, ...]:
    """Arguments that install the wheel exactly as locked."""
    lock = tmp_path / "sample.lock"
    lock.write_text(lock_text([wheel]))
    return ("--require-hashes", "--no-deps", "-r", str(lock))


def uv(index: SimpleIndex, target: Path, *arguments: str) -> Completed:
    """Install with uv, which neither retries nor waits for long."""
    command = [find_uv_bin(), "pip", "install", "--no-config", "--only-binary", ":all:"]
    command += ["--python", sys.executable, "--index-url", index.url, "--target", str(target)]
    limits = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "2"}
    return run([*command, *arguments], UV_CACHE_DIR=str(target.parent / "uv-cache"), **limits)


def pip(index: SimpleIndex, target: Path, *arguments: str) -> Completed:
    """Install with pip, which neither retries nor waits for long."""
    command = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--retries", "0", "--timeout", "2", "--disable-pip-version-check"]
    command += ["--index-url", index.url, "--target", str(target)]
    return run([*command, *arguments], PIP_CONFIG_FILE=os.devnull)


def run(command: list[str], **environ: str) -> Completed:
    """Run an installer in an environment that says nothing but this."""
    return subprocess.run(
        command,
        env=base_environ(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestInstalling:
    """A healthy index serves both installers."""

    @pytest.mark.parametrize("install", [uv, pip])
    @pytest.mark.parametrize("hashes", ["listed", "unlisted"])
    def test_locked_wheel(
        self, install: Install, hashes: str, wheel: Path, locked: tuple[str, ...], tmp_path: Path
    ) -> None:
        """A locked wheel installs, whether the listing tells hashes or not, by one download."""
        with SimpleIndex(wheel.parent, hashes=hashes == "listed") as index:
            result = install(index, tmp_path / "target", *locked)
            assert result.returncode == 0, result.stderr
            assert index.downloads("Sample.Pkg") == [f"/files/{wheel.name}"]
        assert (tmp_path / "target" / MODULE).read_text() == "VALUE = 42\n"

    def test_requirements_of_a_wheel_are_followed(self, wheel: Path, tmp_path: Path) -> None:
        """A wheel's Requires-Dist brings the wheel that it names."""
        build_wheel(wheel.parent, "outer", "1", files={"outer.py": ""}, requires=["sample-pkg>=1"])
        with SimpleIndex(wheel.parent) as index:
            result = uv(index, tmp_path / "target", "outer")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "target" / MODULE).exists()

    def test_html_and_json_list_the_same(self, index: SimpleIndex, wheel: Path) -> None:
        """The listing comes as HTML, and as JSON where that is asked for."""
        page = index.url + "sample-pkg/"
        assert f"{wheel.name}#sha256={sha256(wheel)}" in http_get(page).text
        listed = http_request(page, headers={"Accept": JSON_API}).json()
        assert listed["files"][0]["hashes"] == {"sha256": sha256(wheel)}
        assert '<a href="sample-pkg/">' in http_get(index.url).text


class TestFaults:
    """Every fault of an index reaches the installer."""

    @pytest.mark.parametrize("install", [uv, pip])
    @pytest.mark.parametrize(
        "fault",
        [
            Fault.WRONG_HASH,
            Fault.TRUNCATED,
            Fault.NOT_FOUND,
            Fault.TOO_MANY_REQUESTS,
            Fault.SERVER_ERROR,
            Fault.HANG,
            Fault.REDIRECT_ELSEWHERE,
            Fault.SDIST_ONLY,
        ],
    )
    def test_a_locked_install_fails(
        self,
        install: Install,
        fault: Fault,
        index: SimpleIndex,
        locked: tuple[str, ...],
        tmp_path: Path,
    ) -> None:
        """Nothing is installed from an index that has this fault."""
        index.faults["sample-pkg"] = fault
        result = install(index, tmp_path / "target", *locked)
        assert result.returncode != 0, result.stdout
        assert not (tmp_path / "target" / MODULE).exists()

    @pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.SERVER_ERROR, Fault.HANG])
    def test_a_listing_fails(
        self, fault: Fault, index: SimpleIndex, locked: tuple[str, ...], tmp_path: Path
    ) -> None:
        """The listing can have a fault of its own, before any file is asked for."""
        index.page_faults["*"] = fault
        assert uv(index, tmp_path / "target", *locked).returncode != 0
        assert index.downloads() == []

    def test_a_tampered_wheel_installs_where_no_hash_is_asked_for(
        self, wheel: Path, tmp_path: Path
    ) -> None:
        """The tampered wheel is valid: only its hash gives it away."""
        with SimpleIndex(wheel.parent, hashes=False) as index:
            index.faults["sample-pkg"] = Fault.WRONG_HASH
            assert uv(index, tmp_path / "target", "sample-pkg").returncode == 0

    def test_the_redirect_leads_to_another_host(
        self, index: SimpleIndex, wheel: Path, locked: tuple[str, ...], tmp_path: Path
    ) -> None:
        """An installer that follows the redirect asks the other host for the file."""
        index.faults["*"] = Fault.REDIRECT_ELSEWHERE
        uv(index, tmp_path / "target", *locked)
        assert f"/elsewhere/{wheel.name}" in index.requests

    def test_a_stranger_offers_a_higher_version(
        self, index: SimpleIndex, locked: tuple[str, ...], tmp_path: Path
    ) -> None:
        """A range takes the stranger's version, the lock does not."""
        index.faults["sample-pkg"] = Fault.HIGHER_VERSION
        assert uv(index, tmp_path / "range", "sample-pkg>=1").returncode == 0
        assert (tmp_path / f"range/sample_pkg-{STRANGER_VERSION}.dist-info").is_dir()
        assert uv(index, tmp_path / "locked", *locked).returncode == 0
        assert (tmp_path / "locked/sample_pkg-1.2.dist-info").is_dir()

    def test_an_endless_body_has_no_end(self, index: SimpleIndex, wheel: Path) -> None:
        """Far more arrives than the file holds, and more would."""
        index.faults["sample-pkg"] = Fault.ENDLESS
        address = f"http://127.0.0.1:{index.port}/files/{wheel.name}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert len(answer.read(1_000_000)) == 1_000_000

    def test_closing_frees_a_hung_client(self, wheel: Path) -> None:
        """The index closes although a client still waits for its answer."""
        failures: list[OSError] = []
        with SimpleIndex(wheel.parent) as index:
            index.faults["*"] = Fault.HANG
            client = threading.Thread(target=_expect_failure, args=(index, wheel, failures))
            client.start()
            wait_until(index.downloads)
        client.join(10)
        assert len(failures) == 1

    def test_the_gate_holds_files_back(self, index: SimpleIndex, wheel: Path) -> None:
        """A held file arrives when the gate opens, not before."""
        index.hold()
        client = threading.Thread(
            target=http_get, args=[f"http://127.0.0.1:{index.port}/files/{wheel.name}"]
        )
        client.start()
        wait_until(lambda: index.waiting == 1)
        assert client.is_alive()
        index.release()
        client.join(10)
        assert not client.is_alive()


class TestBuilding:
    """What the builders make is what they were asked for."""

    def test_builds_are_deterministic(self, tmp_path: Path) -> None:
        """The same input gives the same bytes."""
        first = [build_wheel(tmp_path / d, "a", "1", files={"a.py": "x = 1\n"}) for d in "xy"]
        second = [build_sdist(tmp_path / d, "a", "1", files={"a.py": "x = 1\n"}) for d in "xy"]
        assert sha256(first[0]) == sha256(first[1])
        assert sha256(second[0]) == sha256(second[1])

    def test_a_wheel_can_break_the_rules(self, tmp_path: Path) -> None:
        """Names may escape, metadata may lie, and RECORD may miss a member."""
        wheel = build_wheel(
            tmp_path,
            "sample",
            "1",
            files={"../escape.py": ""},
            metadata_name="stranger",
            extra_entries={"unlisted.py": b""},
        )
        with zipfile.ZipFile(wheel) as archive:
            assert {"../escape.py", "unlisted.py"} <= set(archive.namelist())
            assert b"Name: stranger\n" in archive.read("sample-1.dist-info/METADATA")
            assert b"unlisted" not in archive.read("sample-1.dist-info/RECORD")

    def test_a_lock_is_laid_out_as_uv_does(self, tmp_path: Path) -> None:
        """Entries are sorted, with marker, hashes and what needs them."""
        leaf = build_wheel(tmp_path, "Leaf_Pkg", "2", files={"leaf.py": ""})
        source = build_sdist(tmp_path, "Leaf_Pkg", "2")
        root = build_wheel(tmp_path, "root", "1", files={"root.py": ""})
        text = lock_text(
            [root, leaf, source],
            parents={"leaf-pkg": ["root", "other"]},
            markers={"leaf-pkg": "python_version < '4'"},
        )
        low, high = sorted([sha256(leaf), sha256(source)])
        assert text.splitlines()[2:] == [
            "leaf-pkg==2 ; python_version < '4' \\",
            f"    --hash=sha256:{low} \\",
            f"    --hash=sha256:{high}",
            "    # via",
            "    #   other",
            "    #   root",
            "root==1 \\",
            f"    --hash=sha256:{sha256(root)}",
            "    # via -r requirements-flask.txt",
        ]


def _expect_failure(index: SimpleIndex, wheel: Path, failures: list[OSError]) -> None:
    try:
        http_get(f"http://127.0.0.1:{index.port}/files/{wheel.name}")
    except OSError as error:
        failures.append(error)

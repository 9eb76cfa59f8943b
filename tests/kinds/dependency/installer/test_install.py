"""What an installer, an index and a disk can do wrong, each really done, with uv and with pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.healing.kind import Outcome
from app.kinds.dependency.catalog import InstallOutcome
from app.kinds.dependency.imports import ImportReport
from app.kinds.dependency.installer.verdict import redact
from app.kinds.dependency.on_disk import find_on_disk
from app.settings.declarations import Mode
from app.utils.auto_fix import AutoFixer
from tests.conftest import World
from tests.healing.engines import committed, processes_at, run, staged
from tests.support.index import Fault
from tests.support.processes import STALL, wait_until
from tests.support.wheels import build_sdist, build_wheel

TOOLS = ("uv", "pip")
#: How each fault of a file ends with each tool.
FILE_FAULTS = [
    (Fault.WRONG_HASH, {InstallOutcome.HASH_MISMATCH}, {InstallOutcome.HASH_MISMATCH}),
    # Whether a pip notices the end of a body that came too early depends on its version.
    (
        Fault.TRUNCATED,
        {InstallOutcome.NETWORK},
        {InstallOutcome.HASH_MISMATCH, InstallOutcome.NETWORK},
    ),
    (Fault.NOT_FOUND, {InstallOutcome.NOT_FOUND}, {InstallOutcome.NOT_FOUND}),
    (Fault.TOO_MANY_REQUESTS, {InstallOutcome.NETWORK}, {InstallOutcome.NETWORK}),
    (Fault.SERVER_ERROR, {InstallOutcome.NETWORK}, {InstallOutcome.NETWORK}),
    # uv unpacks while it downloads, so it sees at once that this is no archive.
    (Fault.ENDLESS, {InstallOutcome.INVALID_WHEEL}, {InstallOutcome.TOO_LARGE}),
    (Fault.REDIRECT_ELSEWHERE, {InstallOutcome.HASH_MISMATCH}, {InstallOutcome.HASH_MISMATCH}),
    (Fault.SDIST_ONLY, {InstallOutcome.NO_WHEEL}, {InstallOutcome.NO_WHEEL}),
]
LISTING_FAULTS = [
    (Fault.WRONG_HASH, InstallOutcome.NETWORK),
    (Fault.TRUNCATED, InstallOutcome.NETWORK),
    (Fault.NOT_FOUND, InstallOutcome.NOT_FOUND),
    (Fault.TOO_MANY_REQUESTS, InstallOutcome.NETWORK),
    (Fault.SERVER_ERROR, InstallOutcome.NETWORK),
]
MEGABYTE = 1_000_000
#: In user names, passwords, paths and queries of addresses; none may ever be shown.
SECRET = "s3cret"  # noqa: S105 - a made-up one


def heal(world: World, tool: str, **settings: Any) -> tuple[AutoFixer, ImportReport]:  # noqa: ANN401
    """Try to heal ``prey`` with one tool, and hold whatever must hold when that fails."""
    before = list(sys.path)
    fixer = world.fixer(tools=(tool,), **settings)
    report = fixer.import_module("prey")
    assert staged(world.settings.home) == []
    if not report.success:
        assert committed(world.settings.home) == []
        assert sys.path == before
        assert "prey" not in sys.modules
        assert fixer.safe_import("wave")[0]
    return fixer, report


def outcome(report: ImportReport) -> str:
    """Return how the heal ended."""
    assert report.result is not None
    return report.result.outcome


@pytest.mark.parametrize("tool", TOOLS)
class TestFaultyIndex:
    """Each fault of an index ends in its typed outcome, and nothing is committed."""

    @pytest.mark.parametrize(("fault", "uv", "pip"), FILE_FAULTS)
    def test_a_faulty_file(
        self, world: World, tool: str, fault: Fault, uv: set[Outcome], pip: set[Outcome]
    ) -> None:
        """The fault of one project's file is recognized, and the next project still heals."""
        world.publish("prey")
        world.publish("sound")
        world.index.faults["prey"] = fault
        fixer, report = heal(world, tool, max_file_bytes=5 * MEGABYTE)
        assert not report.success
        assert outcome(report) in {"uv": uv, "pip": pip}[tool]
        assert [row.outcome for row in fixer.history()] == [outcome(report)]
        assert fixer.safe_import("sound")[0]

    @pytest.mark.parametrize(("fault", "expected"), LISTING_FAULTS)
    def test_a_faulty_listing(
        self, world: World, tool: str, fault: Fault, expected: Outcome
    ) -> None:
        """A listing that cannot be had is an outage, one that is not there is not found."""
        world.publish("prey")
        world.index.page_faults["prey"] = fault
        _, report = heal(world, tool)
        assert outcome(report) is expected

    @pytest.mark.parametrize("place", ["faults", "page_faults"])
    def test_a_hanging_socket(self, world: World, tool: str, place: str) -> None:
        """An index that never answers costs the deadline, and no process stays behind."""
        world.publish("prey")
        getattr(world.index, place)["prey"] = Fault.HANG
        _, report = heal(world, tool, install_deadline=1.0)
        assert outcome(report) == Outcome.DEADLINE
        assert report.result is not None
        assert 1.0 <= report.result.seconds < 1.0 + STALL
        wait_until(lambda: not processes_at(world.settings.home))

    def test_an_endless_listing(self, world: World, tool: str) -> None:
        """A listing without end is refused or costs the deadline, no more."""
        world.publish("prey")
        world.index.page_faults["prey"] = Fault.ENDLESS
        _, report = heal(world, tool, install_deadline=1.0)
        assert outcome(report) in {InstallOutcome.NETWORK, Outcome.DEADLINE}

    def test_a_higher_version_under_the_same_name(self, world: World, tool: str) -> None:
        """A stranger's version 999 is not looked at: the locked one is installed."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.HIGHER_VERSION
        fixer, report = heal(world, tool)
        assert report.success
        assert [layer.installed for layer in fixer.layers.committed()] == [("prey==1.0",)]
        assert len(world.index.downloads()) == 1

    def test_an_index_that_is_down(
        self, world: World, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A refused connection is an outage."""
        world.publish("prey")
        use_url(monkeypatch, "http://127.0.0.1:9/simple/")
        _, report = heal(world, tool)
        assert outcome(report) == InstallOutcome.NETWORK

    def test_a_name_that_does_not_resolve(
        self, world: World, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A DNS failure is an outage."""
        world.publish("prey")
        use_url(monkeypatch, "https://index.invalid/simple/")
        _, report = heal(world, tool)
        assert outcome(report) == InstallOutcome.NETWORK


@pytest.mark.parametrize("tool", TOOLS)
class TestFaultyWheel:
    """A file whose hash is right can still be wrong in itself."""

    def test_metadata_of_another_project(self, world: World, tool: str) -> None:
        """A wheel that calls itself otherwise inside is refused."""
        world.publish("prey", metadata_name="stranger")
        assert outcome(heal(world, tool)[1]) == InstallOutcome.INVALID_WHEEL

    @pytest.mark.parametrize("metadata", [b"\xff\xfe", b"Metadata-Version: 2.1\n", b""])
    def test_metadata_that_says_nothing(self, world: World, tool: str, metadata: bytes) -> None:
        """Unreadable metadata is the wheel's fault."""
        world.publish("prey", extra_entries={"prey-1.0.dist-info/METADATA": metadata})
        report = heal(world, tool)[1]
        assert outcome(report) in {InstallOutcome.INVALID_WHEEL, InstallOutcome.INSTALLER_FAILED}

    @pytest.mark.parametrize("recorded", [True, False])
    @pytest.mark.parametrize("absolute", [True, False])
    def test_files_that_escape_the_target(
        self, world: World, tool: str, *, recorded: bool, absolute: bool
    ) -> None:
        """Nothing is written outside staging, and the rest of the wheel is not used either."""
        outside = world.root / "outside" / "escaped.py"
        name = str(outside) if absolute else "../../escaped.py"
        entries = {name: "escaped = True\n"}
        world.publish(
            "prey",
            files={"prey/__init__.py": "", **(entries if recorded else {})},
            extra_entries={} if recorded else entries,
        )
        assert outcome(heal(world, tool)[1]) == InstallOutcome.INVALID_WHEEL
        assert list(world.root.rglob("escaped*")) == []

    def test_a_wheel_for_another_platform(self, world: World, tool: str) -> None:
        """No wheel for this Python is not taken for no such version."""
        world.publish("prey", tag="cp27-cp27mu-win32")
        assert outcome(heal(world, tool)[1]) == InstallOutcome.NO_WHEEL

    def test_a_file_that_is_no_archive(self, world: World, tool: str) -> None:
        """Garbage with the right hash is refused as what it is."""
        world.publish("prey").write_bytes(b"PK\x03\x04" + b"garbage" * 100)
        world.write_lock()
        assert outcome(heal(world, tool)[1]) == InstallOutcome.INVALID_WHEEL

    def test_an_archive_that_unpacks_without_end(self, world: World, tool: str) -> None:
        """A small file that unpacks to a large one is stopped at the limit."""
        bomb: dict[str, str | bytes] = {"prey/__init__.py": "", "prey/bomb": b"\0" * 20 * MEGABYTE}
        world.publish("prey", files=bomb)
        report = heal(world, tool, max_file_bytes=5 * MEGABYTE)[1]
        assert outcome(report) == InstallOutcome.TOO_LARGE


class TestSources:
    """Where the files come from, and who fetches them."""

    @pytest.mark.parametrize("tool", TOOLS)
    def test_a_wheelhouse(self, world: World, tool: str) -> None:
        """With a directory of wheels, no index is asked for anything."""
        world.publish("prey", requires=["helper"])
        world.publish("helper", needed_by=["prey"])
        assert heal(world, tool, wheelhouse=world.index.directory)[1].success
        assert world.index.requests == []

    @pytest.mark.parametrize("tool", TOOLS)
    def test_a_wheelhouse_without_the_wheel(self, world: World, tool: str) -> None:
        """A wheel that is not in the directory is not found, and no index is asked."""
        world.publish("prey")
        empty = world.root / "empty"
        empty.mkdir()
        assert outcome(heal(world, tool, wheelhouse=empty)[1]) == InstallOutcome.NOT_FOUND
        assert world.index.requests == []

    def test_a_wheelhouse_and_a_warm_cache(self, world: World) -> None:
        """What was refused once is refused again, although uv has unpacked it by then."""
        entries = {"prey/__init__.py": "", "../../escaped.py": ""}
        world.publish("prey", files=entries)
        for _ in range(2):
            report = heal(world, "uv", wheelhouse=world.index.directory)[1]
            assert outcome(report) == InstallOutcome.INVALID_WHEEL

    def test_exactly_the_missing_part(self, world: World) -> None:
        """What is here in the locked version already is not downloaded again."""
        world.publish("prey", requires=["helper"])
        world.publish("helper", needed_by=["prey"])
        world.publish("other", requires=["helper"])
        world._parents["helper"] = ("prey", "other")
        world.write_lock()
        fixer = world.fixer()
        assert fixer.safe_import("prey")[0]
        assert fixer.safe_import("other")[0]
        assert len(world.index.downloads("helper")) == 1
        layers = {layer.subject: layer.installed for layer in fixer.layers.committed()}
        assert layers == {"prey": ("helper==1.0", "prey==1.0"), "other": ("other==1.0",)}

    def test_pip_where_uv_is_not(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interpreter without uv uses its pip."""
        world.publish("prey")
        bare = bare_interpreter(world.root, pip=True)
        monkeypatch.setenv("PATH", str(world.root / "absent"))
        said = run(world, "say(fixer.import_module('prey').success)", python=bare)
        assert said == "True"

    def test_neither_uv_nor_pip(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interpreter with neither says so, and goes on."""
        world.publish("prey")
        bare = bare_interpreter(world.root, pip=False)
        monkeypatch.setenv("PATH", str(world.root / "absent"))
        code = "say(fixer.import_module('prey').result.outcome, fixer.safe_import('wave')[0])"
        assert run(world, code, python=bare) == "installer_missing True"
        assert staged(world.settings.home) == []

    @pytest.mark.parametrize("tool", TOOLS)
    def test_no_temporary_files_stay(
        self, world: World, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An installer that is killed in the middle leaves nothing in the system's directory."""
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
        world.publish("prey")
        world.index.faults["prey"] = Fault.HANG
        heal(world, tool, install_deadline=1.0)
        assert list(temporary.iterdir()) == []

    def test_a_layer_holds_the_distributions_alone(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither the installer's cache nor its output is committed with a fix."""
        monkeypatch.delenv("UV_CACHE_DIR")
        monkeypatch.setenv("HOME", str(world.root / "absent"))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        world.publish("prey")
        assert heal(world, "uv")[1].success
        (layer,) = world.settings.home.glob("layers/*/prey.*")
        assert {path.name for path in layer.iterdir()} == {"layer.json", "site"}


class TestSecrets:
    """What the address of an index carries is never shown to anybody."""

    @pytest.mark.parametrize("tool", TOOLS)
    @pytest.mark.parametrize(
        "address",
        [
            f"http://user:{SECRET}@127.0.0.1:{{port}}/simple/",
            f"http://{SECRET}@127.0.0.1:{{port}}/simple/",
            f"http://user:{SECRET}@127.0.0.1:9/{SECRET}/simple/",
            f"http://user:p@{SECRET}@127.0.0.1:9/simple/",
            f"http://user:a/{SECRET}@127.0.0.1:9/simple/",
            f"http://user:{SECRET}@index.invalid/simple/?token={SECRET}",
            f"http://user:{SECRET}/b@127.0.0.1:9/simple/",
            f"http://user:{SECRET}#b@127.0.0.1:9/simple/",
            f"http://user:{SECRET}?b@127.0.0.1:9/simple/",
            f"http://user:12#{SECRET}@127.0.0.1:9/simple/",
            f"http://{SECRET}:12#b@127.0.0.1:9/simple/",
            f"http://user:{SECRET}%2F%zz@127.0.0.1:9/simple/",
            f"user:{SECRET}@127.0.0.1:9/simple/",
            f"user:{SECRET}/b#c@127.0.0.1:9/simple/",
        ],
    )
    def test_credentials(
        self,
        world: World,
        tool: str,
        address: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """They stand in no log record, no report, and no file below the home."""
        caplog.set_level("DEBUG")
        world.publish("prey")
        world.index.faults["prey"] = Fault.SERVER_ERROR
        use_url(monkeypatch, address.format(port=world.index.port))
        fixer, report = heal(world, tool)
        assert not report.success
        texts = [repr(vars(record)) for record in caplog.records]
        texts += map(repr, (report, fixer.status(), fixer.history(), fixer.health_report()))
        texts += [read(path) for path in world.settings.home.rglob("*") if path.is_file()]
        assert [text for text in texts if SECRET in text] == []
        assert any("fault could not be healed" in text for text in texts)

    @pytest.mark.parametrize("tool", TOOLS)
    def test_credentials_of_a_fix(
        self, world: World, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are not committed with a fix that worked either."""
        world.publish("prey")
        use_url(monkeypatch, f"http://user:{SECRET}@127.0.0.1:{world.index.port}/simple/")
        assert heal(world, tool)[1].success
        files = [path for path in world.settings.home.rglob("*") if path.is_file()]
        assert [path for path in files if SECRET in read(path)] == []

    def test_the_rest_stays_readable(self) -> None:
        """A host may be shown, and so may everything around an address."""
        said = "Failed to fetch: `https://u:p@host.example.com:8443/a/b?c=d`, os error 111"
        assert redact(said) == "Failed to fetch: `https://host.example.com:8443/...`, os error 111"

    @pytest.mark.parametrize(
        ("said", "safe"),
        [
            ("at u:p@host:80/a?token=x now", "at host:80/... now"),
            ("at http://user:pass/simple now", "at http://user/... now"),
            ("at http://[::1]:80/a now", "at http://[::1]:80/... now"),
        ],
    )
    def test_addresses_that_are_none(self, said: str, safe: str) -> None:
        """No path is shown of an address without a scheme, and no port that is no number."""
        assert redact(said) == safe

    @pytest.mark.parametrize("variable", ["UV_INDEX", "PIP_EXTRA_INDEX_URL", "https_proxy"])
    def test_addresses_of_the_environment(self, variable: str) -> None:
        """Pieces of every address that the installer was given are taken out."""
        environ = {variable: f"https://host/simple https://user:{SECRET}/b@host/simple"}
        assert redact(f"Port could not be cast to integer value as '{SECRET}'", environ) == (
            "Port could not be cast to integer value as '...'"
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte and take it away at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "-l", str(place)], check=True)


class TestDisk:
    """The disk that holds the home can be full or not writable at any moment."""

    @pytest.mark.parametrize("tool", TOOLS)
    def test_too_little_room(self, world: World, tool: str, small_disk: Path) -> None:
        """A fix that does not fit on the disk is recorded as that, and nothing of it stays."""
        payload = os.urandom(3 * MEGABYTE)
        world.publish("prey", files={"prey/__init__.py": "", "prey/payload": payload})
        fixer = world.fixer(home=small_disk / "home", tools=(tool,))
        report = fixer.import_module("prey")
        assert outcome(report) == Outcome.DISK_FULL
        assert [row.outcome for row in fixer.history()] == [Outcome.DISK_FULL]
        assert staged(small_disk / "home") == []
        assert committed(small_disk / "home") == []

    def test_no_room_at_all(
        self, world: World, small_disk: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A full disk costs history and not the service; the budget holds; room heals it."""
        world.publish("prey")
        fixer = world.fixer(home=small_disk / "home")
        assert fixer.mode is Mode.HEAL
        ballast = small_disk / "ballast"
        fill(ballast)
        outcomes = [outcome(fixer.import_module("prey")) for _ in range(4)]
        assert outcomes == [*[Outcome.DISK_FULL] * 3, Outcome.BUDGET]
        assert fixer.safe_import("wave")[0]
        assert "the journal cannot be used" in caplog.text
        assert fixer.history() == ()
        ballast.unlink()
        fixer.reset("prey")
        assert fixer.safe_import("prey")[0]
        recorded = [row.outcome for row in reversed(fixer.history())]
        assert recorded == [*[Outcome.DISK_FULL] * 3, "reset", Outcome.HEALED]

    def test_a_disk_that_turns_read_only(self, world: World, small_disk: Path) -> None:
        """A home that can no longer be written ends as permission."""
        world.publish("prey")
        fixer = world.fixer(home=small_disk / "home")
        assert fixer.mode is Mode.HEAL
        mount("-o", "remount,ro", str(small_disk))
        assert outcome(fixer.import_module("prey")) == Outcome.PERMISSION
        assert fixer.safe_import("wave")[0]

    def test_a_read_only_home(
        self, world: World, small_disk: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A home that cannot be written from the start turns heal into report, said once."""
        world.publish("prey")
        mount("-o", "remount,ro", str(small_disk))
        fixer = world.fixer(home=small_disk / "home")
        outcomes = [outcome(fixer.import_module("prey")) for _ in range(2)]
        assert outcomes == [Outcome.MODE, Outcome.MODE]
        assert fixer.mode is Mode.REPORT
        assert caplog.text.count("the auto-fix home cannot be written") == 1

    def test_a_cache_that_cannot_be_written(
        self, world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another one is used: it is not the home."""
        world.publish("prey")
        mount("-o", "remount,ro", str(small_disk))
        monkeypatch.setenv("UV_CACHE_DIR", str(small_disk / "cache"))
        assert heal(world, "uv")[1].success

    @pytest.mark.parametrize("fault", ["read-only inside", "full"])
    def test_a_cache_that_looks_well(
        self, world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        """A cache of another user's making, or on a full disk, is no fault of the home either."""
        world.publish("prey", files={"prey/__init__.py": os.urandom(9000).hex().join(["#", ""])})
        cache = small_disk / "cache"
        if fault == "full":
            cache.mkdir()
            fill(small_disk / "ballast")
        else:
            cache.mkdir()
            monkeypatch.setenv("UV_CACHE_DIR", str(cache))
            assert heal(world, "uv")[1].success
            shutil.rmtree(world.settings.home)
            mount("--bind", str(cache), str(cache))
            mount("-o", "remount,ro,bind", str(cache))
        monkeypatch.setenv("UV_CACHE_DIR", str(cache))
        try:
            assert run(world, "say(fixer.import_module('prey').success)", tools=("uv",)) == "True"
        finally:
            subprocess.run(["/bin/umount", "-l", str(cache)], check=False)


class TestSettings:
    """What an operator's environment and files say against an isolated install."""

    @pytest.mark.parametrize("tool", TOOLS)
    def test_what_fights_the_command_line(
        self, world: World, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of it at once changes nothing."""
        world.publish("prey")
        elsewhere = world.root / "elsewhere"
        for name, value in {
            **dict.fromkeys(("PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_DRY_RUN"), "1"),
            **dict.fromkeys(("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_LOG"), str(elsewhere)),
            **dict.fromkeys(("PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE"), str(elsewhere)),
            **dict.fromkeys(("UV_PROJECT", "UV_WORKING_DIR"), str(elsewhere)),
            **dict.fromkeys(("UV_COMPILE_BYTECODE", "UV_SYSTEM_PYTHON", "UV_REQUIRE_HASHES"), "1"),
            "PIP_NO_BINARY": ":all:",
            "PIP_PLATFORM": "win32",
            "PIP_PYTHON_VERSION": "2.7",
            "UV_NO_BINARY": "1",
            "UV_EXCLUDE_NEWER": "2001-01-01",
            "UV_LINK_MODE": "symlink",
            "VIRTUAL_ENV": str(elsewhere),
            "PYTHONPATH": str(elsewhere),
            "UV_PYTHON": "2.7",
        }.items():
            monkeypatch.setenv(name, value)
        assert heal(world, tool)[1].success
        assert not elsewhere.exists()

    def test_files_of_pip(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its index is used, and no more of what it says."""
        world.publish("prey")
        conf = world.root / "pip.conf"
        lines = ["[install]", "user = true", "no-binary = :all:", "[global]", "dry-run = true"]
        lines += [f"index-url = {world.index.url}", "require-virtualenv = true", "target = /x"]
        conf.write_text("\n".join(lines))
        monkeypatch.delenv("PIP_INDEX_URL")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
        assert heal(world, "pip")[1].success

    def test_hashes_are_verified_whatever_is_set(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No variable lets another file in."""
        world.publish("prey")
        world.index.faults["prey"] = Fault.WRONG_HASH
        monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")
        assert outcome(heal(world, "uv")[1]) == InstallOutcome.HASH_MISMATCH

    @pytest.mark.parametrize("tool", TOOLS)
    def test_the_index_of_the_other_tool(
        self, world: World, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One variable, whichever, is enough."""
        world.publish("prey")
        monkeypatch.delenv({"uv": "UV_DEFAULT_INDEX", "pip": "PIP_INDEX_URL"}[tool])
        assert heal(world, tool)[1].success
        assert world.index.downloads("prey") != []

    def test_a_project_around_the_home(self, world: World) -> None:
        """What it tells uv counts for who works in it, not for heals."""
        world.publish("prey")
        text = '[tool.uv]\nindex = [{url = "http://127.0.0.1:9/", default = true}]\n'
        (world.root / "pyproject.toml").write_text(text)
        code = "os.environ.pop('UV_NO_CONFIG'); say(fixer.import_module('prey').success)"
        assert run(world, code, tools=("uv",)) == "True"


class TestNamesAndNotes:
    """What an installer says in passing is no reason."""

    @pytest.mark.parametrize("tool", TOOLS)
    @pytest.mark.parametrize("name", ["connection", "http_error", "timeout"])
    def test_a_package_that_is_called_like_a_fault(
        self, world: World, tool: str, name: str
    ) -> None:
        """Its name is no word of the tool."""
        world.publish("prey", requires=[name])
        wheel = world.publish(name, needed_by=["prey"])
        wheel.unlink()
        assert outcome(heal(world, tool)[1]) == InstallOutcome.NOT_FOUND

    @pytest.mark.parametrize("tool", TOOLS)
    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (Fault.SERVER_ERROR, InstallOutcome.NETWORK),
            (Fault.NOT_FOUND, InstallOutcome.NOT_FOUND),
            (Fault.WRONG_HASH, InstallOutcome.HASH_MISMATCH),
        ],
    )
    def test_other_files_of_the_version(
        self, world: World, tool: str, fault: Fault, expected: InstallOutcome
    ) -> None:
        """An sdist and another platform's wheel, which are passed over always, explain nothing."""
        build_sdist(world.index.directory, "prey", "1.0")
        build_wheel(world.index.directory, "prey", "1.0", files={}, tag="cp27-cp27mu-win32")
        world.publish("prey")
        world.index.faults["prey"] = fault
        assert outcome(heal(world, tool)[1]) == expected


def test_what_is_not_in_the_lock(world: World) -> None:
    """It is refused, and installed with what it needs only when a setting says so."""
    build_wheel(world.index.directory, "helper", "1.0", files={"helper.py": ""})
    files = {"prey.py": "import helper\n"}
    build_wheel(world.index.directory, "prey", "2.0", files=files, requires=["helper"])
    world.dependency_map["prey"] = "prey>=1"
    assert outcome(world.fixer().import_module("prey")) == InstallOutcome.NOT_LOCKED
    assert world.index.requests == []
    fixer = world.fixer(allow_unlocked=True)
    assert fixer.safe_import("prey")[0]
    assert fixer.layers.committed()[0].installed == ("helper==1.0", "prey==2.0")


def use_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Point both installers at ``url``."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", url)
    monkeypatch.setenv("PIP_INDEX_URL", url)


def bare_interpreter(root: Path, *, pip: bool) -> str:
    """Return an interpreter with nothing beside it but, when asked for, pip."""
    place = root / "bare"
    venv.create(place, symlinks=True)
    if pip:
        ours = find_on_disk("pip")
        assert ours is not None
        (packages,) = place.glob("lib/*/site-packages")
        (packages / "pip").symlink_to(Path(str(ours.origin)).parent)
    return str(place / "bin" / "python")


def mount(*arguments: str) -> None:
    """Mount or remount a file system."""
    subprocess.run(["/bin/mount", *arguments], check=True)


def fill(ballast: Path) -> None:
    """Write until the disk has no room left."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 512):
                pass
        except OSError:
            return


def read(path: Path) -> str:
    """Return a file's bytes as text, one character a byte."""
    return path.read_bytes().decode("latin-1")

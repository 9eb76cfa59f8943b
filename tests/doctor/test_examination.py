"""What the doctor finds beside imports, what it mends, and what it leaves alone."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import re
from typing import TYPE_CHECKING

import pytest

from app.doctor.examination import Examination
from app.doctor.findings import Code, Finding, Severity, fails
from app.doctor.project import Project
from app.kinds.dependency.layers import DEADLY, interpreter_key
from app.kinds.dependency.lock import Lock
from app.locking.edit import write_all
from app.manifest import FILE
from app.settings.declarations import DEFAULT_LOCK
from tests.cli.support import Checkout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOCK = "requirements-flask.lock"
TEXT = "requirements-flask.txt"


def findings(
    checkout: Checkout, *, online: bool = False, blueprints: bool = False, **environ: str
) -> Sequence[Finding]:
    """What is found in a copy, in this process."""
    return Examination(
        project=Project.at(checkout.root),
        environ={"PATH": os.environ["PATH"], **checkout.environ, **environ},
        online=online,
        blueprints=blueprints,
    ).run()


def only(found: Sequence[Finding]) -> Finding:
    """The one finding."""
    assert len(found) == 1, found
    return found[0]


def codes(found: Sequence[Finding]) -> set[str]:
    """The codes that were found."""
    return {str(one.code) for one in found}


def test_finds_nothing_in_this_project(checkout: Checkout) -> None:
    """As it is, strictly, with every blueprint imported."""
    ended = checkout.flask("doctor", "--strict", "--offline", "--json")
    assert (ended.code, ended.json["findings"]) == (0, [])


class TestBlueprints:
    """Each is imported in a process of its own."""

    def test_one_that_raises_is_reported_with_its_line(self, checkout: Checkout) -> None:
        """The others are imported all the same."""
        checkout.write("app/routes/metrics.py", "import json\njson.nothing\n")
        found = only(findings(checkout, blueprints=True))
        assert (found.code, found.place) == (Code.BLUEPRINT_FAILS, "app/routes/metrics.py:2")
        assert "AttributeError" in found.message

    @pytest.mark.parametrize(
        "body", ["import os\nos._exit(0)\n", "import os\nos.kill(os.getpid(), 11)\n"]
    )
    def test_one_that_ends_python_is_reported(self, checkout: Checkout, body: str) -> None:
        """Whatever status it ends with."""
        checkout.write("app/routes/metrics.py", body)
        found = only(findings(checkout, blueprints=True))
        assert (found.code, found.subject) == (Code.BLUEPRINT_FAILS, "app.routes.metrics")

    @pytest.mark.parametrize("text", ["", "number_bp = 1\n", "def number_bp(): ...\n"])
    def test_an_import_path_to_no_blueprint_has_its_line(
        self, checkout: Checkout, text: str
    ) -> None:
        """To an attribute that is not there, or that is something else."""
        checkout.write("app/routes/numbers.py", text)
        manifest = checkout.read(FILE)
        table = '[blueprint.numbers]\nimport = "app.routes.numbers:number_bp"\n'
        checkout.write(FILE, f"{manifest}\n{table}")
        found = only(findings(checkout, blueprints=True))
        assert (found.code, found.subject) == (Code.MANIFEST_INVALID, "numbers")
        assert (found.file, found.line) == (FILE, manifest.count("\n") + 2)

    def test_what_the_imports_showed_already_is_reported_once(self, checkout: Checkout) -> None:
        """The line is the finding, not each process that meets it."""
        checkout.write("app/routes/metrics.py", "import quuxframework\n")
        found = only(findings(checkout, blueprints=True))
        assert (found.code, found.line) == (Code.MISSING_REQUIREMENT, 1)


def test_a_home_without_locks(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that leases take their place, and nothing is left there."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    home = tmp_path / "a home"
    assert not findings(checkout, AUTO_FIX_HOME=str(home))
    home.mkdir(0o700)
    found = only(findings(checkout, AUTO_FIX_HOME=str(home)))
    assert (found.code, found.severity) == (Code.HOME_WITHOUT_LOCKS, Severity.NOTE)
    assert list(home.iterdir()) == []


class TestLock:
    """Without asking an index."""

    def test_a_requirement_that_is_not_locked(self, checkout: Checkout) -> None:
        """The requirement's line is to blame."""
        text = checkout.read(TEXT)
        checkout.write(TEXT, f"{text}six>=1.0\nflask>=99\n")
        lines = {one.line for one in findings(checkout) if one.code is Code.LOCK_STALE}
        number = len(text.splitlines())
        assert lines == {number + 1, number + 2}

    def test_no_lock_and_an_emptied_one(self, checkout: Checkout) -> None:
        """Both can be mended by making it anew."""
        (checkout.root / LOCK).unlink()
        found = only([one for one in findings(checkout) if one.file == LOCK])
        assert (found.code, found.fixable) == (Code.LOCK_MISSING, True)
        checkout.write(LOCK, "")
        assert "lock_stale" in codes(findings(checkout))

    def test_an_entry_that_a_hand_took_out(self, checkout: Checkout) -> None:
        """What a locked distribution needs is missing from its closure."""
        entry = re.compile(r"(?m)^multidict==.*\n(?:[ ]+.*\n)+")
        checkout.write(LOCK, entry.sub("", checkout.read(LOCK)))
        found = findings(checkout)
        assert {one.subject for one in found if one.code is Code.LOCK_INCOMPLETE} == {"multidict"}

    def test_a_marker_that_leaves_a_python_out(self, checkout: Checkout) -> None:
        """Every supported Python and platform has a pin."""
        version = importlib.metadata.version("flask")
        text = checkout.read(LOCK).replace(
            f"flask=={version} ", f"flask=={version} ; python_version < '3.14' "
        )
        checkout.write(LOCK, text)
        found = only(findings(checkout))
        assert (found.code, found.subject) == (Code.LOCK_SPLIT, "flask")
        assert "Python 3.14" in found.message

    def test_another_version_is_installed(self, checkout: Checkout) -> None:
        """What runs here is not what the lock says."""
        version = importlib.metadata.version("requests")
        checkout.write(
            LOCK, checkout.read(LOCK).replace(f"requests=={version}", "requests==2.31.0")
        )
        found = only([one for one in findings(checkout) if one.subject == "requests"])
        assert found.code is Code.VERSION_DIFFERS

    def test_what_is_locked_and_not_installed(self, checkout: Checkout) -> None:
        """An environment that lacks a part of the closure; the image's build fails for it."""
        checkout.write(TEXT, checkout.read(TEXT) + "redis>=5.0\n")
        found = only(findings(checkout))
        assert (found.code, found.subject) == (Code.NOT_INSTALLED, "redis")
        assert fails([found], strict=True)
        assert not fails([found], strict=False)

    def test_the_map_and_the_requirements_disagree(self, checkout: Checkout) -> None:
        """A program that nothing imports is missed all the same; another range is reported."""
        checkout.drop("eventlet")
        checkout.write(TEXT, checkout.read(TEXT).replace("requests>=2.31", "requests>=2.32"))
        found = {one.subject: one for one in findings(checkout) if one.code is Code.MAP_DISAGREES}
        assert {*found} == {"eventlet", "requests"}
        assert found["eventlet"].requirement == "eventlet>=0.33"

    def test_extras_in_both_books(self, checkout: Checkout) -> None:
        """Written in another order or not, they say the same; without them it is another thing."""
        checkout.approve("httpx[zstd,http2]>=0.28")
        text = checkout.read("orchestrator.toml").replace("httpx[zstd,http2] =", "httpx =")
        checkout.write("orchestrator.toml", text)
        hashed = f" \\\n    --hash=sha256:{'0' * 64}\n    # via "
        pins = ("httpx==0.28.1", "h2==4.1.0", "zstandard==0.23.0")
        parents = ("-r requirements-flask.txt", "httpx", "httpx")
        entries = "".join(f"{p}{hashed}{by}\n" for p, by in zip(pins, parents, strict=True))
        checkout.write(LOCK, checkout.read(LOCK) + entries)
        requirements = checkout.read(TEXT)
        checkout.write(TEXT, f"{requirements}HTTPX[http2, zstd]>=0.28\n")
        assert codes(findings(checkout)) == {"not_installed"}
        checkout.write(TEXT, f"{requirements}httpx[http2]>=0.28\n")
        (found,) = [one for one in findings(checkout) if one.code is Code.MAP_DISAGREES]
        assert "httpx[zstd,http2]>=0.28" in found.message
        assert "httpx[http2]>=0.28" in found.message


class TestRequirementsFile:
    """One that cannot be read as it should be is one finding, whatever it lists."""

    @pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_of_two_bytes_a_character(self, checkout: Checkout, codec: str) -> None:
        """As PowerShell writes it; nothing is said of what it lists."""
        checkout.write(TEXT, checkout.read(TEXT).encode(codec))
        found = only(findings(checkout))
        assert (found.code, found.place) == (Code.REQUIREMENTS_INVALID, f"{TEXT}:1")
        assert "UTF-16" in found.message

    def test_of_another_encoding(self, checkout: Checkout) -> None:
        """By the line with the first character that is none."""
        checkout.write(TEXT, checkout.read(TEXT).encode() + "# Größe\n".encode("latin-1"))
        found = only(findings(checkout))
        assert found.place == f"{TEXT}:{len((checkout.root / TEXT).read_bytes().splitlines())}"


class TestShadows:
    """Names at the root, where Python looks first."""

    @pytest.mark.parametrize("name", ["token.py", "email/__init__.py", "redis.py", "flask.py"])
    def test_what_hides_another_module(self, checkout: Checkout, name: str) -> None:
        """Of the standard library or of an approved package, it is an error."""
        (checkout.root / name).parent.mkdir(exist_ok=True)
        checkout.write(name, "")
        found = [one for one in findings(checkout) if one.code is Code.SHADOWS]
        assert (only(found).file, only(found).severity) == (name, "error")

    @pytest.mark.parametrize("name", ["tests/x.py", "test/__init__.py", "queue/x.py", "shop.py"])
    def test_what_hides_nothing(self, checkout: Checkout, name: str) -> None:
        """A directory without ``__init__.py`` does not, nor does a name that nobody imports."""
        (checkout.root / name).parent.mkdir(exist_ok=True)
        checkout.write(name, "")
        assert findings(checkout) == ()


class TestCompiling:
    """What parses may be no program."""

    @pytest.mark.parametrize(
        "line", ["return 1", "break", "await x", "x = (yield)", "def f(a, a): ...", "nonlocal x"]
    )
    def test_what_only_the_compiler_refuses(self, checkout: Checkout, line: str) -> None:
        """Also in a module that nothing imports at once."""
        path = checkout.root / "app/late.py"
        path.write_text(f"import json\n{line}\n")
        found = only(findings(checkout))
        assert (found.code, found.place) == (Code.SYNTAX_ERROR, "app/late.py:2")


class TestSurroundings:
    """Settings, files and places."""

    def test_every_wrong_setting_is_reported(self, checkout: Checkout) -> None:
        """All at once, each by its name."""
        found = findings(checkout, PORT="abc", AUTO_FIX_MODE="maybe")
        assert {one.subject for one in found} == {"PORT", "AUTO_FIX_MODE"}
        assert codes(found) == {"setting_invalid"}

    def test_the_edge_functions_file_is_reported_by_line(
        self, checkout: Checkout, tmp_path: Path
    ) -> None:
        """As the service would, but before it."""
        path = tmp_path / "edge.toml"
        path.write_text('[[function]]\nname = "x"\nurl = "ftp://example.com"\n')
        found = only(findings(checkout, EDGE_FUNCTIONS_FILE=str(path)))
        assert (found.code, found.line) == (Code.EDGE_FILE_INVALID, 3)

    def test_a_call_that_a_stop_would_cut_off(self, checkout: Checkout, tmp_path: Path) -> None:
        """A function that may take longer than a stop waits is named; no other is."""
        path = tmp_path / "edge.toml"
        path.write_text(
            '[[function]]\nname = "long"\nurl = "https://example.com"\ntimeout = 30\n'
            '[[function]]\nname = "short"\nurl = "https://example.com"\ntimeout = 8\n'
        )
        found = only(findings(checkout, EDGE_FUNCTIONS_FILE=str(path)))
        assert (found.code, found.subject) == (Code.EDGE_TIMEOUT_LONG, "long")
        assert found.message.startswith("long may take 30 s")
        more = {"EDGE_FUNCTIONS_FILE": str(path), "GRACEFUL_TIMEOUT": "30"}
        assert findings(checkout, online=False, blueprints=False, **more) == ()

    def test_a_home_that_cannot_be_made(self, checkout: Checkout) -> None:
        """A file stands where a directory should be."""
        home = checkout.root / TEXT / "home"
        found = only(findings(checkout, AUTO_FIX_HOME=str(home)))
        assert found.code is Code.HOME_UNWRITABLE

    def test_an_index_that_does_not_answer(self, checkout: Checkout) -> None:
        """Asked only where that is wanted; its address shows no more than the host."""
        address = "http://user:secret@127.0.0.1:9/token/simple/"
        found = only(findings(checkout, online=True, UV_DEFAULT_INDEX=address))
        assert found.code is Code.INDEX_UNREACHABLE
        assert "secret" not in found.message
        assert "token" not in found.message


class TestMending:
    """``--fix``."""

    def test_what_cannot_be_locked_is_not_written(self, checkout: Checkout) -> None:
        """Without an index the lock cannot be made, so nothing at all is written."""
        checkout.drop("aiohttp")
        before = checkout.snapshot()
        ended = checkout.run("doctor", "--fix", "--offline", "--json", UV_NO_CACHE="1")
        assert (ended.code, ended.json["error"]["code"]) == (69, "unavailable")
        assert checkout.snapshot() == before

    def test_nothing_to_mend_changes_nothing(self, checkout: Checkout) -> None:
        """Not even the time of a file."""
        path = checkout.root / TEXT
        before = path.stat().st_mtime_ns
        write_all([])
        assert checkout.run("doctor", "--fix", "--offline").code == 0
        assert path.stat().st_mtime_ns == before

    def test_a_fix_that_ended_a_process(self, checkout: Checkout, tmp_path: Path) -> None:
        """It is named for as long as the lock is the one that it was made from."""
        home = tmp_path / "home"
        key = interpreter_key(Lock.read(checkout.root / DEFAULT_LOCK.name).digest)
        directory = home / "quarantine" / f"prey.{'0' * 32}"
        directory.mkdir(parents=True)
        (directory / DEADLY).write_text(key)
        found = only(findings(checkout, AUTO_FIX_HOME=str(home)))
        assert (found.code, found.subject) == (Code.LAYER_SET_ASIDE, "prey")
        (directory / DEADLY).write_text("another")
        assert findings(checkout, online=False, blueprints=False, AUTO_FIX_HOME=str(home)) == ()

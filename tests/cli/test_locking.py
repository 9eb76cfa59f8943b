"""Locks made and checked by uv against an index on loopback, wheelhouses, and the audit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.doctor.project import Project
from app.doctor.surroundings import check_index
from app.kinds.dependency.lock import Lock
from tests.cli.support import Checkout
from tests.kinds.dependency.installer.test_install import bare_interpreter
from tests.support.index import Fault
from tests.support.processes import base_environ, wait_until
from tests.support.wheels import build_sdist, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import World

LOCK = "requirements-flask.lock"
TEXT = "requirements-flask.txt"
#: Makes the current directory read-only for a command alone, as an unprivileged user may.
READ_ONLY = (
    'mount --bind "$PWD" "$PWD" && mount -o remount,ro,bind "$PWD" && cd "$PWD"'
    ' && exec "$0" -B -m app.cli drift $1'
)
#: What a hand does to a lock, and the line that is to blame.
HAND_EDITS = [
    ("alpha==1.0", "alpha>=1.0", 3),
    ("--hash=sha256:", "--hash=md5:", 3),
    ("alpha==1.0", "beta==1.0", 6),
]


@pytest.fixture
def locked(small: Checkout) -> Checkout:
    """The small checkout with a lock that uv made."""
    (small.root / LOCK).unlink()
    assert small.run("lock").code == 0
    return small


class TestLock:
    """``lock`` and ``lock --check``."""

    def test_locks_everything_with_hashes(self, locked: Checkout, world: World) -> None:
        """The requirements and the approved, their closure, no index named; then nothing is new."""
        lock = Lock.read(locked.root / LOCK)
        assert {entry.pin for entry in lock.entries.values()} == {
            "alpha==1.0",
            "beta==2.0",
            "redis==5.9",
        }
        assert "127.0.0.1" not in locked.read(LOCK)
        assert locked.run("lock", "--json").json == {"written": [], "changes": {}}
        assert locked.run("lock", "--check", "--json").json == {"ok": True, "differences": []}
        world.publish("alpha", "1.1")
        assert locked.run("lock", "--check").code == 0
        changes = locked.run("lock", "--upgrade", "--json").json["changes"]
        assert changes == {LOCK: ["-alpha==1.0", "+alpha==1.1"]}

    def test_without_a_cache_of_uv(self, locked: Checkout) -> None:
        """A cache that cannot be written, as on a read-only root, keeps nobody from comparing."""
        ended = locked.run("lock", "--check", UV_CACHE_DIR=str(locked.root / LOCK / "cache"))
        assert ended.code == 0, ended.err

    def test_check_sees_what_a_hand_has_changed(self, locked: Checkout) -> None:
        """A requirement that is not locked, a pin that nobody asks for, and a made-up hash."""
        text = locked.read(LOCK)
        digest = Lock.read(locked.root / LOCK).entries["beta"].hashes[0]
        locked.write(LOCK, text.replace(digest, f"sha256:{'0' * 64}"))
        ended = locked.run("lock", "--check", "--json")
        assert ended.code == 1
        (difference,) = ended.json["differences"]
        assert (difference["subject"], difference["file"]) == ("beta==2.0", LOCK)
        locked.write(LOCK, text)
        locked.write(TEXT, "beta>=2.0\n")
        listed = locked.run("lock", "--check").out
        assert "alpha==1.0 is in the lock, but nothing asks for it" in listed
        assert locked.read(LOCK) == text

    def test_an_unreadable_lock_is_reported_by_line(self, small: Checkout) -> None:
        """By the doctor and by the check, and left as it is."""
        right = small.read(LOCK)
        for old, new, line in HAND_EDITS:
            text = small.write(LOCK, right.replace(old, new, 1)).read_text()
            ended = small.run("lock", "--check")
            assert ended.code == 65
            assert f"{LOCK}:{line}:" in ended.err
            assert small.read(LOCK) == text
        found = small.run("doctor", "--offline", "--json").json["findings"]
        (finding,) = [one for one in found if one["code"] == "lock_invalid"]
        assert (finding["file"], finding["line"]) == (LOCK, line)

    def test_contradicting_requirements_change_nothing(self, locked: Checkout) -> None:
        """uv's sentence, status 65."""
        locked.write(TEXT, "alpha==1.0\nalpha==2.0\n")
        before = locked.snapshot()
        ended = locked.run("lock", "--json")
        assert (ended.code, ended.json["error"]["code"]) == (65, "bad_file")
        assert locked.snapshot() == before

    def test_without_an_index_nothing_changes(self, locked: Checkout) -> None:
        """Status 69; drift --write neither, as it needs the lock."""
        assert locked.run("fix", "redis").code == 0
        before = locked.snapshot()
        dead = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/", "UV_NO_CACHE": "1"}
        for command in (["lock", "--upgrade"], ["drift", "--write"]):
            ended = locked.run(*command, "--json", **dead)
            assert (ended.code, ended.json["error"]["code"]) == (69, "unavailable")
        assert locked.snapshot() == before

    def test_drift_becomes_permanent(self, locked: Checkout) -> None:
        """The requirements get the line, comments stay, the lock follows; it stays approved."""
        assert locked.run("fix", "redis").code == 0
        assert locked.run("drift", "--write").code == 0
        lines = locked.read(TEXT).splitlines()
        assert lines[:2] == ["# what is served", "alpha>=1.0  # the first"]
        assert lines[2].startswith("redis>=5.0  # was healed at run time; added on ")
        assert 'redis = "redis>=5.0"' in locked.read("orchestrator.toml")
        assert "#   -r requirements-flask.txt" in locked.read(LOCK)
        assert locked.run("drift").code == 0
        assert locked.run("lock", "--check").code == 0

    def test_without_the_lock(self, small: Checkout) -> None:
        """--no-lock writes the requirement alone, where no index answers."""
        assert small.run("fix", "redis").code == 0
        before = small.read(LOCK)
        dead = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple/", "UV_NO_CACHE": "1"}
        assert small.run("drift", "--write", "--no-lock", **dead).code == 0
        assert "redis>=5.0" in small.read(TEXT)
        assert small.read(LOCK) == before

    def test_a_read_only_checkout_is_reported(self, small: Checkout) -> None:
        """Status 73, every file as it was. A full disk ends the same way."""
        assert small.run("fix", "redis").code == 0
        before = small.snapshot()
        alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", READ_ONLY, sys.executable]
        ended = small.command([*alone, "--write --json"])
        assert ended.code == 73, ended.err
        assert "cannot be written" in ended.json["error"]["message"]
        assert small.snapshot() == before
        # Nor is it advised there.
        advised = small.command([*alone, ""])
        assert (advised.code, advised.out) == (3, "redis>=5.0\n")
        assert "build the image anew" in advised.err
        assert "--write" not in advised.err

    def test_an_interrupted_lock_leaves_the_old_one(self, locked: Checkout, world: World) -> None:
        """Ctrl-C while the index hangs: status 130, nothing written, nothing running."""
        world.publish("gamma")
        shutil.copy(locked.root / LOCK, world.settings.lock)
        locked.write(TEXT, "gamma\n")
        before = locked.snapshot()
        world.index.page_faults["gamma"] = Fault.HANG
        with subprocess.Popen(
            [sys.executable, "-m", "app.cli", "lock", "--json"],
            cwd=locked.root,
            env=base_environ(**locked.environ),
            stdout=subprocess.PIPE,
            text=True,
        ) as running:
            wait_until(lambda: "/simple/gamma/" in world.index.requests)
            running.send_signal(signal.SIGINT)
            body = json.loads(running.communicate(timeout=30)[0])
        assert (running.returncode, body["error"]["code"]) == (130, "interrupted")
        assert locked.snapshot() == before

    def test_waits_out_fresh_uploads(self, locked: Checkout) -> None:
        """The day goes to uv: an index without upload times has nothing older."""
        ended = locked.run("lock", "--upgrade", "--exclude-newer", "2020-01-01", "--json")
        assert (ended.code, ended.json["error"]["code"]) == (65, "bad_file")

    def test_what_has_no_wheel(self, locked: Checkout, world: World) -> None:
        """What has only an sdist is refused by its name; an older version with a wheel is taken."""
        before = locked.snapshot()
        build_sdist(world.index.directory, "gamma", "1.0")
        build_sdist(world.index.directory, "alpha", "3.0")
        locked.write(TEXT, "gamma\n")
        ended = locked.run("lock", "--json")
        assert (ended.code, ended.json["error"]["code"]) == (65, "bad_file")
        assert "gamma has no wheel, and no sdist is ever built" in ended.json["error"]["message"]
        locked.write(TEXT, before[TEXT])
        assert locked.run("lock", "--upgrade", "--json").json == {"written": [], "changes": {}}

    @pytest.mark.parametrize("another", [True, False])
    def test_check_sees_what_has_no_wheel(
        self, locked: Checkout, world: World, *, another: bool
    ) -> None:
        """A pin that has an sdist alone is named, whether or not another version has a wheel."""
        if another:
            world.publish("alpha", "1.1")
        wheel = next(world.index.directory.glob("alpha-1.0-*"))
        sdist = build_sdist(world.index.directory, "alpha", "1.0")
        locked.write(LOCK, locked.read(LOCK).replace(sha256(wheel), sha256(sdist)))
        wheel.unlink()
        ended = locked.run("lock", "--check")
        assert ended.code == (1 if another else 65)
        said = ended.out + ended.err
        assert "has no wheel, and no sdist is ever built" in said.partition("alpha")[2]


def index_findings(checkout: Checkout, **environ: str) -> list[dict[str, Any]]:
    """What doctor finds by asking the index."""
    found = checkout.run("doctor", "--json", **environ).json["findings"]
    codes = {"no_wheel", "not_on_index", "index_differs", "index_unreachable", "installer_broken"}
    return [one for one in found if one["code"] in codes]


class TestIndex:
    """What doctor says of an index, which it asks as a heal does."""

    def test_what_has_no_wheel(self, locked: Checkout, world: World) -> None:
        """Each package is named with its reason; the index is there."""
        world.index.faults |= dict.fromkeys(("alpha", "redis"), Fault.SDIST_ONLY)
        found = {(one["code"], one["subject"]) for one in index_findings(locked)}
        assert found == {("no_wheel", "alpha"), ("no_wheel", "redis")}

    def test_what_is_not_there(self, locked: Checkout, world: World) -> None:
        """A version that was taken away, and a project that is unknown."""
        next(world.index.directory.glob("beta-*")).unlink()
        world.index.page_faults["alpha"] = Fault.NOT_FOUND
        found = {(one["code"], one["subject"]) for one in index_findings(locked)}
        assert found == {("not_on_index", "alpha"), ("not_on_index", "beta")}

    @pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.TOO_MANY_REQUESTS])
    def test_an_outage(self, locked: Checkout, world: World, fault: Fault) -> None:
        """An index that fails cannot be reached, and nothing else is said of it."""
        world.index.page_faults["beta"] = fault
        (found,) = index_findings(locked)
        assert found["code"] == "index_unreachable"

    def test_the_cache_that_heals_use(self, locked: Checkout, world: World) -> None:
        """What a heal does in spite of, doctor does not warn of."""
        file = world.root / "file"
        file.touch()
        settings = {"UV_CACHE_DIR": str(file / "cache"), "UV_COMPILE_BYTECODE": "1"}
        assert index_findings(locked, **settings) == []

    def test_a_tool_that_does_not_work(
        self, locked: Checkout, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is named, and the next one asks."""
        front = world.root / "front"
        front.mkdir()
        (front / "uv").write_text("#!/bin/sh\nkill -KILL $$\n")
        (front / "uv").chmod(0o755)
        monkeypatch.setattr(sys, "executable", bare_interpreter(world.root, pip=True))
        environ = {**os.environ, "PATH": f"{front}:/usr/bin:/bin"}
        (found,) = check_index(world.settings, Project.at(locked.root), environ)
        assert (found.code, found.message) == (
            "installer_broken",
            "uv does not work here: signal 9",
        )


class TestWheelhouse:
    """A directory of wheels, and healing from it where there is no network."""

    def test_heals_offline(self, small: Checkout, world: World, tmp_path: Path) -> None:
        """Exactly the lock's wheels; with the directory no index is asked; once is enough."""
        house = tmp_path / "wheels"
        ended = small.run("wheelhouse", str(house), "--json")
        assert sorted(ended.json["added"]) == sorted(
            path.name for path in world.index.directory.iterdir()
        )
        asked = list(world.index.requests)
        offline = {"AUTO_FIX_WHEELHOUSE": str(house)}
        found = small.run("doctor", "--json", **offline).json["findings"]
        assert [one for one in found if one["code"] in {"wheel_missing", "index_unreachable"}] == []
        assert small.run("fix", "redis", "--json", **offline).json["outcome"] == "healed"
        again = small.run("wheelhouse", str(house), "--json").json
        assert (again["added"], len(again["kept"])) == ([], 3)
        assert world.index.requests == asked

    def test_takes_nothing_that_the_lock_does_not_name(
        self, small: Checkout, world: World, tmp_path: Path
    ) -> None:
        """A tampered wheel ends it, and the directory stays empty."""
        world.index.faults["beta"] = Fault.WRONG_HASH
        house = tmp_path / "wheels"
        ended = small.run("wheelhouse", str(house), "--json")
        assert (ended.code, ended.json["error"]["code"]) == (69, "unavailable")
        assert list(house.iterdir()) == []
        found = small.run("doctor", "--offline", "--json", AUTO_FIX_WHEELHOUSE=str(house)).json
        missing = {one["subject"] for one in found["findings"] if one["code"] == "wheel_missing"}
        assert missing == {"alpha", "beta", "redis"}

    def test_names_other_files_and_replaces_the_changed(
        self, small: Checkout, world: World, tmp_path: Path
    ) -> None:
        """A changed wheel is downloaded anew; another file is reported and left."""
        house = tmp_path / "wheels"
        assert small.run("wheelhouse", str(house)).code == 0
        changed = house / "beta-2.0-py3-none-any.whl"
        changed.write_bytes(b"changed")
        (house / "other-1.0-py3-none-any.whl").write_bytes(b"other")
        body = small.run("wheelhouse", str(house), "--json").json
        assert body["added"] == [changed.name]
        assert body["strangers"] == ["other-1.0-py3-none-any.whl"]
        assert sha256(changed) == sha256(world.index.directory / changed.name)

    def test_a_directory_that_cannot_be_made(self, small: Checkout) -> None:
        """A file stands there: status 73."""
        ended = small.run("wheelhouse", str(small.root / TEXT), "--json")
        assert (ended.code, ended.json["error"]["code"]) == (73, "cannot_write")


class _Osv(BaseHTTPRequestHandler):
    """An OSV service that knows one vulnerability, of alpha."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = {"vulns": [VULNERABILITY]} if query["package"]["name"] == "alpha" else {}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


VULNERABILITY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "alpha shows everything",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "alpha", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


class TestAudit:
    """``audit`` through pip-audit."""

    @pytest.fixture
    def osv(self) -> Iterator[str]:
        """The address of the service."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Osv)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_lists_known_vulnerabilities(self, small: Checkout, osv: str) -> None:
        """Status 1, the id and the version that mends it."""
        ended = small.run("audit", "--osv-url", osv, "--json")
        assert ended.code == 1, ended
        (found,) = ended.json["vulnerabilities"]
        assert (found["distribution"], found["id"], found["fixed_in"]) == (
            "alpha",
            "PYSEC-2026-1",
            ["1.1"],
        )
        assert sorted(ended.json["audited"]) == ["alpha", "beta", "redis"]

    def test_no_news_is_not_good_news(self, small: Checkout) -> None:
        """A service that does not answer is reported with status 69."""
        ended = small.run("audit", "--osv-url", "http://127.0.0.1:9/v1/query", "--json")
        assert (ended.code, ended.json["error"]["code"]) == (69, "unavailable")


def test_a_checkout_without_git_will_do(locked: Checkout, tmp_path: Path) -> None:
    """None of this asks git: there is no repository, and a git on the path is never called."""
    asked = tmp_path / "asked"
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!/bin/sh\ntouch {asked}\nexit 127\n")
    (programs / "git").chmod(0o755)
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    assert not (locked.root / ".git").exists()
    assert locked.run("lock", "--check", PATH=path).code == 0
    assert locked.run("doctor", "--offline", "--json", PATH=path).json["counts"]
    assert not asked.exists()

"""The lock: which files exactly may be installed, and who needs whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.kinds.dependency.lock import Lock
from app.settings.errors import LockError

HASH = "--hash=sha256:" + "ab" * 32
OTHER_HASH = "--hash=sha256:" + "cd" * 32


def entry(pin: str, *via: str, marker: str = "") -> str:
    """One paragraph of a lock."""
    condition = f" ; {marker}" if marker else ""
    notes = "".join(f"    #   {name}\n" for name in via)
    return f"{pin}{condition} \\\n    {HASH}\n    # via\n{notes}"


def names(lock: Lock, distribution: str) -> list[str]:
    """The closure of a distribution, by name."""
    return [found.name for found in lock.closure(distribution)]


class TestLock:
    """Reading what ``uv pip compile --generate-hashes`` writes."""

    def test_entry(self) -> None:
        """An entry has its normalized name, its version, every hash and its marker."""
        text = (
            f'Some_Name[extra]==1.0.post1 ; os_name == "{os.name}" \\\n  {HASH} \\\n  {OTHER_HASH}'
        )
        found = Lock.parse(text).entries["some-name"]
        assert found.pin == "some-name==1.0.post1"
        assert found.hashes == (HASH.removeprefix("--hash="), OTHER_HASH.removeprefix("--hash="))
        assert found.marker == f'os_name == "{os.name}"'
        assert found.applies()

    @pytest.mark.parametrize(
        ("note", "parents"),
        [
            ("    # via asker", ("asker",)),
            ("    # via\n    #   asker\n    #   Other_One", ("asker", "other-one")),
            ("    # via asker, other", ("asker", "other")),
            ("    # via asker[extra]", ("asker",)),
            ("    # via -r requirements.txt", ("requirements.txt",)),
            (
                "    # via\n    #   -c some.lock\n    #   -r requirements.txt\n    #   viaduct",
                ("requirements.txt", "viaduct"),
            ),
            ("    # via viaduct", ("viaduct",)),
            ("# via a comment of nobody", ()),
            ("    #", ()),
        ],
    )
    def test_who_needs_it(self, note: str, parents: tuple[str, ...]) -> None:
        """Who needs an entry is read from its notes in either of uv's layouts."""
        assert Lock.parse(f"part==1 {HASH}\n{note}\n").entries["part"].needed_by == parents

    def test_closure(self) -> None:
        """The closure is the distribution and all that it needs, each once, however deep."""
        lock = Lock.parse(
            entry("top==1", "-r requirements.txt")
            + entry("mid==1", "top", "unrelated")
            + entry("low==1", "mid", "top")
            + entry("round==1", "low")
            + entry("unrelated==1", "-r requirements.txt")
        )
        assert names(lock, "Top") == ["low", "mid", "round", "top"]
        assert names(lock, "nowhere") == []

    def test_closure_in_a_ring(self) -> None:
        """Distributions that need each other are found once each."""
        lock = Lock.parse(entry("a==1", "b") + entry("b==1", "a"))
        assert names(lock, "a") == ["a", "b"]
        assert lock.path("a", "b") == ("a", "b")

    def test_path(self) -> None:
        """A path of needs leads from one to the other, and nowhere else."""
        lock = Lock.parse(entry("top==1") + entry("mid==1", "top") + entry("low==1", "mid"))
        assert lock.path("top", "low") == ("top", "mid", "low")
        assert lock.path("low", "top") == ()
        assert lock.path("top", "top") == ("top",)
        assert lock.path("top", "nowhere") == ()

    def test_elsewhere(self) -> None:
        """What another Python or platform needs is not there, nor is what only it needs."""
        lock = Lock.parse(
            entry("top==1")
            + entry("colours==1", "top", marker='sys_platform == "win32"')
            + entry("backport==1", "top", marker='python_full_version < "3.9"')
            + entry("here==1", "top", marker='python_full_version >= "3.9"')
        )
        assert names(lock, "top") == ["here", "top"]

    def test_one_pin_for_each_python(self) -> None:
        """Two pins of one distribution stand when only one of them applies here."""
        lock = Lock.parse(
            entry("top==1", marker='python_version < "3.9"')
            + entry("top==2", marker='python_version >= "3.9"')
        )
        assert lock.entries["top"].version == "2"

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            (f"a==1 {HASH}\nA==2 {HASH}", 2, "a is pinned twice for this Python"),
            (f"a==1 {HASH}\na==1 {HASH}", 2, "a is pinned twice for this Python"),
            ("a==1", 1, "a has no --hash=sha256:"),
            (f"a==1 {HASH}\n\n# note\nb==1", 4, "b has no --hash=sha256:"),
            (f"a>=1 {HASH}", 1, "expected name==version"),
            (f"a {HASH}", 1, "expected name==version"),
            (f"a==1.* {HASH}", 1, "expected name==version"),
            (f"a===1 {HASH}", 1, "expected name==version"),
            (f"a==1,!=2 {HASH}", 1, "expected name==version"),
            (f"a @ http://example.com/a.whl {HASH}", 1, "expected name==version"),
            (f"--index-url http://example.com\na==1 {HASH}", 1, "expected name==version"),
            (f"a==1 {HASH}\n--extra-index-url=http://example.com", 2, "expected name==version"),
            (f"-r other.txt\na==1 {HASH}", 1, "expected name==version"),
            (f"  a>=1 {HASH}", 1, "expected name==version"),
            (f"a==1 {HASH} --index-url=http://example.com", 1, "a has a hash that is not sha256"),
            ("a==1 --hash=md5:abcd", 1, "a has a hash that is not sha256"),
            (f"a==1 {HASH[:-1]}", 1, "a has a hash that is not sha256"),
            (f"a==1 {HASH.upper()}", 1, "expected name==version"),
            (f"a==1 ; nonsense {HASH}", 1, "bad marker"),
            (f"a==1 ; os_name = 'x' {HASH}", 1, "bad marker"),
            (f"a==1 ; {'(' * 100_000} {HASH}", 1, "bad marker: parentheses too deep"),
            ("<html>", 1, "expected name==version"),
        ],
    )
    def test_broken_line(self, text: str, line: int, reason: str) -> None:
        """A line that is no exact hashed pin is refused with its number and the reason."""
        with pytest.raises(LockError) as caught:
            Lock.parse(text)
        assert caught.value.line == line
        assert caught.value.reason.startswith(reason)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n    # via nobody\n"])
    def test_nothing(self, text: str) -> None:
        """A lock of nothing holds nothing."""
        assert Lock.parse(text).entries == {}

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: b"\xef\xbb\xbf" + data,
            lambda data: data.replace(b"\n", b"\r\n"),
            lambda data: data.replace(b"    ", b"\t"),
            lambda data: data.rstrip(b"\n"),
            lambda data: data + b"\n\n\n",
        ],
        ids=["bom", "crlf", "tabs", "no newline at the end", "empty lines at the end"],
    )
    def test_edited(self, tmp_path: Path, change: object) -> None:
        """What editors do to a text file does not change what a lock says."""
        assert callable(change)
        text = entry("top==1") + entry("low==1", "top")
        path = tmp_path / "edited.lock"
        path.write_bytes(change(text.encode()))
        assert Lock.read(path).entries == Lock.parse(text).entries

    @pytest.mark.parametrize("content", [b"a==1 \xff", b"\xff\xfea\0=\0=\x001\0"])
    def test_other_encodings(self, tmp_path: Path, content: bytes) -> None:
        """A file that is no UTF-8 is no lock."""
        (tmp_path / "bad.lock").write_bytes(content)
        with pytest.raises(LockError, match="cannot be read"):
            Lock.read(tmp_path / "bad.lock")

    def test_directory(self, tmp_path: Path) -> None:
        """Neither is a directory."""
        with pytest.raises(LockError, match="cannot be read"):
            Lock.read(tmp_path)

    def test_digest(self, tmp_path: Path) -> None:
        """The digest tells locks apart, and a missing lock from an empty one."""
        one, other = Lock.parse(entry("a==1")), Lock.parse(entry("a==2"))
        missing = Lock.read(tmp_path / "none.lock")
        assert len({one.digest, other.digest, missing.digest, Lock.parse("").digest}) == 4

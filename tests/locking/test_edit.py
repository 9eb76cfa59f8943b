"""Requirement files are edited without a scratch, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.locking.edit import Change, with_requirements, write_all
from app.settings.errors import BadFile, CannotWrite
from tests.doctor.test_requirements import BOM, listing

ADDED = {"aiohttp>=3.8.0": "why"}
LINE = b"aiohttp>=3.8.0  # why"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the requirements file of a test goes."""
    return tmp_path / "requirements-flask.txt"


class TestEditing:
    """What is there stays as it is, byte for byte."""

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (b"# one\nflask>=3.0   # web\n", b"# one\nflask>=3.0   # web\n" + LINE + b"\n"),
            (b"flask", b"flask\n" + LINE + b"\n"),
            (b"", LINE + b"\n"),
            (BOM, BOM + LINE + b"\n"),
            (BOM + b"flask\r\n", BOM + b"flask\r\n" + LINE + b"\r\n"),
            (b"flask\r\nurllib3", b"flask\r\nurllib3\r\n" + LINE + b"\r\n"),
            (b"AIOHTTP==3.9\n", b"AIOHTTP==3.9\n"),
            (
                b"aiohttp ; python_version < '3'\n",
                b"aiohttp ; python_version < '3'\n" + LINE + b"\n",
            ),
        ],
    )
    def test_adds_at_the_end(self, path: Path, before: bytes, after: bytes) -> None:
        """Comments, order, line ends, a byte order mark and a missing last line end are kept."""
        write_all([with_requirements(listing(path, before), ADDED)])
        assert path.read_bytes() == after

    def test_what_an_included_file_lists_is_not_added(self, path: Path) -> None:
        """The file and what it includes are one list."""
        listing(path.parent / "base.txt", "aiohttp\n")
        assert not with_requirements(listing(path, "-r base.txt\n"), ADDED).changes

    def test_refuses_a_file_that_it_cannot_read(self, path: Path) -> None:
        """With the line, and the file as it was."""
        listing(path, b"flask\n\xff\n")
        with pytest.raises(BadFile, match=r"requirements-flask\.txt:2"):
            with_requirements(path, ADDED)

    def test_writes_all_or_nothing(self, path: Path) -> None:
        """When one file of several cannot be written, none changes, and nothing is left behind."""
        listing(path, "old\n")
        fresh = Change(path.parent / "made" / "for" / "it.py", None, b"x = 1\n")
        changes = [fresh, Change(path, b"old\n", b"new\n")]
        blocked = path.parent / "x.lock"
        # A file where a directory would have to be, and a directory where the file would be.
        for last in (path / "x.lock", blocked):
            blocked.mkdir(exist_ok=True)
            with pytest.raises(CannotWrite, match=r"x\.lock"):
                write_all([*changes, Change(last, None, b"x")])
            assert path.read_bytes() == b"old\n"
            assert {entry.name for entry in path.parent.iterdir()} == {path.name, blocked.name}

    def test_keeps_mode_and_link(self, path: Path) -> None:
        """A linked file stays one, with its permissions."""
        real = listing(path.parent / "real.txt", "flask\n")
        real.chmod(0o640)
        path.symlink_to(real)
        write_all([with_requirements(path, ADDED)])
        assert path.is_symlink()
        assert real.stat().st_mode & 0o777 == 0o640
        assert b"aiohttp" in real.read_bytes()

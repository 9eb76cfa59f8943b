"""What is kept of files is kept whole, by whichever process, and never damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.kinds.configuration.last_good import DIRECTORY, LastGood, LastGoods, Version
from tests.kinds.configuration.interruptions import interrupt

KNOWN = LastGood(
    (Version(b"first\n\0", 1.5), Version(b"", 2.5), Version(b"{}\n" * 1000, 3.0)),
    frozenset({"orders"}),
    {"": 4.0, "pages": 5.0},
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet."""
    return tmp_path / "home"


class TestKept:
    """What was written is read."""

    def test_everything(self, home: Path) -> None:
        """Contents, names and times are those that were given, in another process too."""
        assert LastGoods(home).get("pricing") == LastGood()
        LastGoods(home).update("pricing", lambda _: KNOWN)
        assert LastGoods(home).get("pricing") == KNOWN
        assert LastGoods(home).get("other") == LastGood()

    def test_nothing_new_is_not_written(self, home: Path) -> None:
        """What is there stays the same file."""
        LastGoods(home).update("pricing", lambda _: KNOWN)
        before = (home / DIRECTORY / "pricing").stat()
        LastGoods(home).update("pricing", replace)
        assert (home / DIRECTORY / "pricing").stat() == before

    @pytest.mark.parametrize("harm", ["cut", "flip", "empty", "other"])
    def test_damaged(self, home: Path, harm: str) -> None:
        """A file that is not what was written counts as none, and is written anew."""
        LastGoods(home).update("pricing", lambda _: KNOWN)
        path = home / DIRECTORY / "pricing"
        content = path.read_bytes()
        changed = bytearray(content)
        changed[-1] ^= 1
        others = {"cut": content[:-5], "flip": bytes(changed), "empty": b"", "other": b"[]\n"}
        path.write_bytes(others[harm])
        assert LastGoods(home).get("pricing") == LastGood()
        LastGoods(home).update("pricing", lambda _: KNOWN)
        assert LastGoods(home).get("pricing") == KNOWN

    def test_of_somebody_else(self, home: Path) -> None:
        """What others could have written is not served."""
        LastGoods(home).update("pricing", lambda _: KNOWN)
        (home / DIRECTORY / "pricing").chmod(0o666)
        assert LastGoods(home).get("pricing") == LastGood()

    def test_home_that_cannot_be_written(self, home: Path) -> None:
        """The caller is told, and nothing is left behind."""
        home.write_text("in the way")
        with pytest.raises(OSError, match="exist"):
            LastGoods(home).update("pricing", lambda _: KNOWN)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """What was kept is there after every kill, whole; the benchmark asks for more of them."""
    assert interrupt(tmp_path, 15, seed=7) == {"whole": 15}

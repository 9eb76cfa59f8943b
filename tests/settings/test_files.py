"""Small files: read within bounds, and loaded again when they have changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings.files import LOOK_SECONDS, FollowedFile, read_bounded
from tests.support.clock import Clock

WAIT = 20


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestReadBounded:
    """What is read, and what is refused without waiting."""

    def test_up_to_the_limit(self, tmp_path: Path) -> None:
        """A file of as many bytes as allowed is read whole, one byte more is refused."""
        file = tmp_path / "file"
        file.write_bytes(b"x" * 10)
        assert read_bounded(file, 10) == b"x" * 10
        with pytest.raises(ValueError, match="smaller"):
            read_bounded(file, 9)

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda _: None, FileNotFoundError),
            (os.mkdir, IsADirectoryError),
            (os.mkfifo, ValueError),
            (lambda place: place.symlink_to("/dev/zero"), ValueError),
            (lambda place: place.symlink_to(place), OSError),
        ],
        ids=["missing", "directory", "pipe", "device", "loop"],
    )
    def test_only_files(
        self, tmp_path: Path, make: Callable[[Path], object], error: type[Exception]
    ) -> None:
        """What is no regular file is refused at once, and no descriptor stays open."""
        place = tmp_path / "place"
        make(place)
        before = _open_files()
        with pytest.raises(error):
            read_bounded(place, 10)
        assert _open_files() == before

    def test_a_name_with_a_null(self) -> None:
        """No file can have it."""
        with pytest.raises(ValueError, match="null"):
            read_bounded(Path("a\0b"), 1)


class TestFollowedFile:
    """Loaded at once, and again when it has changed."""

    def test_loaded_after_a_change_alone(self, tmp_path: Path) -> None:
        """Coming, changing and going are changes; it is looked at once a second at most."""
        file, clock, loads = tmp_path / "file", Clock(), []
        followed = FollowedFile(
            file, lambda: loads.append(file.read_text() if file.exists() else None), clock=clock
        )
        assert loads == [None]
        for text in ("one", "another", None):
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
            followed.refresh()
            assert text not in loads[1:]
            for _ in range(3):
                clock.pass_by(LOOK_SECONDS)
                followed.refresh()
        assert loads == [None, "one", "another", None]

    def test_nobody_waits_for_a_load(self, tmp_path: Path) -> None:
        """Who refreshes while another thread loads goes on with what was loaded before."""
        file, clock = tmp_path / "file", Clock()
        loading, go_on = threading.Event(), threading.Event()

        def load() -> None:
            if file.exists():
                loading.set()
                assert go_on.wait(WAIT)

        followed = FollowedFile(file, load, clock=clock)
        file.write_text("new")
        clock.pass_by(LOOK_SECONDS)
        thread = threading.Thread(target=followed.refresh)
        thread.start()
        assert loading.wait(WAIT)
        clock.pass_by(LOOK_SECONDS)
        followed.refresh()
        assert thread.is_alive()
        go_on.set()
        thread.join(WAIT)
        assert not thread.is_alive()

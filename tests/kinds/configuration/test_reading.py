"""Files are read within bounds, whole, and whatever stands in their place."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.kinds.configuration.causes import Broken, Cause, Problem
from app.kinds.configuration.reading import MAX_BYTES, read

NOBODY = 65534


def problem(path: Path, limit: int = MAX_BYTES) -> Problem:
    """Why a file cannot be read."""
    with pytest.raises(Broken) as caught:
        read(path, limit)
    assert str(path) not in str(caught.value)
    return caught.value.problem


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a file should be."""
    return tmp_path / "prices.toml"


def test_files(place: Path) -> None:
    """A regular file is read, through a symbolic link too, up to the limit."""
    place.write_bytes(b"a = 1")
    link = place.with_name("link")
    link.symlink_to(place)
    assert read(place) == read(link) == read(place, 5) == b"a = 1"
    assert problem(place, 4).cause is Cause.TOO_LARGE


def test_nothing_there(place: Path) -> None:
    """A file that is missing is told so, by a link or by a directory that is none as well."""
    assert problem(place).cause is Cause.MISSING
    assert problem(place / "below").cause is Cause.MISSING
    place.symlink_to("nowhere")
    assert problem(place).cause is Cause.MISSING
    assert problem(place.with_name("nul\0")).cause is Cause.UNREADABLE


def test_no_regular_file(place: Path) -> None:
    """A directory, a pipe, a socket, a device or a circle of links is not waited for."""
    place.mkdir()
    assert problem(place).cause is Cause.UNREADABLE
    place.rmdir()
    os.mkfifo(place)
    assert problem(place).cause is Cause.UNREADABLE
    place.unlink()
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        assert problem(Path(short, "s")).cause is Cause.UNREADABLE
    place.symlink_to(place)
    assert problem(place).cause is Cause.UNREADABLE
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        assert problem(Path(device)).cause is Cause.UNREADABLE


def test_a_file_without_permission() -> None:
    """A file that this user may not read is unreadable, and the reason is the system's."""
    code = (
        "import pathlib, sys\n"
        "from app.kinds.configuration import causes, reading\n"
        f"import os; os.geteuid() or os.setuid({NOBODY})\n"
        "try:\n"
        "    reading.read(pathlib.Path(sys.argv[1]))\n"
        "except causes.Broken as broken:\n"
        "    print(broken.problem.cause, broken)\n"
    )
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        file = Path(place, "prices.toml")
        file.write_bytes(b"a = 1")
        file.chmod(0)
        ran = subprocess.run(
            [sys.executable, "-c", code, str(file)], check=True, stdout=subprocess.PIPE
        )
    assert ran.stdout == b"configuration_unreadable cannot be read (Permission denied)\n"


def test_a_gigabyte(place: Path) -> None:
    """A file of any size costs no memory: it is too large by what the system says of it."""
    with place.open("wb") as file:
        file.truncate(1 << 30)
    assert problem(place).cause is Cause.TOO_LARGE


def test_a_file_that_is_replaced(place: Path) -> None:
    """What is read is one state of the file, however often it is replaced meanwhile."""
    with _busily(lambda letter: _replace(place, letter * 1000)):
        for _ in range(5):
            with suppress(Broken):
                assert len({*read(place)}) == 1


def test_a_file_that_is_written(place: Path) -> None:
    """While somebody writes to the file nothing is taken for its content, and then all of it."""

    def append(letter: bytes) -> None:
        with place.open("ab") as file:
            file.write(letter)

    place.write_bytes(b"")
    seen = None
    with _busily(append):
        until = time.monotonic() + 60
        while seen is None and time.monotonic() < until:
            try:
                read(place)
            except Broken as broken:
                seen = broken.problem
    assert seen == Problem(Cause.UNREADABLE, "changes all the time while it is read")
    assert read(place) == place.read_bytes()


def _replace(place: Path, content: bytes) -> None:
    temporary = place.with_name("new")
    temporary.write_bytes(content)
    temporary.replace(place)


@contextmanager
def _busily(write: Callable[[bytes], None]) -> Iterator[None]:
    """Write without a pause meanwhile, and at least once before."""
    stop = threading.Event()

    def work() -> None:
        for number in itertools.count():
            write(bytes([ord("a") + number % 26]))
            if stop.is_set():
                return

    write(b"a")
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

"""Memory: what the commands take beside a worker in a small container, and what they refuse."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from app.cli.command import require_memory
from app.settings.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.support import Checkout

#: What any process of a command may take at its peak.
LIMIT_MEGABYTES = 40
#: Runs a command, and prints the peak of its largest process in kilobytes. (A test's own process is
#: too large to ask: until it becomes another program, a child counts as large as its parent.)
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize(
    "arguments",
    ["status", "history", "drift", "layers", "settings", "doctor --offline", "adopt app"],
)
def test_a_command_stays_small(checkout: Checkout, arguments: str) -> None:
    """No process of it grows beyond the limit, the doctor's children neither."""
    command = [sys.executable, "-m", "app.cli", *arguments.split()]
    ended = checkout.command([sys.executable, "-c", MEASURE, *command])
    assert int(ended.out) <= LIMIT_MEGABYTES * 1024


def container(directory: Path, limit: str, used: int, files: int = 0) -> Path:
    """The files by which the kernel shows a container's memory, in bytes."""
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text(f"{used}\n")
    statistics = f"anon {used - files}\nactive_file {files}\ninactive_file 0\n"
    (directory / "memory.stat").write_text(statistics)
    return directory


def test_refuses_what_a_containers_limit_does_not_leave(tmp_path: Path) -> None:
    """Said beforehand, with both numbers: nothing is killed for it."""
    small = container(tmp_path, str(128 << 20), 100 << 20)
    with pytest.raises(Unavailable, match=r"about 70 MB more.* leaves 28:"):
        require_memory(70, small)
    require_memory(20, small)


def test_cached_files_are_room(tmp_path: Path) -> None:
    """The kernel gives their pages back."""
    require_memory(70, container(tmp_path, str(128 << 20), 100 << 20, files=60 << 20))


def test_without_a_limit_nothing_is_refused(tmp_path: Path) -> None:
    """Nor where the system has no such files."""
    require_memory(1 << 20, container(tmp_path, "max", 100 << 20))
    require_memory(1 << 20, tmp_path / "absent")

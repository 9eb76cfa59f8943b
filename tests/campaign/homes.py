"""Homes that are hostile from the beginning, or become so while they are in use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOREIGNER = 12345
SMALL = "size=5m"
MOUNT, UMOUNT = (shutil.which(name) or name for name in ("mount", "umount"))


@dataclass(frozen=True)
class Home:
    """A kind of home.

    ``heals`` says whether a sound package comes live in it at last; None where either may be.
    ``make`` prepares it below a directory and returns its path, ``disturb`` are what is done to it
    while it is in use, in this order.
    """

    heals: bool | None
    make: Callable[[Path], Path]
    disturb: tuple[Callable[[Path], None], ...] = ()


def plain(root: Path) -> Path:
    """Leave it to the service."""
    return root / "home"


def odd(root: Path) -> Path:
    """Give it a name with quotes, a line feed, and bytes that are no UTF-8."""
    return root / os.fsdecode(b"ho'm\"e\n\xff")


def mounted(root: Path, *options: str) -> Path:
    """Mount a small file system in memory, which takes root."""
    home = root / "home"
    home.mkdir(exist_ok=True)
    mount = [MOUNT, "-t", "tmpfs", "-o", ",".join((SMALL, "mode=0700", *options)), "tmpfs"]
    subprocess.run([*mount, str(home)], check=True)
    return home


def read_only(root: Path) -> Path:
    """Mount one that nobody can write to."""
    return mounted(root, "ro")


def full(root: Path) -> Path:
    """Mount one, and fill it."""
    home = mounted(root)
    fill(home)
    return home


def foreign(root: Path) -> Path:
    """Make one that belongs to somebody else."""
    home = root / "home"
    home.mkdir(mode=0o777)
    os.chown(home, FOREIGNER, FOREIGNER)
    return home


def linked(root: Path) -> Path:
    """Make one whose layers are somebody's own directory, by a link."""
    home, victim = root / "home", root / "victim"
    home.mkdir(mode=0o700)
    (victim / "key" / "prey.precious").mkdir(parents=True)
    (victim / "key" / "prey.precious" / "file").write_text("precious")
    (home / "layers").symlink_to(victim)
    return home


def delete(home: Path) -> None:
    """Delete everything."""
    shutil.rmtree(home, ignore_errors=True)


def replace(home: Path) -> None:
    """Put a file in its place."""
    with suppress(OSError):
        home.rename(home.with_name("elsewhere"))
        home.write_text("")


def bring_back(home: Path) -> None:
    """Put it back."""
    if home.is_file():
        home.unlink()
        home.with_name("elsewhere").rename(home)


def fill(home: Path) -> None:
    """Fill the file system to its last byte."""
    with suppress(OSError), (home / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def unmount(home: Path) -> None:
    """Take the file system away, and leave the empty directory below it."""
    subprocess.run([UMOUNT, "-l", str(home)], check=False, stderr=subprocess.DEVNULL)


HOMES: dict[str, Home] = {
    "plain": Home(heals=True, make=plain),
    "odd bytes": Home(heals=True, make=odd),
    "deleted": Home(heals=True, make=plain, disturb=(delete,)),
    "replaced": Home(heals=True, make=plain, disturb=(replace, bring_back)),
}
#: Those that only root can make.
HOMES_OF_ROOT: dict[str, Home] = {
    "5 MB": Home(heals=True, make=mounted),
    "filled": Home(heals=None, make=mounted, disturb=(fill,)),
    "full": Home(heals=False, make=full),
    "read-only": Home(heals=False, make=read_only),
    "unmounted": Home(heals=True, make=mounted, disturb=(unmount,)),
    "foreign": Home(heals=None, make=foreign),
    "linked": Home(heals=None, make=linked),
}
if os.geteuid() == 0:
    HOMES |= HOMES_OF_ROOT

"""The directory in which fixes are kept: can it take one, and is it this user's alone?"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

#: With less room than this not even the journal can be written.
LEAST_BYTES = 1 << 16
#: How far below the home directories are looked at, to ``layers/KEY/LAYER/site``, and files.
DIRECTORIES_LOOKED_AT, FILES_LOOKED_AT = 4, 2
#: What each reason for which nothing can be kept means, and what can be done about it.
TROUBLE = {
    "home_unwritable": (
        "the auto-fix home cannot be written",
        "give the service's user a home that it owns",
    ),
    "home_untrusted": (
        "others can write to the auto-fix home, or something in it is not this user's",
        "give the service's user a home of its own with mode 0700, without links in it",
    ),
    "home_full": ("the auto-fix home is full", "make room in the file system of the home"),
}


class Untrusted(PermissionError):
    """Something under the home may have been put there by another user."""


def is_ours(home: Path, *parts: str) -> bool:
    """Whether nobody but this user and root decides what is at ``home/part/…``.

    Each of them counts as it is; one that is not there is nobody else's. A home may be reached by a
    link, nothing below it may. Where root has given this user a directory that is its own, others
    may write to it, too, because there is no other way: what is in it is looked at by itself. Group
    0 is root's: who is in it has been given that on purpose, as the users of a cluster that have
    no name are.
    """
    place, found = home, []
    try:
        found.append(home.stat())
        for part in parts:
            place /= part
            found.append(place.lstat())
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return all(map(_is_ours, found))


def make_directory(place: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone.

    Raises:
        OSError: when that is not possible.
    """
    if place.is_dir():
        return
    make_directory(place.parent)
    try:
        place.mkdir(0o700)
    except FileExistsError:
        if not place.is_dir():
            raise
        return
    # The umask may have taken from the user itself.
    place.chmod(0o700)


def can_be_written(home: Path) -> bool:
    """Whether this process may write there, or make the directory first; creates nothing."""
    try:
        place = _nearest(home)
    except OSError:
        return False
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def free_bytes(home: Path) -> int:
    """How much more an unprivileged process may write there; 0 when not one file more fits.

    0, too, where the file system does not say, as of a name that is longer than it allows.
    """
    try:
        room = os.statvfs(_nearest(home))
    except OSError:
        return 0
    # File systems without a table of files report no files at all.
    files_left = room.f_favail > 0 or room.f_files == 0
    return room.f_bavail * room.f_frsize if files_left else 0


def trouble(home: Path) -> str | None:
    """Why nothing can be kept there, as a code of ``TROUBLE``; None when it can."""
    if not can_be_written(home):
        return "home_unwritable"
    if free_bytes(home) < LEAST_BYTES:
        return "home_full"
    return None if is_ours(home) and _all_ours(home, 1) else "home_untrusted"


def _all_ours(directory: Path, level: int) -> bool:
    """Whether all that is in a directory is ours, which is at this level below the home."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            # What is being installed, or removed, can be gone by now.
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    # Who may write to a file is asked of those that are loaded from.
                    if level <= FILES_LOOKED_AT and not _is_owned(found):
                        return False
                elif not _is_ours(found) or (
                    level < DIRECTORIES_LOOKED_AT and not _all_ours(Path(entry.path), level + 1)
                ):
                    return False
    return True


def _is_owned(found: os.stat_result) -> bool:
    """Whether this user or root has put it there, and it leads nowhere else."""
    if stat.S_ISLNK(found.st_mode):
        return False
    user = os.geteuid()
    in_group_0 = user != 0 and 0 in {os.getegid(), *os.getgroups()}
    return found.st_uid in {user, 0} or (in_group_0 and found.st_gid == 0)


def _is_ours(found: os.stat_result) -> bool:
    if not _is_owned(found) or found.st_uid != os.geteuid():
        return _is_owned(found)
    mode = found.st_mode
    others = stat.S_IWOTH if found.st_gid == 0 else stat.S_IWOTH | stat.S_IWGRP
    # In a directory with the sticky bit nobody replaces what is another's.
    return not mode & others or bool(mode & stat.S_ISVTX)


def _nearest(place: Path) -> Path:
    """The place itself, or what exists of the way to it.

    Raises:
        OSError: when there can be no such place: a part of its name is too long.
    """
    while not place.exists() and place != place.parent:
        place = place.parent
    return place

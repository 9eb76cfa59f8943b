"""The directory in which fixes are kept: can it take one?"""

from __future__ import annotations

import os
from pathlib import Path

#: With less room than this not even the journal can be written.
LEAST_BYTES = 1 << 16


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
    """Why nothing can be kept there, None when it can: ``home_unwritable`` or ``home_full``."""
    if not can_be_written(home):
        return "home_unwritable"
    return "home_full" if free_bytes(home) < LEAST_BYTES else None


def _nearest(place: Path) -> Path:
    """The place itself, or what exists of the way to it.

    Raises:
        OSError: when there can be no such place: a part of its name is too long.
    """
    while not place.exists() and place != place.parent:
        place = place.parent
    return place

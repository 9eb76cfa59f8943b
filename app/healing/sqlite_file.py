"""What is done with a file that SQLite cannot read: it is kept aside, and a new one is begun."""

from __future__ import annotations

import time
from pathlib import Path

#: Corrupt files that are kept to be looked at; older ones are removed.
KEPT_ASIDE = 3


def drop_companions(path: Path) -> None:
    """Remove the write-ahead log and its index: SQLite would replay them into another file."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Move a database out of the way, and say where it is now; only the newest few are kept.

    Raises:
        OSError: when that cannot be done.
    """
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    drop_companions(path)
    path.rename(aside)
    for older in sorted(path.parent.glob(f"{path.name}.corrupt-*"))[:-KEPT_ASIDE]:
        older.unlink(missing_ok=True)
    return aside

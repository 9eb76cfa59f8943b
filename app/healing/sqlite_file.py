"""A SQLite file that processes share, on file systems that lack what SQLite builds upon as well.

It is in WAL mode, so that readers and a writer do not wait for each other. Where memory cannot be
shared it has a rollback journal instead. Where there are no locks, whoever uses it holds a lease
for as long, and SQLite locks nothing. What SQLite cannot read is set aside.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from app.healing.locks import exclusive, has_locks

logger = logging.getLogger(__name__)

#: Corrupt files that are kept to be looked at; older ones are removed.
KEPT_ASIDE = 3
#: How SQLite calls what it meets in WAL mode where memory cannot be shared.
NO_SHARED_MEMORY = ("SQLITE_IOERR_SHM", "SQLITE_PROTOCOL")


class SQLiteFile:
    """The file at ``path``. Each use has its own connection, so forks and threads are safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Held while the file is put in place or aside.
        self.lock = path.with_name(f"{path.name}.lock")
        #: What the file system lacks, as far as it was met: ``locks`` or ``shared_memory``.
        self.lacks: str | None = None
        self._tried = False

    def create(self, script: str, wait: float) -> None:
        """Put a complete file in place at once; whoever is second uses the first one's.

        Raises:
            sqlite3.Error: when it cannot be made.
            OSError: the same, or another process works on it for longer than ``wait`` seconds.
        """
        self._try_locks()
        with exclusive(self.lock, wait):
            if self.path.exists():
                return
            fresh = self.path.with_name(f"{self.path.name}.new")
            fresh.unlink(missing_ok=True)
            with closing(self._connect(fresh, wait, mode="rwc")) as connection:
                # Nothing is lost if this does not reach the disk: there is nothing in it yet.
                connection.execute("PRAGMA synchronous = OFF")
                connection.executescript(script)
            self.drop_companions()
            fresh.rename(self.path)

    @contextmanager
    def open(self, wait: float) -> Iterator[sqlite3.Connection]:
        """A connection without implicit transactions, which waits so many seconds for others.

        Raises:
            sqlite3.Error: when it cannot be used.
            OSError: when the disk does not do its part, or there are no locks and others use it
                for longer than that.
        """
        self._try_locks()
        lockless = self.lacks == "locks"
        turn = self.path.with_name(f"{self.path.name}.turn")
        with (
            exclusive(turn, wait) if lockless else nullcontext(),
            closing(self._connect(self.path, wait, mode="rw")) as connection,
        ):
            yield connection

    def set_aside(self) -> Path:
        """Move the file out of the way, and say where it is now; only the newest few are kept.

        Raises:
            OSError: when that cannot be done.
        """
        path = self.path
        aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
        self.drop_companions()
        path.rename(aside)
        for older in sorted(path.parent.glob(f"{path.name}.corrupt-*"))[:-KEPT_ASIDE]:
            older.unlink(missing_ok=True)
        return aside

    def drop_companions(self) -> None:
        """Remove the write-ahead log and its index: SQLite would replay them into another file."""
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _try_locks(self) -> None:
        if self._tried:
            return
        try:
            if not has_locks(self.path.parent):
                self._without("locks")
        except OSError:
            # Whoever may only read has locks, or reads nothing.
            return
        self._tried = True

    def _connect(self, path: Path, wait: float, *, mode: str) -> sqlite3.Connection:
        lockless = self.lacks == "locks"
        try:
            return self._begin(path, wait, mode, alone=lockless)
        except sqlite3.OperationalError as error:
            if lockless or not str(error.sqlite_errorname).startswith(NO_SHARED_MEMORY):
                raise
        # Who has the file to himself needs no shared memory to turn it into one of the other mode.
        self._begin(path, wait, mode, alone=True).close()
        return self._begin(path, wait, "rw", alone=False)

    def _begin(self, path: Path, wait: float, mode: str, *, alone: bool) -> sqlite3.Connection:
        """Connect; ``alone`` gives the file a rollback journal, and keeps others out."""
        uri = f"{path.as_uri()}?mode={mode}{'&vfs=unix-none' * (self.lacks == 'locks')}"
        connection = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)
        try:
            if alone:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = DELETE")
            elif mode == "rwc":
                connection.execute("PRAGMA journal_mode = WAL")
            (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
            # The shared memory is not looked for before something is read.
            connection.execute("PRAGMA user_version").fetchone()
            if journal == "wal":
                connection.execute("PRAGMA synchronous = NORMAL")
                self.lacks = None
            elif self.lacks is None:
                self._without("shared_memory")
        except BaseException:
            connection.close()
            raise
        return connection

    def _without(self, lacking: str) -> None:
        self.lacks = lacking
        fields = {"file": self.path.name, "lacks": lacking}
        event = "a database does without what its file system lacks"
        logger.warning(event, extra={"fields": fields})

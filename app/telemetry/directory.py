"""The directory in which the workers of a server count together.

Each worker has files of its own there, and a scrape adds them up (:mod:`app.telemetry.series`). It
belongs in memory: every request writes to it. A server's master provides it before it has workers,
and before anything imports prometheus_client, which asks the same variable.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

#: The variable is prometheus_client's; the operator's value wins.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: How a directory is known that a master has made itself, and may remove.
PREFIX = "orchestrator-metrics-"
#: Each living master holds a shared lock on it, so whoever can have it alone is the only one.
MASTERS = "masters.lock"
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made there


def shared_directory() -> Path | None:
    """Where this process counts with others; None when it counts for itself alone."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


@functools.cache
def provide() -> Path | None:
    """Give this master and its workers a directory, and name it in the environment.

    The one that the operator has named is emptied of an earlier server's counts. A new one is made
    otherwise, in memory where there is such a file system, and removed when the last master ends
    that uses it: a server that becomes a newer one (gunicorn's USR2) hands it on. Calls after the
    first do nothing: gunicorn reads its configuration again on HUP.

    None when there can be no such directory; then each worker counts for itself, which is logged.
    """
    try:
        directory = shared_directory() or _make()
        descriptor = _hold(directory)
    except OSError as error:
        os.environ.pop(VARIABLE, None)
        fields = {"error": str(error)}
        logger.warning("there is no directory to count in", extra={"fields": fields})
        return None
    os.environ[VARIABLE] = str(directory)
    atexit.register(_let_go, directory, descriptor, os.getpid())
    return directory


def handed_on() -> dict[str, str]:
    """The variable as a process needs it that is to use the same directory."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}


def _make() -> Path:
    """A new directory, in memory where it can be; those are removed whose masters were killed."""
    in_memory = os.access(IN_MEMORY, os.W_OK | os.X_OK)
    # Asked only if it is needed: it raises where no directory for temporary files can be written.
    base = IN_MEMORY if in_memory else Path(tempfile.gettempdir())
    for left in base.glob(f"{PREFIX}*"):
        # Anybody can put anything here. One whose lock a living master holds raises and stays.
        with suppress(OSError):
            if left.lstat().st_uid == os.getuid():
                with (left / MASTERS).open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))


def _hold(directory: Path) -> int:
    """Use the directory for as long as the descriptor is open; empty it if nobody else does."""
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / MASTERS
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        alone = _alone(descriptor)
        if not alone:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        # The last of the others may have removed it all while this one waited.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    if alone:
        # What workers leave behind: their counts, and the files that said which were whose.
        for left in (*directory.glob("*.db"), *directory.glob("*.slot")):
            left.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _alone(descriptor: int) -> bool:
    """Whether no other master uses the directory; if so none can begin to, until it is shared."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go(directory: Path, descriptor: int, owner: int) -> None:
    """Remove what was made here, unless another master uses it. Workers end in here too."""
    if os.getpid() != owner:
        return
    if directory.name.startswith(PREFIX) and _alone(descriptor):
        shutil.rmtree(directory, ignore_errors=True)
    os.close(descriptor)

"""Locks between the processes of a host: the kernel's, or lease files where there are none.

The kernel releases a lock when its holder dies. Some file systems have no locks (``ENOLCK`` of NFS
without its lock daemon); there the holder is named in a file beside the lock's, which it makes anew
every few seconds. A lease whose holder has died, or has not renewed it for long enough, counts no
more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

#: What a file system without locks answers.
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
#: How often a waiter looks again, in seconds: first and longest pause.
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.01
#: Seconds after which a lease that was not renewed counts no more, and between two renewals.
LEASE, RENEWAL = 30.0, 5.0
SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX


class Busy(TimeoutError):
    """Another holder kept the lock for longer than the caller would wait."""


class Overtaken(Exception):
    """What the lock was wanted for has been done by another meanwhile."""


@contextmanager
def exclusive(
    path: Path, wait: float = 10.0, done: Callable[[], bool] = lambda: False
) -> Iterator[int]:
    """Hold the lock file at ``path``; its directory must exist. The file itself stays.

    Yields the descriptor. ``flock`` belongs to the open file, so it keeps threads of one process
    apart as well as processes. A child that inherits the descriptor keeps the lock when this
    process is killed, until it has ended too (but no lease); after a normal end it keeps nothing.

    Raises:
        Busy: when it is not free within ``wait`` seconds.
        Overtaken: when ``done``, asked while another holds it, says so.
        OSError: when the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline, look = time.monotonic() + wait, FIRST_LOOK
        while (release := _take(descriptor, path)) is None:
            if done():
                raise Overtaken
            if time.monotonic() >= deadline:
                raise Busy(f"{path.name} is held by another")
            time.sleep(look)
            look = min(LONGEST_LOOK, look * 2)
        try:
            yield descriptor
        finally:
            release()
    finally:
        os.close(descriptor)


def lock(descriptor: int, how: int = EXCLUSIVE) -> bool | None:
    """Lock an open file without waiting: False while another holds it, None without locks.

    Raises:
        OSError: when the file system has locks and fails.
    """
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


def has_locks(directory: Path) -> bool:
    """Whether the file system of a directory has both kinds of locks; tries them.

    Raises:
        OSError: when the directory cannot be written.
    """
    path = directory / f".locks.{os.getpid()}.{threading.get_ident()}"
    with path.open("xb") as file:
        path.unlink()
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
        return lock(file.fileno()) is not None


def holder() -> str:
    """This process as others can look for it: host, process namespace, id, and when it began."""
    return f"{_surroundings()} {os.getpid()} {_began(os.getpid())}"


def lives(name: str) -> bool | None:
    """Whether a holder lives; None when this process cannot know: it is of another host."""
    surroundings, _, rest = name.partition(" ")
    pid, _, began = rest.partition(" ")
    if surroundings != _surroundings() or not pid.isdecimal() or not began:
        return None
    return _began(int(pid)) == began


def _take(descriptor: int, path: Path) -> Callable[[], None] | None:
    """Take the lock, or else the lease: what gives it back, None while another has it."""
    taken = lock(descriptor)
    if taken:
        return partial(fcntl.flock, descriptor, fcntl.LOCK_UN)
    return None if taken is False else _lease(descriptor, path.with_name(f".{path.name}.lease"))


def _lease(clock: int, path: Path) -> Callable[[], None] | None:
    """Make the lease file, and make it anew from time to time until it is given back."""
    try:
        lease = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        with suppress(FileNotFoundError):
            if _is_over(path, clock):
                # Two who see this at once could both go on. It needs a holder that died, and costs
                # work that is done twice.
                path.unlink()
        return None
    os.write(lease, holder().encode())
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL):
            with suppress(OSError):
                os.utime(lease)

    renewing = threading.Thread(target=renew, name=f"lease {path.name}", daemon=True)
    renewing.start()

    def release() -> None:
        ended.set()
        renewing.join()
        with suppress(OSError):
            # Whoever found it too old has a lease of its own by now.
            if os.path.samestat(path.stat(), os.fstat(lease)):
                path.unlink()
        os.close(lease)

    return release


def _is_over(path: Path, clock: int) -> bool:
    """Whether a lease's holder is dead, or silent for too long by the file system's own clock."""
    alive = lives(path.read_text(errors="replace"))
    if alive is None:
        os.utime(clock)
        return os.fstat(clock).st_mtime - path.stat().st_mtime > LEASE
    return not alive


def _surroundings() -> str:
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - is no path
    return f"{socket.gethostname()}/{namespace}".replace(" ", "_")


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did; "" when it has ended."""
    with suppress(OSError, IndexError):
        # The name before it may have spaces and brackets of its own.
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if state[0] in "ZX" else state[19]
    return ""

"""Child processes that never outlive their purpose: killed as a group, and killed with us.

An installer or a probe whose parent was killed would go on writing into a directory that somebody
else is about to remove, or hang for ever. So each leads a session of its own, which is killed as
one, and on Linux the kernel kills it when this process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import resource
import selectors
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

#: The variable by which all that a child starts is known, whatever session it is in, and how often
#: it is looked for.
TOKEN, LOOKS = "AUTO_FIX_CHILD", 20


class Child:
    """A process that leads a session of its own; any thread may wait for it or kill it.

    Its exit status is lost where other code of this process reaps whatever child ends, as
    gunicorn's master does, in which ``--preload`` heals; ``Popen`` would take that for a success.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        """Whether somebody has waited for its end."""
        return self._process.returncode is not None

    def wait(self) -> int | None:
        """Wait for its end: the exit status, or minus the signal; None when that is lost."""
        if not self.ended:
            status = _exit_status(self.pid) if sys.platform == "linux" else self._process.wait()
            self._status = self._status if status is None else status
            self._process.wait()
        return self._status

    def kill(self) -> None:
        """Kill what is left of its session, itself included, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


@contextmanager
def child_group(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    directory: Path,
    output: IO[bytes] | None = None,
    keep: Sequence[int] = (),
    umask: int = -1,
    sweep: bool = False,
) -> Iterator[Child]:
    """Run ``command``; on leaving, it and all that it started in its session is killed.

    ``output`` gets stdout and stderr, which are discarded without it. ``keep`` are descriptors
    that the child inherits: a claim in it is not free before the child has ended. ``umask`` is
    this process's own when it is left out. ``sweep`` says that what it has started is looked for in
    other sessions, too, and killed: daemons leave theirs.

    Raises:
        OSError: when the command cannot be started.
    """
    token = uuid.uuid4().hex
    reader, writer = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                pass_fds=(reader, *keep),
                env={**environ, TOKEN: token},
                cwd=directory,
                start_new_session=True,
                umask=umask,
            )
            _kill_when_closed(reader, process.pid)
        finally:
            os.close(reader)
        child = Child(process)
        try:
            yield child
        finally:
            child.kill()
            if sweep:
                _sweep(token)
    finally:
        os.close(writer)


def limit_file_size(child: Child, size: int) -> None:
    """Let a child write no file of more than ``size`` bytes, where the system can."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, size))


def _sweep(token: str) -> None:
    """Kill every process that has inherited a child's token, until there is none."""
    mark = f"{TOKEN}={token}".encode()
    # One that forks all the time is met again by the next look.
    for _ in range(LOOKS):
        found = [int(each.name) for each in Path("/proc").glob("[0-9]*") if _has(each, mark)]
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _has(process: Path, mark: bytes) -> bool:
    with suppress(OSError):
        return mark in (process / "environ").read_bytes()
    return False


def _exit_status(pid: int) -> int | None:
    """Wait until a child has ended: its status, None when it has been reaped; does not reap it."""
    with suppress(OSError):
        watched = os.pidfd_open(pid)
        try:
            # The module's choice: where eventlet has patched it, the other green threads go on.
            with selectors.DefaultSelector() as selector:
                selector.register(watched, selectors.EVENT_READ)
                selector.select()
        finally:
            os.close(watched)
    # Before Linux 5.3 this is what waits.
    with suppress(ChildProcessError):
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if end is not None:
            return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
    return None


def _kill_when_closed(reader: int, group: int) -> None:
    """Have the kernel kill ``group`` when the pipe's other end closes, as it does when we die.

    Unlike ``PR_SET_PDEATHSIG`` this needs neither code in the child nor the thread that made it.
    """
    if sys.platform == "linux":
        try:
            fcntl.fcntl(reader, fcntl.F_SETOWN, -group)
        except ProcessLookupError:
            return  # it has ended, and somebody has reaped it
        fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)

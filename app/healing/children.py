"""Child processes that never outlive their purpose: killed as a group, and killed with us.

An installer or a probe whose parent was killed would go on writing into a directory that somebody
else is about to remove, or hang for ever. So each leads a session of its own, which is killed as
one, and on Linux the kernel kills it when this process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def child_group(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    directory: Path,
    output: IO[bytes] | None = None,
    keep: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command``; on leaving, it and all that it started in its session is killed.

    ``output`` gets stdout and stderr, which are thrown away without it. ``keep`` are descriptors
    that the child inherits: a claim in it is not free before the child has ended.

    Raises:
        OSError: when the command cannot be started.
    """
    leash, hand = os.pipe()
    try:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                pass_fds=(leash, *keep),
                env=dict(environ),
                cwd=directory,
                start_new_session=True,
            )
            _fasten(leash, child.pid)
        finally:
            os.close(leash)
        try:
            yield child
        finally:
            kill_group(child)
    finally:
        os.close(hand)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the session that ``child`` leads, and reap the child."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _fasten(leash: int, group: int) -> None:
    """Have the kernel kill ``group`` when the pipe's other end closes, as it does when we die.

    Unlike ``PR_SET_PDEATHSIG`` this needs neither code in the child nor the thread that made it.
    """
    if sys.platform == "linux":
        fcntl.fcntl(leash, fcntl.F_SETOWN, -group)
        fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)

"""System calls that fail in one process and its children, as on file systems that lack something.

``python -m tests.support.system_calls NO_LOCKS -- COMMAND …`` runs a command so. A filter of the
kernel (seccomp) does it, which needs neither rights nor a compiler, and cannot be taken off again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass
from enum import Enum

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, FAIL = 0x7FFF0000, 0x00050000
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
#: Where the kernel has a call's number and, eight bytes each, its arguments.
NUMBER, ARGUMENTS = 0, 16
#: By call: its number on this machine's architecture.
CALLS = {
    "x86_64": {
        "mmap": 9,
        "fcntl": 72,
        "flock": 73,
        "rename": 82,
        "renameat": 264,
        "renameat2": 316,
    },
    "aarch64": {"mmap": 222, "fcntl": 25, "flock": 32, "renameat": 38, "renameat2": 276},
}
F_GETLK, F_SETLK, F_SETLKW = 5, 6, 7
WRITABLE, MAP_SHARED = 3, 1


@dataclass(frozen=True)
class Failing:
    """How calls fail, and which: names, with values of some of their arguments by position."""

    error: int
    calls: list[tuple[str, dict[int, int]]]


class Lack(Enum):
    """What a file system may lack."""

    NO_LOCKS = Failing(
        errno.ENOLCK,
        [("flock", {}), *(("fcntl", {1: how}) for how in (F_GETLK, F_SETLK, F_SETLKW))],
    )
    NO_SHARED_MEMORY = Failing(errno.ENODEV, [("mmap", {2: WRITABLE, 3: MAP_SHARED})])
    NO_RENAME = Failing(errno.EXDEV, [(name, {}) for name in ("rename", "renameat2")])


def forbid(lack: Lack) -> None:
    """Have these calls fail from now on, in this process and in its children to come."""
    numbers = CALLS[platform.machine()]
    program = []
    for name, arguments in lack.value.calls:
        if name in numbers:
            tests = [(NUMBER, numbers[name])]
            tests += [(ARGUMENTS + 8 * which, value) for which, value in arguments.items()]
            for position, (offset, value) in enumerate(tests):
                # What is not equal goes past the rest of these tests and their verdict.
                past = 2 * (len(tests) - position - 1) + 1
                program += [(LOAD, 0, 0, offset), (EQUALS, 0, past, value)]
            program.append((RETURN, 0, 0, FAIL | lack.value.error))
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "this kernel takes no filter")


if __name__ == "__main__":
    separator = sys.argv.index("--")
    for given in sys.argv[1:separator]:
        forbid(Lack[given])
    command = sys.argv[separator + 1 :]
    os.execvp(command[0], command)  # noqa: S606 - there is to be no shell

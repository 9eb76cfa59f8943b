"""Reads the bytes of a file that somebody may be writing at this moment."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from app.kinds.configuration.causes import Broken, Cause, Problem
from app.settings.files import read_bounded, signature_of

#: Bytes; ten thousand entries take two million.
MAX_BYTES = 8 << 20
#: The same of YAML, which is read fifty times as slowly: a worker is busy with it for seconds.
YAML_MAX_BYTES = 1 << 20
#: How often a file is read that changes each time while it is read.
MAX_READS = 5
#: Seconds. A file system's clock ticks every ten milliseconds, so a change that comes sooner after
#: another one may leave no trace.
SETTLED_AFTER = 0.02


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most ``limit`` bytes, as it was at one moment.

    One that changes while it is read is read again. Waits a fiftieth of a second where it has just
    been changed.

    Raises:
        Broken: it is missing, unreadable or too large, or changes all the time.
    """
    try:
        for _ in range(MAX_READS):
            before, found = signature_of(path), path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise Broken(Problem(Cause.UNREADABLE, "is no regular file"))
            if found.st_size > limit:
                raise Broken(Problem(Cause.TOO_LARGE, f"is larger than {limit} bytes"))
            if 0 <= (age := time.time() - found.st_ctime) < SETTLED_AFTER:
                time.sleep(SETTLED_AFTER - age)
            content = read_bounded(path, limit)
            if signature_of(path) == before:
                return content
    except (FileNotFoundError, NotADirectoryError):
        raise Broken(Problem(Cause.MISSING, "does not exist")) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        raise Broken(Problem(Cause.UNREADABLE, f"cannot be read ({reason})")) from None
    except ValueError:
        # It was replaced since by what is none, or too large; a name with a NUL is none either.
        raise Broken(Problem(Cause.UNREADABLE, "is no regular file, or too large")) from None
    raise Broken(Problem(Cause.UNREADABLE, "changes all the time while it is read"))

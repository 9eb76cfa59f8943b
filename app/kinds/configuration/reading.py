"""Reads the bytes of a file that somebody may be writing at this moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.kinds.configuration.causes import Broken, Cause, Problem
from app.settings.files import read_bounded, signature_of

#: Bytes; ten thousand entries take two million.
MAX_BYTES = 8 << 20
#: How often a file is read that changes each time while it is read.
MAX_READS = 5


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file, which did not change while it was read.

    Raises:
        Broken: it is missing, unreadable or too large.
    """
    try:
        for _ in range(MAX_READS):
            before = signature_of(path)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise Broken(Problem(Cause.UNREADABLE, "this is no regular file"))
            if found.st_size > limit:
                raise _too_large(limit)
            content = read_bounded(path, limit)
            if signature_of(path) == before:
                return content
    except (FileNotFoundError, NotADirectoryError):
        raise Broken(Problem(Cause.MISSING, "there is no such file")) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        raise Broken(Problem(Cause.UNREADABLE, f"cannot be read ({reason})")) from None
    except ValueError:
        # It has grown since, or was replaced; a name that is none has no signature either.
        if signature_of(path) is None:
            raise Broken(Problem(Cause.MISSING, "there is no such file")) from None
        raise _too_large(limit) from None
    raise Broken(Problem(Cause.UNREADABLE, "changes all the time while it is read"))


def _too_large(limit: int) -> Broken:
    return Broken(Problem(Cause.TOO_LARGE, f"is larger than {limit} bytes"))

"""Claims: who of all processes of a host works on a subject, and what the dead have left undone.

A claim is a locked file, free again when its holder dies. While an attempt is under way the file
says which one, so whoever claims the subject next knows of an attempt that never ended.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from urllib.parse import quote

from app.healing.home import make_directory
from app.healing.locks import exclusive

#: The longest subject that names its file itself.
MAX_NAME = 100
MAX_MARK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Mark:
    """What a claim's file says of the attempt that is under way.

    ``outcome`` is how it ended, where the journal could not be written when it did, and
    ``stopping`` while its holder is about to end. ``step`` is what is being done just now.
    """

    kind: str
    subject: str
    attempt: str
    cause: str
    basis: str
    outcome: str = ""
    step: str = ""


class Claims:
    """The claims under one home. A claim that is held is a descriptor; children may inherit it."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "claims"

    @contextmanager
    def hold(
        self, kind: str, subject: str, wait: float, done: Callable[[], bool] = lambda: False
    ) -> Iterator[int]:
        """Be the only one on this host who works on a subject, for as long as the block lasts.

        Raises:
            Busy: when another does for longer than ``wait`` seconds.
            Overtaken: when ``done``, asked while another does, says that the work is done.
            OSError: when the home cannot be written.
        """
        make_directory(self.directory)
        with exclusive(self._path(kind, subject), wait, done) as descriptor:
            yield descriptor

    def marks(self) -> list[Mark]:
        """The attempts that are under way, by the living or the dead.

        A mark that speaks of another subject than its file is none.
        """
        found = []
        for path in sorted(self.directory.glob("*.*")):
            with suppress(OSError), path.open("rb") as file:
                mark = read_mark(file.fileno())
                if mark is not None and self._path(mark.kind, mark.subject) == path:
                    found.append(mark)
        return found

    def _path(self, kind: str, subject: str) -> Path:
        name = quote(subject, safe="", errors="surrogatepass")
        if len(name) > MAX_NAME:
            name = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()
        return self.directory / f"{kind}.{name}"


def read_mark(claim: int) -> Mark | None:
    """The attempt that is under way, or that a dead holder never ended; a torn mark is none."""
    data = os.pread(claim, MAX_MARK_BYTES, 0)
    with suppress(ValueError, TypeError, RecursionError):
        mark = Mark(**json.loads(data))
        return mark if all(isinstance(value, str) for value in astuple(mark)) else None
    return None


def write_mark(claim: int, mark: Mark | None) -> None:
    """Say which attempt is under way; None when it has ended.

    Raises:
        OSError: when that cannot be written.
    """
    os.ftruncate(claim, 0)
    if mark is not None:
        os.pwrite(claim, json.dumps(asdict(mark)).encode(), 0)

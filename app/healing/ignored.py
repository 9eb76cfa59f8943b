"""Faults that an operator ignores for a while, with a reason and an end.

They stay faults for health, metrics and heals: whoever looks is shown them apart, and why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from app.healing.home import make_directory
from app.healing.locks import exclusive
from app.settings.files import read_bounded, replace_whole

#: What can be ignored at a time: more is no choice any more.
MOST = 1000
MAX_REASON = 200
#: The largest file of them that is read, in bytes.
MAX_FILE = 32 << 20
TEXTS = ("kind", "subject", "cause", "reason", "by", "basis")
#: Seconds that a change waits for another one.
WAIT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A choice to ignore a fault: why, whose, and until when.

    ``until`` is seconds since the epoch; None where it holds until the basis of the kind, such as
    the lock, is no longer ``basis``. A kind without one has nothing that would end it.
    """

    kind: str
    subject: str
    cause: str
    reason: str
    by: str
    at: float
    until: float | None = None
    basis: str = ""


class IgnoredFaults:
    """The choices under one home, in one file that is replaced whole.

    Args:
        home: where the file is.
        basis_of: the basis of a kind as it is now.
    """

    def __init__(self, home: Path, basis_of: Callable[[str], str | None]) -> None:
        self._path = home / "ignored.json"
        self._basis_of = basis_of

    def current(self) -> dict[tuple[str, str, str], Ignored]:
        """Those that have not ended, by kind, subject and cause."""
        now = time.time()
        return {
            (each.kind, each.subject, each.cause): each
            for each in self._read()
            if (
                each.basis and each.basis == self._basis_of(each.kind)
                if each.until is None
                else now < each.until
            )
        }

    def add(self, choice: Ignored) -> None:
        """Ignore a fault from now on; an earlier choice about it ends.

        Raises:
            OSError: when the home cannot be written.
        """
        self._change((choice.kind, choice.subject, choice.cause), choice)

    def remove(self, kind: str, subject: str, cause: str) -> None:
        """Ignore a fault no longer.

        Raises:
            OSError: when the home cannot be written.
        """
        self._change((kind, subject, cause))

    def _change(self, key: tuple[str, str, str], *instead: Ignored) -> None:
        make_directory(self._path.parent)
        with exclusive(self._path.with_name(".ignored.lock"), WAIT):
            current = self.current()
            current.pop(key, None)
            choices = [*current.values(), *instead][-MOST:]
            replace_whole(self._path, json.dumps([asdict(each) for each in choices]).encode())

    def _read(self) -> list[Ignored]:
        with suppress(OSError, ValueError, TypeError, RecursionError):
            found = [Ignored(**each) for each in json.loads(read_bounded(self._path, MAX_FILE))]
            return [
                replace(each, reason=each.reason[:MAX_REASON])
                for each in found
                if all(isinstance(getattr(each, name), str) for name in TEXTS)
                and isinstance(each.until, int | float | None)
            ]
        return []

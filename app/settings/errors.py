"""The errors that this service raises on purpose, one tree from :class:`OrchestratorError`.

::

    OrchestratorError
    ├── SettingsError       a setting has a value that cannot be used
    ├── InvalidModuleName   a name that Python could not import
    ├── LockError           the lock file cannot be read as one
    └── CommandError        a command of the operator: ``code`` and ``exit_code`` are for programs
        ├── Unavailable     something outside is missing or did not answer
        ├── CannotWrite     a file or directory cannot be written; nothing was changed
        └── BadFile         a file holds what cannot be used; the sentence has its line
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

#: A longer name is no name that anybody imports; the bound keeps what reaches the log short.
MAX_SHOWN = 80
ENVIRONMENT = "the environment"
#: A run of characters up to its last ``@``: passwords may have an ``@``, ``/``, ``?`` or ``#`` of
#: their own, and addresses no scheme. A scheme is kept where the run begins with it.
CREDENTIALS = re.compile(
    r"(?<!\S)(?P<scheme>(?:[\w-]+=)?[\"'`(<\[]*[a-z][a-z0-9+.-]*://)?(?P<secret>\S*)@(?=\S)",
    re.IGNORECASE,
)


def without_credentials(text: str, addresses: Iterable[str] = ()) -> str:
    """The text, with dots for the user and the password of each address in it.

    ``addresses`` are those that the text may quote in pieces, as clients do that take a raw ``/``
    or ``#`` in a password for the end of the host: no piece of their credentials stays either.
    """
    pieces: set[str] = set()
    for found in filter(None, map(CREDENTIALS.match, addresses)):
        secret = found["secret"]
        pieces |= {secret, *re.split(r"[:/?#@]", secret), *secret.split(":", 1)}
    pieces |= {unquote(piece) for piece in pieces}
    for piece in sorted(filter(None, pieces), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", "...", text)
    return CREDENTIALS.sub(r"\g<scheme>...@", text)


def shown(value: str) -> str:
    """The value as it may stand in a sentence: one line, bounded, nothing that forges a log.

    An address in it has lost its user and password.
    """
    text = ascii(without_credentials(value))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


class OrchestratorError(Exception):
    """The root of every error that this service raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One setting that cannot be used: its name, its value, what was expected, and the source.

    ``value`` is None where it is a secret, or may be one: it is never shown. ``source`` is where it
    came from, such as ``the environment`` or ``.env line 3``. With one that is ``fatal`` nothing
    can be started: its default would open what should be closed, or leave nothing to serve.
    """

    name: str
    value: str | None
    expected: str
    source: str = ENVIRONMENT
    fatal: bool = True

    def __str__(self) -> str:
        found = (
            "cannot be used, and is not shown" if self.value is None else f"is {shown(self.value)}"
        )
        place = "" if self.source == self.name else f" in {self.source}"
        return f"{self.name}{place} {found}; expected {self.expected}"


class SettingsError(OrchestratorError):
    """One or more settings cannot be used; ``faults`` names them all."""

    def __init__(self, faults: tuple[SettingFault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


def raise_fatal(faults: tuple[SettingFault, ...]) -> None:
    """Raise all of them where one is fatal.

    Raises:
        SettingsError: with every fault.
    """
    if any(fault.fatal for fault in faults):
        raise SettingsError(faults)


class InvalidModuleName(OrchestratorError):
    """``name`` is not an absolute dotted name of Python identifiers."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{shown(name)} is not the name of a Python module")
        self.name = name


class LockError(OrchestratorError):
    """The lock cannot be read; ``line`` counts from 1, and is 0 where no line is to blame."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"lock, line {line}: {reason}" if line else f"lock: {reason}")
        self.line = line
        self.reason = reason


class CommandError(OrchestratorError):
    """A command could not be carried out; whatever it was about is as it was."""

    code = "failed"
    exit_code = 1


class Unavailable(CommandError):
    """A tool, an index or a service is missing or does not answer."""

    code = "unavailable"
    exit_code = 69


class CannotWrite(CommandError):
    """What should be written cannot be: a read-only checkout, a full disk."""

    code = "cannot_write"
    exit_code = 73


class BadFile(CommandError):
    """A file cannot be used as what it should be."""

    code = "bad_file"
    exit_code = 65

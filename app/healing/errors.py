"""The errors of the healing floor.

::

    HealingError
    ├── SettingsError       a setting has a value that cannot be used
    ├── InvalidModuleName   a name that Python could not import
    └── LockError           the lock file cannot be read as one
"""

from __future__ import annotations

from dataclasses import dataclass

#: A longer name is no name that anybody imports; the bound keeps what reaches the log short.
MAX_SHOWN = 80


def shown(value: str) -> str:
    """The value as it may stand in a sentence: one line, bounded, nothing that forges a log."""
    text = ascii(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


class HealingError(Exception):
    """The root of every error that this floor raises on purpose."""


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One setting that cannot be used: its name, what it holds and what was expected."""

    name: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.name} is {shown(self.value)}; expected {self.expected}"


class SettingsError(HealingError):
    """One or more settings cannot be used; ``faults`` names them all."""

    def __init__(self, faults: tuple[SettingFault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class InvalidModuleName(HealingError):
    """``name`` is not an absolute dotted name of Python identifiers."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{shown(name)} is not the name of a Python module")
        self.name = name


class LockError(HealingError):
    """The lock cannot be read; ``line`` counts from 1, and is 0 where no line is to blame."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"lock, line {line}: {reason}" if line else f"lock: {reason}")
        self.line = line
        self.reason = reason

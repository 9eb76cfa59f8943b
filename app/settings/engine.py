"""The engine's settings: each environment variable is read here, once, beside its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.settings.environment import Environment
from app.settings.variable import Reader, Variable, absolute_path, directory, flag, one_of

#: The directory that holds ``app/``, the lock and, by default, the auto-fix home.
PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_HOME = PROJECT_ROOT / "instance" / "auto-fix"
DEFAULT_LOCK = PROJECT_ROOT / "requirements-flask.lock"


class Mode(StrEnum):
    """What the engine may do about a fault."""

    HEAL = "heal"
    REPORT = "report"
    OFF = "off"


AUTO_FIX_MODE = Variable(
    "AUTO_FIX_MODE",
    Mode.HEAL,
    one_of(*Mode),
    "heal, report or off",
    "whether faults are healed, only reported with what would be done, or left alone",
)
AUTO_FIX_HOME = Variable(
    "AUTO_FIX_HOME",
    DEFAULT_HOME,
    absolute_path,
    "a path",
    "where fixes, history and locks are kept",
    shown_default="instance/auto-fix",
)
AUTO_FIX_LOCK = Variable(
    "AUTO_FIX_LOCK",
    DEFAULT_LOCK,
    absolute_path,
    "a path",
    "the hashed lock that a heal installs by",
    shown_default="requirements-flask.lock",
)
AUTO_FIX_WHEELHOUSE: Variable[Path | None] = Variable(
    "AUTO_FIX_WHEELHOUSE",
    None,
    directory,
    "a directory of wheels that exists",
    "a directory of wheels; with it no index is asked",
)
AUTO_FIX_ALLOW_UNLOCKED = Variable(
    "AUTO_FIX_ALLOW_UNLOCKED",
    default=False,
    parse=flag,
    expected="true or false",
    meaning="true lets a heal install without a lock",
)
#: The engine's settings, in the documented order.
VARIABLES: tuple[Variable[Any], ...] = (
    AUTO_FIX_MODE,
    AUTO_FIX_HOME,
    AUTO_FIX_LOCK,
    AUTO_FIX_WHEELHOUSE,
    AUTO_FIX_ALLOW_UNLOCKED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingSettings:
    """Where the engine keeps its state and how far it may go. Durations are seconds."""

    mode: Mode = AUTO_FIX_MODE.default
    home: Path = AUTO_FIX_HOME.default
    lock: Path = AUTO_FIX_LOCK.default
    wheelhouse: Path | None = AUTO_FIX_WHEELHOUSE.default
    allow_unlocked: bool = AUTO_FIX_ALLOW_UNLOCKED.default
    install_deadline: float = 300.0
    probe_deadline: float = 30.0
    #: The installers that may be used, the preferred one first.
    tools: tuple[str, ...] = ("uv", "pip")
    #: The largest file that an installer may write: bounds a body that never ends.
    max_file_bytes: int = 1 << 30

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> HealingSettings:
        """Read the settings; unset and blank both mean the default.

        Raises:
            SettingsError: naming every variable whose value cannot be used.
        """
        read = Reader(Environment.of(environ))
        settings = cls.read(read)
        read.check()
        return settings

    @classmethod
    def read(cls, read: Reader) -> HealingSettings:
        """The settings, with defaults where they are wrong: the reader knows the faults."""
        return cls(
            mode=read(AUTO_FIX_MODE),
            home=read(AUTO_FIX_HOME),
            lock=read(AUTO_FIX_LOCK),
            wheelhouse=read(AUTO_FIX_WHEELHOUSE),
            allow_unlocked=read(AUTO_FIX_ALLOW_UNLOCKED),
        )

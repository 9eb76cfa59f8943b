"""The engine's settings: each environment variable is read here, once, beside its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.healing.errors import SettingFault, SettingsError

#: The directory that holds ``app/``, the lock and, by default, the auto-fix home.
PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_HOME = PROJECT_ROOT / "instance" / "auto-fix"
DEFAULT_LOCK = PROJECT_ROOT / "requirements-flask.lock"
YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"", "0", "false", "no", "off"})


class Mode(StrEnum):
    """What the engine may do about a fault."""

    HEAL = "heal"
    REPORT = "report"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingSettings:
    """Where the engine keeps its state and how far it may go. Durations are seconds."""

    mode: Mode = Mode.HEAL
    home: Path = DEFAULT_HOME
    lock: Path = DEFAULT_LOCK
    wheelhouse: Path | None = None
    allow_unlocked: bool = False
    install_deadline: float = 300.0
    probe_deadline: float = 30.0
    #: The installers that may be used, the preferred one first.
    tools: tuple[str, ...] = ("uv", "pip")
    #: The largest file that an installer may write: bounds a body that never ends.
    max_file_bytes: int = 1 << 30

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> HealingSettings:
        """Read the settings; unset and empty both mean the default.

        Raises:
            SettingsError: naming every variable whose value cannot be used.
        """
        reader = _Reader(environ)
        settings = cls(
            mode=reader.mode("AUTO_FIX_MODE"),
            home=reader.path("AUTO_FIX_HOME", DEFAULT_HOME),
            lock=reader.path("AUTO_FIX_LOCK", DEFAULT_LOCK),
            wheelhouse=reader.directory("AUTO_FIX_WHEELHOUSE"),
            allow_unlocked=reader.flag("AUTO_FIX_ALLOW_UNLOCKED"),
        )
        if reader.faults:
            raise SettingsError(tuple(reader.faults))
        return settings


class _Reader:
    """Reads typed values and collects every fault, so that all are told at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[SettingFault] = []

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _fault(self, name: str, expected: str) -> None:
        self.faults.append(SettingFault(name, self._text(name), expected))

    def mode(self, name: str) -> Mode:
        text = self._text(name).lower()
        if text and text not in set(Mode):
            self._fault(name, "heal, report or off")
            return Mode.REPORT
        return Mode(text) if text else Mode.HEAL

    def path(self, name: str, default: Path) -> Path:
        text = self._text(name)
        if "\0" in text:
            self._fault(name, "a path")
            return default
        return Path(text).absolute() if text else default

    def directory(self, name: str) -> Path | None:
        path = self.path(name, Path())
        if path == Path():
            return None
        if not path.is_dir():
            self._fault(name, "a directory of wheels that exists")
        return path

    def flag(self, name: str) -> bool:
        text = self._text(name).lower()
        if text not in YES | NO:
            self._fault(name, "true or false")
        return text in YES

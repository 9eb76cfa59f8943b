"""One kind of setting for the engine and the service: its name, default, bounds and meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from app.settings.environment import Environment, read_small
from app.settings.errors import SettingFault, SettingsError, without_credentials

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)
DEFAULT = "default"
YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"0", "false", "no", "off"})
MAX_DIGITS = 10
#: Linux's PATH_MAX.
MAX_PATH = 4096
#: What servers take as a request line; nobody means a longer address.
MAX_URL = 2048
MAX_SECRET_BYTES = 1 << 16


class SecretForm(StrEnum):
    """How a secret can be given beside its own variable."""

    #: Not at all.
    VALUE = "value"
    #: In a file that NAME_FILE names; it is read once, one line break at its end is dropped.
    FILE = "file"
    #: In a file that NAME_FILE names, which is a variable of its own: who uses it reads it again
    #: when it changes.
    FOLLOWED = "followed"


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What came of one variable: its value, where it came from, and why it cannot be used.

    With a fault the value is the default.
    """

    value: T = field(repr=False)
    source: str = DEFAULT
    fault: SettingFault | None = None


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """One setting: what it is called, what it falls back to, what it may hold.

    ``parse`` turns a text that is not blank into the value and raises ValueError where it cannot.
    A secret's value is never shown. With ``form`` a file may hold the secret: see ``SecretForm``.
    ``shown_default`` stands in the documentation for a default that depends on the host.
    """

    name: str
    default: T
    parse: Callable[[str], T]
    expected: str
    meaning: str
    secret: bool = False
    form: SecretForm = SecretForm.VALUE
    shown_default: str | None = None

    @property
    def file_name(self) -> str:
        """The variable that names the file with this secret."""
        return f"{self.name}_FILE"

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that can set it; two of them at once contradict each other."""
        return (self.name,) if self.form is SecretForm.VALUE else (self.name, self.file_name)

    def read(self, environ: Environment) -> Reading[T]:
        """The value; unset and blank both mean the default."""
        named = [name for name in self.names if environ.text(name)]
        if len(named) > 1:
            return self._fault(f"{' or '.join(named)}, not both", environ.source(self.name))
        if named == [self.file_name]:
            return self._read_file(environ)
        return self._parsed(environ.text(self.name), environ.source(self.name))

    def _read_file(self, environ: Environment) -> Reading[T]:
        if self.form is SecretForm.FOLLOWED:
            return Reading(self.default)
        try:
            text = _secret(environ.text(self.file_name))
        except ValueError as error:
            source = environ.source(self.file_name)
            # Not even the path is shown: somebody may have put the secret itself there.
            fault = SettingFault(self.file_name, None, str(error), source)
            return Reading(self.default, source, fault)
        return self._parsed(text, f"the file that {self.file_name} names")

    def _parsed(self, text: str, source: str) -> Reading[T]:
        if not text:
            return Reading(self.default)
        try:
            return Reading(self.parse(text), source)
        except ValueError:
            return self._fault(self.expected, source, text)

    def _fault(self, expected: str, source: str, text: str = "") -> Reading[T]:
        fault = SettingFault(self.name, None if self.secret else text, expected, source)
        return Reading(self.default, source, fault)

    def show(self, value: T) -> str | None:
        """The value for people, None where there is none; of a secret only that it is set."""
        if value is None or value == ():
            return None
        return "set" if self.secret else without_credentials(plain(value))


def _secret(name: str) -> str:
    """What the file holds, or ValueError with what was expected of it."""
    try:
        text = read_small(Path(name), MAX_SECRET_BYTES).decode()
    except (OSError, ValueError):
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ValueError("the path of a file that can be read and holds the secret, in UTF-8")
    return text


@dataclass(slots=True)
class Reader:
    """Reads one variable after the other and collects the faults, so that all are told at once."""

    environ: Environment
    faults: list[SettingFault] = field(default_factory=list)

    def __call__(self, variable: Variable[T]) -> T:
        """The variable's value, its default where it is wrong."""
        reading = variable.read(self.environ)
        if reading.fault is not None:
            self.faults.append(reading.fault)
        return reading.value

    def check(self) -> None:
        """Raise what is wrong, with the file behind the environment or with a variable.

        Raises:
            SettingsError: with all faults.
        """
        if faults := (*self.environ.faults, *self.faults):
            raise SettingsError(faults)


def plain(value: object) -> str:
    """A value as an operator would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """A parser of decimal digits within the bounds."""

    def parse(text: str) -> int:
        # int() also takes "1_0", "+1" and other scripts' digits, which nobody means here.
        if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
            raise ValueError
        if not lowest <= int(text) <= highest:
            raise ValueError
        return int(text)

    return parse


def one_of(*choices: Choice) -> Callable[[str], Choice]:
    """A parser of words in any case."""

    def parse(text: str) -> Choice:
        for choice in choices:
            if choice.lower() == text.lower():
                return choice
        raise ValueError

    return parse


def flag(text: str) -> bool:
    """Yes or no, in the usual words."""
    if text.lower() not in YES | NO:
        raise ValueError
    return text.lower() in YES


def path(text: str) -> Path:
    """A path, whether anything is there or not."""
    if "\0" in text or len(text) > MAX_PATH:
        raise ValueError
    return Path(text)


def absolute_path(text: str) -> Path:
    """A path from the root; a relative one begins where the process was started."""
    return path(text).absolute()


def directory(text: str) -> Path:
    """An existing directory."""
    place = absolute_path(text)
    if not place.is_dir():
        raise ValueError
    return place


def url(text: str) -> str:
    """An address of the web."""
    known = text.lower().startswith(("http://", "https://"))
    if not known or not text.isprintable() or len(text) > MAX_URL:
        raise ValueError
    return text

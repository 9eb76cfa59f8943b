"""What one setting is: a variable's name, its default, how its value is written, what it means.

A class of settings is a dataclass whose fields are declared with :func:`setting`; reading it, its
documentation and the faults of its values all come from these declarations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from app.settings.errors import SettingFault, raise_fatal, without_credentials
from app.settings.files import read_bounded
from app.settings.sources import Environment

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Choice = TypeVar("Choice", bound=str)
TokenPair = tuple[str, str]
DEFAULT = "default"
#: What a field's metadata has its variable under.
VARIABLE = "variable"
YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"0", "false", "no", "off"})
MAX_DIGITS = 10
#: Linux's PATH_MAX.
MAX_PATH = 4096
#: What servers take as a request line; nobody means a longer address.
MAX_URL = 2048
MAX_SECRET_BYTES = 1 << 16
SECRET_FILE = "the path of a file that can be read and holds the secret, in UTF-8"  # noqa: S105
TOKEN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Servers bound a header at 8 KiB or less, so no client could send a longer one.
TOKEN = re.compile(r"[!-~]{1,4096}")
#: What the only token of a file is called when the file gives it no name.
FILE_NAME = "file"


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
class Syntax(Generic[T_co]):
    """How a value is written.

    ``parse`` turns a text that is not blank into the value and raises ValueError where it cannot;
    ``expected`` says in words what it takes.
    """

    parse: Callable[[str], T_co]
    expected: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The value of one variable, where it came from, and why it cannot be used.

    With a fault the value is the default.
    """

    value: T = field(repr=False)
    source: str = DEFAULT
    fault: SettingFault | None = None


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """One setting: what it is called, what it falls back to, what it may hold, what it means.

    A secret's value is never shown. With ``form`` a file may hold the secret: see ``SecretForm``.
    ``shown_default`` stands in the documentation for a default that depends on the host. A value
    that cannot be used ends the start where that is ``fatal``; elsewhere the default counts.
    """

    name: str
    default: T
    syntax: Syntax[T]
    meaning: str
    secret: bool = False
    form: SecretForm = SecretForm.VALUE
    shown_default: str | None = None
    fatal: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that can set it; two of them at once contradict each other."""
        return (self.name,) if self.form is SecretForm.VALUE else (self.name, f"{self.name}_FILE")

    @property
    def own_names(self) -> tuple[str, ...]:
        """Those of them that are no other setting's: a followed file has a declaration itself."""
        return self.names if self.form is SecretForm.FILE else (self.name,)

    @property
    def documented_default(self) -> str:
        """The default as an operator would write it, empty where there is none."""
        if self.shown_default is not None:
            return self.shown_default
        return "" if self.default in (None, ()) else _plain(self.default)

    def read(self, environ: Environment) -> Reading[T]:
        """The value; unset and blank both mean the default."""
        given = [name for name in self.names if environ.text(name)]
        if not given or (self.form is SecretForm.FOLLOWED and given == [f"{self.name}_FILE"]):
            return Reading(self.default)
        name, text, source = given[0], environ.text(given[0]), environ.source(given[0])
        if len(given) > 1:
            return self._unusable(name, None, f"{' or '.join(given)}, not both", source)
        if name != self.name:
            try:
                text = read_bounded(Path(text), MAX_SECRET_BYTES).decode()
            except (OSError, ValueError):
                text = ""
            text = text.removesuffix("\n").removesuffix("\r")
            if not text.strip():
                # Not even the path is shown: somebody may have put the secret itself there.
                return self._unusable(name, None, SECRET_FILE, source)
            source = f"the file that {name} names"
        try:
            return Reading(self.syntax.parse(text), source)
        except ValueError:
            shown = None if self.secret else text
            return self._unusable(self.name, shown, self.syntax.expected, source)

    def _unusable(self, name: str, shown: str | None, expected: str, source: str) -> Reading[T]:
        fault = SettingFault(name, shown, expected, source, self.fatal)
        return Reading(self.default, source, fault)

    def show(self, value: T) -> str | None:
        """The value for people, None where there is none; of a secret only that it is set."""
        if value is None or value == ():
            return None
        return "set" if self.secret else without_credentials(_plain(value))


def setting(  # noqa: PLR0913 - all that a declaration says
    name: str,
    default: T,
    syntax: Syntax[T],
    meaning: str,
    *,
    secret: bool = False,
    form: SecretForm = SecretForm.VALUE,
    shown_default: str | None = None,
    fatal: bool = False,
) -> T:
    """Declare a field of a :class:`Declared` class: the arguments are those of its Variable."""
    variable = Variable(name, default, syntax, meaning, secret, form, shown_default, fatal)
    return field(default=default, repr=not secret, metadata={VARIABLE: variable})


@dataclass(frozen=True, slots=True)
class Declared:
    """A dataclass of settings. Its fields are settings, other such classes, or have a default."""

    @classmethod
    def variables(cls) -> Iterator[Variable[Any]]:
        """The variables of the fields, in their order."""
        for one in fields(cls):
            if VARIABLE in one.metadata:
                yield one.metadata[VARIABLE]
            elif (nested := _nested(one)) is not None:
                yield from nested.variables()

    @classmethod
    def read(cls, environ: Environment) -> tuple[Self, tuple[SettingFault, ...]]:
        """The settings, with defaults where they are wrong, and what is wrong with each."""
        values: dict[str, Any] = {}
        faults: list[SettingFault] = []
        for one in fields(cls):
            if VARIABLE in one.metadata:
                reading: Reading[Any] = one.metadata[VARIABLE].read(environ)
                values[one.name] = reading.value
                faults += [reading.fault] if reading.fault else []
            elif (nested := _nested(one)) is not None:
                values[one.name], more = nested.read(environ)
                faults += more
        return cls(**values), tuple(faults)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; unset and blank both mean the default, as does what cannot be used.

        Raises:
            SettingsError: one of the faults is fatal. It names every variable whose value cannot
                be used, with the value (never a secret), what was expected and where it came from.
        """
        environment = Environment.of(environ)
        settings, faults = cls.read(environment)
        raise_fatal((*environment.faults, *faults))
        return settings


def _nested(one: Field[Any]) -> type[Declared] | None:
    """The class of the field's settings, None where it has another kind of value."""
    made_by: object = one.default_factory
    return made_by if isinstance(made_by, type) and issubclass(made_by, Declared) else None


def _plain(value: object) -> str:
    """A value as an operator would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def whole_number(lowest: int, highest: int) -> Syntax[int]:
    """Decimal digits within the bounds."""

    def parse(text: str) -> int:
        # int() also takes "1_0", "+1" and other scripts' digits, which nobody means here.
        if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
            raise ValueError
        if not lowest <= int(text) <= highest:
            raise ValueError
        return int(text)

    return Syntax(parse, f"{lowest} to {highest}")


def one_of(*choices: Choice) -> Syntax[Choice]:
    """One of the words, in any case."""

    def parse(text: str) -> Choice:
        for choice in choices:
            if choice.lower() == text.lower():
                return choice
        raise ValueError

    return Syntax(parse, f"{', '.join(choices[:-1])} or {choices[-1]}")


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


def parse_token(text: str) -> str:
    """A bearer token: visible ASCII without spaces, no longer than a header may be.

    Raises:
        ValueError: it is something else, or empty; the text is not quoted, it may be a token.
    """
    if not TOKEN.fullmatch(text):
        raise ValueError("expected visible ASCII characters without spaces")
    return text


def parse_tokens(text: str) -> tuple[TokenPair, ...]:
    """The pairs of ``name:token,name:token``, in their order; no token has a comma here.

    A name has 1 to 64 letters, digits, dots, underscores and hyphens.

    Raises:
        ValueError: one is no such pair, or two have the same name.
    """
    return _pairs(entry.strip() for entry in text.split(","))


def parse_token_file(text: str) -> tuple[TokenPair, ...]:
    """The tokens of a file: ``name:token`` on each line, or a single token alone.

    Blank lines and those that begin with ``#`` are left out. A line with a colon is a pair.

    Raises:
        ValueError: a line is neither, two names are the same, or there is no token.
    """
    stripped = [line.strip() for line in text.splitlines()]
    lines = [line for line in stripped if line and not line.startswith("#")]
    if not lines:
        raise ValueError("expected a token")
    if len(lines) == 1 and ":" not in lines[0]:
        return ((FILE_NAME, parse_token(lines[0])),)
    return _pairs(lines)


def _pairs(texts: Iterable[str]) -> tuple[TokenPair, ...]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, colon, token = text.partition(":")
        if not colon or not TOKEN_NAME.fullmatch(name):
            raise ValueError("expected name:token")
        if name in pairs:
            raise ValueError("expected each name once")
        pairs[name] = parse_token(token)
    return tuple(pairs.items())

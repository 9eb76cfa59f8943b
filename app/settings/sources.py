r"""Where settings come from: the process's environment and, behind it, a ``.env`` file.

The file has one ``NAME=value`` a line, ``export`` in front of it allowed, empty lines and ``#``
comments too::

    PORT=8080                 # a comment begins with a # behind a space
    export LOG_LEVEL=debug
    AUTO_FIX_HOME='/var/lib/auto fix'
    GREETING="two lines:\nsaid \"here\", with one \\"

In single quotes everything stands for itself. In double quotes ``\"``, ``\\`` and ``\n`` are a
quote, a backslash and a line break. Nothing is put in the place of ``$NAME``. Of a name that is set
twice the last value counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from app.settings.errors import ENVIRONMENT, SettingFault, shown
from app.settings.files import read_bounded

#: The variable that names the file.
ENV_FILE = "ENV_FILE"
#: Set for processes that begin later: the file that was read, and, with spaces between them, the
#: variables that a file gave a value and nobody else, and those whose value could not be used and
#: was replaced by the default.
ENV_FILE_READ, ENVIRONMENT_FOLLOWED = "ENV_FILE_READ", "ENVIRONMENT_FOLLOWED"
ENVIRONMENT_REPLACED = "ENVIRONMENT_REPLACED"
MAX_ENV_FILE_BYTES = 1 << 18
READABLE = f"a file that can be read, of at most {MAX_ENV_FILE_BYTES >> 10} KiB"
#: Names that begin so are this project's, so one that is nearly a setting's is misspelled.
PREFIX = "AUTO_FIX_"
#: How alike, by difflib's measure, what follows the prefix has to be: TOKNE is TOKEN, FOO nothing.
ALIKE = 0.7

ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.ASCII)
#: What may stand behind a quoted value.
REST = r"[ \t]*(?:[ \t]#.*)?"
SINGLE = re.compile(rf"'([^']*)'{REST}")
DOUBLE = re.compile(rf'"((?:[^"\\]|\\.)*)"{REST}')
COMMENT = re.compile(r"(?:^|(?<![ \t])[ \t]+)#.*")
ESCAPE = re.compile(r'\\(["\\n])')


@dataclass(frozen=True, slots=True)
class Entry:
    """One assignment of a ``.env`` file; ``line`` counts from 1. The value may be a secret."""

    name: str
    value: str = field(repr=False)
    line: int


@dataclass(frozen=True, slots=True)
class Dotenv:
    """What a ``.env`` file sets, in its order, and a fault for each line that cannot be read."""

    entries: tuple[Entry, ...] = ()
    faults: tuple[SettingFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Misspelling:
    """A variable that is no setting but looks like one; ``meant`` is that one."""

    name: str
    meant: str
    source: str

    def __str__(self) -> str:
        return f"{shown(self.name)} in {self.source} is not a setting; {self.meant} is"


class Environment(Mapping[str, str]):
    """A snapshot of variables that knows where each of them came from.

    Attributes:
        added: what the ``.env`` file sets and the process's environment does not.
        faults: what is wrong with the file itself.
        file: that file, None where none was asked for.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        added: Mapping[str, str] = MappingProxyType({}),
        places: Mapping[str, str] = MappingProxyType({}),
        faults: tuple[SettingFault, ...] = (),
        file: Path | None = None,
    ) -> None:
        self.file = file
        self.added = added
        self.faults = faults
        self._values = {**environ, **added}
        self._places = places

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Environment:
        """``environ`` itself where it is one, else one without a file behind it."""
        return environ if isinstance(environ, cls) else cls(environ)

    @classmethod
    def with_file(
        cls, environ: Mapping[str, str], settings: Sequence[Sequence[str]], default: Path
    ) -> Environment:
        """Read the file that ``ENV_FILE`` names, else ``default`` where there is one.

        The environment comes first. For a setting blank counts as unset, as everywhere, and what
        sets a secret in one way hides the other way in the file too.

        Args:
            environ: the process's environment.
            settings: the names of each setting: its own and, of a secret, the one for a file.
            default: the file that need not exist.
        """
        named = environ.get(ENV_FILE, "").strip()
        file = Path(named or default)
        label = file.name if file.name.isprintable() else shown(file.name)
        read = Dotenv() if named == os.devnull else _read(file, label, named=bool(named))
        set_already = {*environ}
        for names in settings:
            set_already.difference_update(names)
            if any(environ.get(name, "").strip() for name in names):
                set_already.update(names)
        added = {e.name: e.value for e in read.entries if e.name not in set_already}
        # Flask's own program may have put the same values there before anything of ours runs, so
        # one that both have alike counts as the file's.
        there = {**environ, **added}
        places = {
            entry.name: f"{label} line {entry.line}"
            for entry in read.entries
            if there.get(entry.name) == entry.value
        }
        # A file cannot name the file to read in its place.
        expected = "it to be set outside of the file"
        misplaced = (
            SettingFault(ENV_FILE, entry.value, expected, f"{label} line {entry.line}")
            for entry in read.entries
            if entry.name == ENV_FILE
        )
        followed = None if named == os.devnull else file.absolute()
        return cls(environ, added, places, (*read.faults, *misplaced), followed)

    @property
    def marks(self) -> Mapping[str, str]:
        """The variables that say what was read of the file, to who does not read it again."""
        if self.file is None:
            return {}
        return {ENV_FILE_READ: str(self.file), ENVIRONMENT_FOLLOWED: " ".join(self.added)}

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, name: str) -> str:
        """The variable's text without the space around it; empty where it is unset or blank."""
        return self._values.get(name, "").strip()

    def source(self, name: str) -> str:
        """Where the variable's value came from."""
        return self._places.get(name, ENVIRONMENT)

    def misspellings(self, known: Collection[str]) -> tuple[Misspelling, ...]:
        """The variables that were probably meant to be one of the ``known`` settings."""
        strangers = [name for name in self if name.upper().startswith(PREFIX) and name not in known]
        if not strangers:
            return ()
        # Imported here because hardly any environment has such a name.
        from difflib import get_close_matches

        ours = {name.removeprefix(PREFIX): name for name in known if name.startswith(PREFIX)}
        return tuple(
            Misspelling(name, ours[nearest], self.source(name))
            for name in sorted(strangers)
            for nearest in get_close_matches(name.upper().removeprefix(PREFIX), ours, 1, ALIKE)
        )


def _read(file: Path, label: str, *, named: bool) -> Dotenv:
    try:
        return parse(read_bounded(file, MAX_ENV_FILE_BYTES), label)
    except (OSError, ValueError) as error:
        if named:
            return Dotenv(faults=(SettingFault(ENV_FILE, str(file), READABLE),))
        # A directory of the default's name is somebody's virtual environment.
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            return Dotenv()
        return Dotenv(faults=(SettingFault(label, None, READABLE, label),))


def parse(data: bytes, name: str) -> Dotenv:
    """Read the bytes of the ``.env`` file that is called ``name``; nothing in it raises.

    A fault says the line and what was expected there, never what the line holds.
    """
    entries: list[Entry] = []
    faults: list[SettingFault] = []
    # Only a line feed ends a line: splitlines() would count a form feed in a value as one.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            if assignment := _assignment(line.removesuffix(b"\r")):
                entries.append(Entry(*assignment, number))
        except ValueError as expected:
            place = f"{name} line {number}"
            faults.append(SettingFault(place, None, str(expected), place))
    return Dotenv(tuple(entries), tuple(faults))


def _assignment(line: bytes) -> tuple[str, str] | None:
    """The name and the value, None where the line has none.

    Raises:
        ValueError: with what was expected of the line.
    """
    try:
        line.decode()
    except UnicodeDecodeError:
        raise ValueError("UTF-8") from None
    # As os.environ reads it, so that a child gets the same bytes whatever the locale.
    text = os.fsdecode(line).strip(" \t")
    # No environment can hold a NUL, and a lone carriage return is another file's line end.
    if "\0" in text or "\r" in text:
        raise ValueError("text without NUL and carriage return")
    if not text or text.startswith("#"):
        return None
    match = ASSIGNMENT.fullmatch(text)
    if match is None:
        raise ValueError("NAME=value, a comment or nothing")
    name, value = match.groups()
    if not value.startswith(("'", '"')):
        return name, COMMENT.sub("", value)
    quoted = (SINGLE if value.startswith("'") else DOUBLE).fullmatch(value)
    if quoted is None:
        raise ValueError("a closing quote, and nothing but a comment behind it")
    if quoted.re is SINGLE:
        return name, quoted[1]
    return name, ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], quoted[1])

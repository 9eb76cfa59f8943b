"""Where settings come from: the process's environment and, behind it, a ``.env`` file."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from app.settings.dotenv import Dotenv, parse
from app.settings.errors import ENVIRONMENT, SettingFault, shown

ENV_FILE = "ENV_FILE"
MAX_ENV_FILE_BYTES = 1 << 18
READABLE = f"a file that can be read, of at most {MAX_ENV_FILE_BYTES >> 10} KiB"
#: Names that begin so are this project's, so one that is nearly a setting's is a slip.
PREFIX = "AUTO_FIX_"
#: How alike, by difflib's measure, what follows the prefix has to be: TOKNE is TOKEN, FOO nothing.
ALIKE = 0.7


@dataclass(frozen=True, slots=True)
class Slip:
    """A name that is no setting but looks like one; ``meant`` is that one."""

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
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        added: Mapping[str, str] = MappingProxyType({}),
        places: Mapping[str, str] = MappingProxyType({}),
        faults: tuple[SettingFault, ...] = (),
    ) -> None:
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
        read = _read(file, label, named=bool(named))
        forms = {name: names for names in settings for name in names}
        added = {
            entry.name: entry.value
            for entry in read.entries
            if not _decided(entry.name, environ, forms)
        }
        # Flask's own program may have put the same values there before anything of ours runs, so
        # one that both have alike counts as the file's.
        there = {**environ, **added}
        places = {
            entry.name: f"{label} line {entry.line}"
            for entry in read.entries
            if there.get(entry.name) == entry.value
        }
        return cls(environ, added, places, (*read.faults, *_misplaced(read, label)))

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

    def slips(self, known: Collection[str]) -> tuple[Slip, ...]:
        """The variables that were probably meant to be one of the ``known`` settings."""
        strangers = (name for name in self if name.upper().startswith(PREFIX) and name not in known)
        found = ((name, _nearest(name, known)) for name in sorted(strangers))
        return tuple(Slip(name, meant, self.source(name)) for name, meant in found if meant)


def read_small(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, or its name is none.
    """
    if path.is_fifo():
        # To open one that nobody writes to would wait for ever.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError
    return data


def _read(file: Path, label: str, *, named: bool) -> Dotenv:
    try:
        return parse(read_small(file, MAX_ENV_FILE_BYTES), label)
    except (OSError, ValueError) as error:
        # A directory of the default's name is somebody's virtual environment.
        absent = isinstance(error, FileNotFoundError | IsADirectoryError)
    if absent and not named:
        return Dotenv((), ())
    fault = SettingFault(label, None, READABLE, label)
    return Dotenv((), (SettingFault(ENV_FILE, str(file), READABLE) if named else fault,))


def _misplaced(read: Dotenv, label: str) -> Iterator[SettingFault]:
    """A file cannot name the file to read in its place."""
    for entry in read.entries:
        if entry.name == ENV_FILE:
            expected = "it to be set outside of the file"
            yield SettingFault(ENV_FILE, entry.value, expected, f"{label} line {entry.line}")


def _decided(name: str, environ: Mapping[str, str], forms: Mapping[str, Sequence[str]]) -> bool:
    if name not in forms:
        return name in environ
    return any(environ.get(one, "").strip() for one in forms[name])


def _nearest(name: str, known: Collection[str]) -> str | None:
    # Imported here because hardly any environment has such a name.
    from difflib import get_close_matches

    ours = {one.removeprefix(PREFIX): one for one in known if one.startswith(PREFIX)}
    given = name.upper().removeprefix(PREFIX)
    return next((ours[one] for one in get_close_matches(given, ours, 1, ALIKE)), None)

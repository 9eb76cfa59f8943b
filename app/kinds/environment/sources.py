"""Where the values of declared variables come from; all files are followed.

The first of these counts that has one: the process's environment, the file that ``NAME_FILE``
names, a file ``NAME`` in the directory of mounted secrets, and the ``.env`` file. ``.env.example``
beside that one says which values are placeholders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.settings.files import read_bounded, signature_of
from app.settings.sources import (
    ENV_FILE_READ,
    ENVIRONMENT_FOLLOWED,
    MAX_ENV_FILE_BYTES,
    parse,
)

#: No variable that a process gets is longer on Linux.
MAX_BYTES = 1 << 17
SOURCES = "the environment, {}_FILE, the mounted secrets, .env"


@dataclass(frozen=True, slots=True)
class Found:
    """What the sources say of a variable; ``text`` is None where none of them has a usable one.

    ``given`` says that the process's own environment has it.
    """

    text: str | None = field(default=None, repr=False)
    source: str = ""
    given: bool = False
    contradicts: bool = False
    unreadable: bool = False


class Sources:
    """The sources of one process.

    Args:
        environ: the process's environment; what it holds now is what was given to the process, but
            for what it says was put there from files.
        secrets: the directory of mounted secrets.
    """

    def __init__(self, environ: Mapping[str, str], secrets: Path) -> None:
        followed = environ.get(ENVIRONMENT_FOLLOWED, "").split()
        self.given = {name for name in environ.keys() - followed if environ[name].strip()}
        self._environ = environ
        self._secrets = secrets
        self._env_file = Path(environ.get(ENV_FILE_READ, os.devnull))
        self._example_file = Path(f"{self._env_file}.example")
        #: What the example beside the ``.env`` file has in the place of values.
        self.examples: Mapping[str, str] = {}
        self._mounted: frozenset[str] = frozenset()
        self._dotenv: Mapping[str, str] = {}
        #: What was looked at since the last change, with what it was then.
        self._seen: dict[Path, object] | None = None

    def refresh(self) -> bool:
        """Look at every file that counts, one ``stat`` each; whether one may say something else."""
        if self._seen is not None and all(
            signature_of(path) == seen for path, seen in self._seen.items()
        ):
            return False
        # Taken before they are read, so that a change meanwhile is seen the next time.
        followed = (self._secrets, self._env_file, self._example_file)
        self._seen = {path: signature_of(path) for path in followed}
        self._mounted = frozenset()
        with suppress(OSError):
            self._mounted = frozenset(path.name for path in self._secrets.iterdir())
        self._dotenv, self.examples = _entries(self._env_file), _entries(self._example_file)
        return True

    def find(self, name: str) -> Found:
        """What the first source says that has the variable; blank counts as unset."""
        file = f"{name}_FILE"
        given = name in self.given
        if file in self.given:
            if given:
                return Found(given=True, contradicts=True)
            return self._read(Path(self._environ[file].strip()), f"the file that {file} names")
        text = self._dotenv.get(name, "")
        if given:
            # Flask's own program may have put it there from the file before this one was asked.
            source = ".env" if self._environ[name] == text else "the environment"
            return Found(self._environ[name], source, given=True)
        if name in self._mounted:
            return self._read(self._secrets / name, "the mounted secret")
        return Found(text, ".env") if text.strip() else Found()

    def _read(self, path: Path, source: str) -> Found:
        if self._seen is not None:
            self._seen[path] = signature_of(path)
        try:
            text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")
        except (OSError, ValueError):
            text = "\0"
        text = text.removesuffix("\n").removesuffix("\r")
        # No process could be given a NUL.
        if "\0" in text:
            return Found(source=source, unreadable=True)
        return Found(text, source) if text.strip() else Found()


def _entries(file: Path) -> Mapping[str, str]:
    """What a ``.env`` file sets; nothing where it cannot be read."""
    try:
        read = parse(read_bounded(file, MAX_ENV_FILE_BYTES), ".env")
    except (OSError, ValueError):
        return {}
    return {entry.name: entry.value for entry in read.entries}

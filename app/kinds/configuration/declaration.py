"""What the manifest declares of a file.

::

    [file.pricing]
    path = "config/pricing.toml"           # ${VARIABLE} in it is replaced from the environment
    format = "toml"                        # or json, yaml, ini, env; that of the suffix if left out
    schema = "config/pricing.schema.json"  # a JSON Schema, or "package.module:Type"
    entries = "/functions"                 # the table or list whose members stand alone
    revocable = true                       # an older version of it is never served
    help = "Prices of the shop."

Relative paths count from the directory of the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kinds.configuration.causes import parse_pointer
from app.kinds.configuration.formats import Format, format_of
from app.manifest import NAME, Table, Unusable

#: The manifest's table of them, and the key under which a blueprint names those that it needs.
TABLE, NEED = "file", "files"
TEXTS, REVOCABLE = ("path", "format", "schema", "entries", "help"), "revocable"
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """One declared file.

    ``path`` may have variables in it. ``schema`` is None where nothing checks the content.
    ``entries`` is the JSON pointer to the collection whose members stand alone, None where the file
    counts as a whole.
    """

    name: str
    path: str
    format: Format
    schema: str | None = None
    entries: str | None = None
    revocable: bool = False
    help: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that its path has."""
        return tuple(VARIABLE.findall(self.path))

    def location(self, root: Path, environ: Mapping[str, str]) -> Path:
        """Where the file is now, for a manifest in ``root``.

        Raises:
            KeyError: a variable of its path is not set.
        """
        return root / VARIABLE.sub(lambda match: environ[match[1]], self.path)


def read_file(name: str, entry: Any) -> File:  # noqa: ANN401 - whatever a file holds
    """The file that an entry of the manifest declares.

    Raises:
        Unusable: with what was expected, and the key that has to be mended.
    """
    if not (isinstance(entry, dict) and NAME.fullmatch(name)):
        raise Unusable("has to be a table with a plain name")
    for key, value in entry.items():
        if key not in {*TEXTS, REVOCABLE}:
            allowed = ", ".join([*TEXTS, REVOCABLE])
            raise Unusable(f"is no key of a file; there are {allowed}", key)
        if key == REVOCABLE and not isinstance(value, bool):
            raise Unusable("has to be true or false", key)
        if key in TEXTS and (not isinstance(value, str) or "\0" in value):
            raise Unusable("has to be one line of text", key)
    path, entries = entry.get("path", ""), entry.get("entries")
    if not path:
        raise Unusable("has to be the path of a file", "path")
    written_as = entry.get("format", format_of(Path(path)))
    if written_as not in list(Format):
        raise Unusable(f"has to be one of {', '.join(Format)}", "format")
    if entries is not None:
        try:
            parse_pointer(entries)
        except ValueError as error:
            raise Unusable(str(error).replace("expected", "has to be"), "entries") from None
    return File(
        name,
        path,
        Format(written_as),
        entry.get("schema"),
        entries,
        entry.get(REVOCABLE, False),
        " ".join(entry.get("help", "").split()),
    )


#: What the manifest's reader has to know of it.
READER = Table(NEED, read_file)

"""What ``.dockerignore`` leaves out of the image, read as Docker reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.settings.files import read_bounded

FILE = ".dockerignore"
#: Bytes of the file that are read at most.
LARGEST = 1 << 20
#: A part of a pattern that stands for something else: what it matches.
_WILD = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]")
_MATCHES = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class IgnoreLine:
    """One line: the paths that it means, and whether it leaves them out or takes them back in."""

    number: int
    paths: re.Pattern[str]
    leaves_out: bool


def ignore_lines(root: Path) -> tuple[IgnoreLine, ...]:
    """The lines of a project's file; none where there is none that can be read."""
    try:
        text = read_bounded(root / FILE, LARGEST).decode(errors="replace")
    except (OSError, ValueError):
        return ()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        taken_back = pattern.startswith("!")
        plain = pattern.removeprefix("!").strip().strip("/")
        parts, position = [], 0
        for wild in _WILD.finditer(plain):
            parts += [re.escape(plain[position : wild.start()]), _MATCHES.get(wild[0], wild[0])]
            position = wild.end()
        parts.append(re.escape(plain[position:]))
        try:
            found.append(IgnoreLine(number, re.compile("".join(parts)), not taken_back))
        except re.error:
            # Docker refuses it, and so does the build.
            continue
    return tuple(found)


def left_out_by(lines: tuple[IgnoreLine, ...], path: str) -> int | None:
    """The line that leaves a path out, None when it is in the image: the last one that counts.

    Args:
        lines: those of the project.
        path: relative to its root, with slashes. What a line says of a directory goes for all
            below it.
    """
    around = [path, *map(str, PurePosixPath(path).parents)][:-1]
    last: IgnoreLine | None = None
    for line in lines:
        if any(map(line.paths.fullmatch, around)):
            last = line
    return last.number if last and last.leaves_out else None

"""A requirements file as lines with their places: what it lists, includes and says about itself.

The format is pip's (comments, continuations, ``-r`` and ``-c``, editables, URLs, options). Whether
a requirement is valid PEP 508 is for a reader with the right library to say; this one tells names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.kinds.dependency.markers import MarkerError, holds
from app.kinds.dependency.names import normalize, requirement_name

BOM = "\ufeff"
#: A comment begins at the start or after white space: ``#egg=`` in a URL is none.
COMMENT = re.compile(r"(?:^|\s)#.*$")
#: Options of one requirement, such as ``--hash=…``, which end it.
LINE_OPTION = re.compile(r"\s--?[a-z].*$", re.DOTALL)
URL = re.compile(r"(?:git|hg|svn|bzr)\+|(?:https?|file|ssh)://|[./]", re.IGNORECASE)
EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
FLAGS = {
    "-r": "include",
    "--requirement": "include",
    "-c": "constraint",
    "--constraint": "constraint",
    "-e": "editable",
    "--editable": "editable",
}


class Kind(StrEnum):
    """What a line of a requirements file asks for."""

    REQUIREMENT = "requirement"
    EDITABLE = "editable"
    URL = "url"
    INCLUDE = "include"
    CONSTRAINT = "constraint"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class RequirementLine:
    """One logical line: the file, the number of its first line, its text without the comment.

    ``name`` is the normalized distribution name, empty where the line does not tell one.
    """

    file: str
    line: int
    kind: Kind
    text: str
    name: str = ""

    @property
    def applies(self) -> bool:
        """Whether its marker holds here; a marker that cannot be read counts as holding."""
        _, _, marker = self.text.partition(";")
        try:
            return not marker.strip() or holds(marker)
        except MarkerError:
            return True


@dataclass(frozen=True, slots=True)
class RequirementFault:
    """Where a requirements file cannot be used, and why; the line counts from 1, 0 is the file."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RequirementsText:
    """Every line of a requirements file and of what it includes, with all faults."""

    lines: tuple[RequirementLine, ...] = ()
    faults: tuple[RequirementFault, ...] = ()

    def names(self) -> frozenset[str]:
        """The distributions that it asks for on this interpreter and platform."""
        return frozenset(line.name for line in self.lines if line.name and line.applies)


def read_requirements(path: Path) -> RequirementsText:
    """Read a requirements file with all that it includes; raises nothing for what they hold."""
    reader = _Reader(path.parent)
    reader.read(path, None)
    return RequirementsText(tuple(reader.lines), tuple(reader.faults))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with continuations joined and comments gone, each with its first number."""
    pending, start = "", 0
    for number, raw in enumerate(text.removeprefix(BOM).splitlines(), 1):
        start = start or number
        pending += raw.removesuffix("\\") if _continues(raw) else COMMENT.sub("", raw)
        if _continues(raw):
            continue
        if pending.strip():
            yield start, pending.strip()
        pending, start = "", 0
    if pending.strip():
        yield start, pending.strip()


def _continues(raw: str) -> bool:
    """A comment line never goes on, whatever it ends with."""
    return raw.endswith("\\") and not raw.lstrip().startswith("#")


class _Reader:
    """Reads files that include each other, each once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[Path] = []
        self.lines: list[RequirementLine] = []
        self.faults: list[RequirementFault] = []

    def read(self, path: Path, includer: RequirementLine | None) -> None:
        place = path.resolve()
        if place in self._open:
            self._fault(includer, path, "the files include each other in a circle")
            return
        text = self._text(path, includer)
        if text is None:
            return
        self._open.append(place)
        for number, content in logical_lines(text):
            line = _parse(self._shown(path), number, content)
            self.lines.append(line)
            if line.kind is Kind.INCLUDE:
                self.read(path.parent / line.text, line)
        self._open.pop()

    def _text(self, path: Path, includer: RequirementLine | None) -> str | None:
        try:
            content = path.read_bytes()
        except OSError as error:
            name = type(error).__name__
            self._fault(includer, path, f"{self._shown(path)} cannot be read ({name})")
            return None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.faults.append(RequirementFault(self._shown(path), line, "the text is not UTF-8"))
            return None

    def _fault(self, includer: RequirementLine | None, path: Path, reason: str) -> None:
        """Blame the line that includes a file, where there is one."""
        file = includer.file if includer else self._shown(path)
        self.faults.append(RequirementFault(file, includer.line if includer else 0, reason))

    def _shown(self, path: Path) -> str:
        resolved, root = path.resolve(), self._root.resolve()
        return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else path.name


def _parse(file: str, number: int, content: str) -> RequirementLine:
    flag, _, rest = content.replace("=", " ", 1).partition(" ")
    if flag in FLAGS:
        kind = Kind(FLAGS[flag])
        name = _name_in_url(rest.strip()) if kind is Kind.EDITABLE else ""
        return RequirementLine(file, number, kind, rest.strip(), name)
    if content.startswith("-"):
        return RequirementLine(file, number, Kind.OPTION, content)
    text = LINE_OPTION.sub("", content).strip()
    if URL.match(text):
        return RequirementLine(file, number, Kind.URL, text, _name_in_url(text))
    return RequirementLine(file, number, Kind.REQUIREMENT, text, requirement_name(text))


def _name_in_url(url: str) -> str:
    """What ``#egg=`` or the name of a wheel or source archive says; a directory says nothing."""
    if match := EGG.search(url):
        return normalize(match[1])
    file = url.partition("#")[0].rpartition("/")[2]
    return normalize(file.partition("-")[0]) if file.endswith((".whl", ".tar.gz", ".zip")) else ""

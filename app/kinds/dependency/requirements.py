"""What is asked for: names of modules and distributions, and the lines of requirements files.

The format of the files is pip's (comments, continuations, ``-r`` and ``-c``, editables, URLs,
options). Whether a requirement is valid PEP 508 is for a reader with the right library to decide;
this one reads names.
"""

from __future__ import annotations

import codecs
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.kinds.dependency.markers import MarkerError, holds
from app.settings.errors import InvalidModuleName

#: Longest dotted name that is looked at; the longest in a large environment measured 94.
MAX_MODULE_NAME = 200

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


def check_module_name(name: str) -> str:
    """Return ``name`` when it is an absolute dotted name of ASCII identifiers.

    Python would import non-ASCII identifiers too. They are refused because no approved module has
    one, and look-alike letters are a way to ask for something other than what is read. So is
    ``__main__``, by which a package is run as a program (PEP 338): importing it would run it here.
    So is any such name: ``app.__init__`` would run ``app`` again, as another module.

    Raises:
        InvalidModuleName: for anything else: empty, relative, over 200 characters, an option.
    """
    parts = name.split(".") if len(name) <= MAX_MODULE_NAME and name.isascii() else [""]
    if not all(
        part.isidentifier()
        and not keyword.iskeyword(part)
        and not (part.startswith("__") and part.endswith("__"))
        for part in parts
    ):
        raise InvalidModuleName(name)
    return name


def top_level(module: str) -> str:
    """The first part of a dotted name: what the allow-list has."""
    return module.partition(".")[0]


def normalize(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def requirement_name(requirement: str) -> str:
    """The normalized distribution name of a PEP 508 requirement such as ``aiohttp>=3.8.0``."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return normalize(match[1]) if match else ""


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

    ``name`` is the normalized distribution name, empty where the line has none.
    """

    file: str
    line: int
    kind: Kind
    text: str
    name: str = ""

    @classmethod
    def parse(cls, file: str, line: int, content: str) -> RequirementLine:
        """Read a logical line; every text is a line of some kind."""
        flag, _, rest = content.replace("=", " ", 1).partition(" ")
        if flag in FLAGS:
            kind, text = Kind(FLAGS[flag]), rest.strip()
        elif content.startswith("-"):
            kind, text = Kind.OPTION, content
        else:
            text = LINE_OPTION.sub("", content).strip()
            kind = Kind.URL if URL.match(text) else Kind.REQUIREMENT
        name = requirement_name(text) if kind is Kind.REQUIREMENT else ""
        if kind in {Kind.EDITABLE, Kind.URL}:
            # ``#egg=`` or the name of a wheel or source archive says it; a directory says nothing.
            archive = text.partition("#")[0].rpartition("/")[2]
            if match := EGG.search(text):
                name = normalize(match[1])
            elif archive.endswith((".whl", ".tar.gz", ".zip")):
                name = normalize(archive.partition("-")[0])
        return cls(file, line, kind, text, name)

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
    lines: list[RequirementLine] = []
    faults: list[RequirementFault] = []
    root = path.parent.resolve()

    def read(file: Path, includers: tuple[Path, ...], includer: RequirementLine | None) -> None:
        place = file.resolve()
        name = str(place.relative_to(root)) if place.is_relative_to(root) else file.name
        # The line that includes a file is to blame for it, where there is one.
        blamed = (includer.file, includer.line) if includer else (name, 0)
        if place in includers:
            faults.append(RequirementFault(*blamed, "the files include each other in a circle"))
            return
        try:
            text, fault = _decoded(file.read_bytes())
        except OSError as error:
            reason = f"{name} cannot be read ({type(error).__name__})"
            faults.append(RequirementFault(*blamed, reason))
            return
        if fault is not None:
            faults.append(RequirementFault(name, *fault))
        for number, logical in logical_lines(text):
            line = RequirementLine.parse(name, number, logical)
            lines.append(line)
            if line.kind is Kind.INCLUDE:
                read(file.parent / line.text, (*includers, place), line)

    read(path, (), None)
    return RequirementsText(tuple(lines), tuple(faults))


def _decoded(content: bytes) -> tuple[str, tuple[int, str] | None]:
    """The text, and where it is not UTF-8 its line and why: installers refuse it.

    It is read all the same, so that nothing else is said of what it lists.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
        codec = "utf-16-be" if content[:1] in {b"\0", b"\xfe"} else "utf-16-le"
        return content.decode(codec, "replace"), (1, "the text is UTF-16: save it as UTF-8")
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        return content.decode(errors="ignore"), (number, "the text is not UTF-8")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with continuations joined and comments gone, each with its first number."""
    pending, start = "", 0
    for number, raw in enumerate(text.removeprefix(BOM).splitlines(), 1):
        start = start or number
        # A comment line never goes on, whatever it ends with.
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            pending += raw.removesuffix("\\")
            continue
        pending += COMMENT.sub("", raw)
        if pending.strip():
            yield start, pending.strip()
        pending, start = "", 0
    if pending.strip():
        yield start, pending.strip()

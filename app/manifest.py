"""``orchestrator.toml``: what is served and what that needs, the one file that an owner edits.

A table that is wrong costs what it describes and nothing else: where the text as a whole is no TOML
each of its tables is read by itself. Every fault has its line. Tables that belong to a kind of
fault are read by that kind.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.settings.files import read_bounded

FILE = "orchestrator.toml"
MAX_BYTES = 1 << 20
#: Faults whose messages are shown at once; of any others, their lines.
SHOWN_FAULTS = 20
PACKAGES, BLUEPRINT = "packages", "blueprint"
#: The key of a blueprint for packages that it can do without.
OPTIONAL = "optional"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
IMPORT_PATH = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<attribute>[A-Za-z_]\w*)", re.ASCII)
ADDRESS = re.compile(r"/[!-~]*", re.ASCII)
#: PEP 508 as far as a map may use it: a name with extras and versions, a marker; no URL.
REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[\w.,\s-]*\])?\s*"
    r"(?:\(?\s*(?:===|~=|[<>=!]=|[<>])[^;@/]+\)?)?\s*(?:;[^@]*)?",
    re.ASCII,
)
#: A line that begins a table; what a string of several lines holds is emptied beforehand.
HEADER = re.compile(r"\s*\[\[?\s*(?P<name>[^\[\]#]+?)\s*\]\]?\s*(?:#.*)?")
#: The same, also where it is not whole: a file may end in the middle of it.
BEGINS_TABLE = re.compile(r"\s*\[\[?\s*[^\[\]#]+?\s*\]\]?\s*(?:#.*)?$|\[[^\]=,]*$")
#: Comments and strings, in the order in which a reader of TOML meets them.
OPAQUE = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""+' + r"|'''.*?'''+" + r'|"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
AT_LINE = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")


#: What orchestrators and load balancers ask.
PROBES = ("/livez", "/readyz", "/startupz", "/healthz")
#: What of the service itself answers probes, metrics and operators.
CORE_MODULES = frozenset({"app.routes.health", "app.routes.auto_fix", "app.routes.metrics"})


@dataclass(frozen=True, slots=True)
class ManifestFault:
    """What is wrong with one table or key: the line, counted from 1; 0 is the file itself."""

    line: int
    table: str
    message: str

    def __str__(self) -> str:
        place = f"{FILE} line {self.line}" if self.line else FILE
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One blueprint: where it is, where it is mounted, how much depends on it, what it needs.

    ``paths`` are the ones that it answers for, which is its prefix where it has one: while it is in
    quarantine they, and all below them, answer 503. ``/`` stands for itself alone. ``needs`` has
    the names of subjects by what the key is called, such as ``packages``; ``optional`` has import
    names of packages that it makes use of and can do without. Without ``gate`` its requests reach
    its code also while what comes and goes, such as a database, is not there.
    """

    name: str
    module: str
    attribute: str
    prefix: str | None = None
    paths: tuple[str, ...] = ()
    critical: bool = False
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    gate: bool = True
    #: The line of its table, counted from 1; 0 where it has none.
    line: int = field(default=0, compare=False)

    @property
    def core(self) -> bool:
        """Whether it is the service's own and answers at the core addresses."""
        return self.module in CORE_MODULES

    @property
    def packages(self) -> tuple[str, ...]:
        """The import names of the packages without which it is not imported."""
        return self.needs.get(PACKAGES, ())


#: The service's own floor: always served, registered first, and no table can replace one.
CORE = (
    Blueprint(
        "health",
        "app.routes.health",
        "health_bp",
        paths=PROBES,
        critical=True,
    ),
    Blueprint("auto_fix", "app.routes.auto_fix", "auto_fix_bp", "/api/auto-fix", critical=True),
)
CORE_NAMES = frozenset(blueprint.name for blueprint in CORE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file says, and what is wrong with it.

    ``tables`` has those of kinds of fault: the table's name, to its entries by their names, as
    their kind has read them. ``whole`` says that the text is TOML: of any other one nobody knows
    what it was to describe.
    """

    blueprints: tuple[Blueprint, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: tuple[ManifestFault, ...] = ()
    whole: bool = True

    def advice(self) -> str:
        """Every fault with its line, safe to show; of many, the first ones say what it is."""
        shown = "; ".join(map(str, self.faults[:SHOWN_FAULTS]))
        rest = self.faults[SHOWN_FAULTS:]
        more = f"; and more in lines {', '.join(str(fault.line) for fault in rest)}" if rest else ""
        return f"{shown}{more}"


class Unusable(ValueError):
    """An entry that cannot be used; says what was expected, and of which key."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Table:
    """A table that belongs to a kind of fault.

    ``need`` is the key under which a blueprint names its entries. ``entry`` reads one, by its name
    and its value, and raises ``Unusable``.
    """

    need: str
    entry: Callable[[str, Any], Any]


def parse(text: str, tables: Mapping[str, Table] = {}) -> Manifest:
    """Read a manifest with these tables of kinds; whatever is in it, nothing is raised."""
    return _Parser(text, tables).parse()


def read(path: Path, tables: Mapping[str, Table] = {}) -> Manifest:
    """Read a manifest's file; one that cannot be read is a fault, and nothing else."""
    try:
        return parse_content(read_bounded(path, MAX_BYTES), tables)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Manifest(faults=(ManifestFault(0, "", f"cannot be read ({reason})"),))


def parse_content(content: bytes, tables: Mapping[str, Table] = {}) -> Manifest:
    """Read the bytes of a manifest; whatever they are, nothing is raised."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Manifest(faults=(ManifestFault(line, "", "the text is not UTF-8"),), whole=False)
    return parse(text, tables)


class _Parser:
    """Reads one text, and collects what is wrong with it."""

    def __init__(self, text: str, tables: Mapping[str, Table]) -> None:
        self._text = text.replace("\r\n", "\n")
        self._lines = OPAQUE.sub(_emptied, self._text).split("\n")
        #: Each header to its line, counted from 1.
        self._headers: dict[str, int] = {}
        for number, line in enumerate(self._lines, 1):
            if header := HEADER.fullmatch(line):
                self._headers.setdefault(_bare(header["name"]), number)
        self._tables = tables
        self._faults: list[ManifestFault] = []
        self._whole = True

    def parse(self) -> Manifest:
        document = self._document()
        # Whether it can be used or not, what is described is known to those who need it.
        known = dict.fromkeys((PACKAGES, OPTIONAL), _names(document.get(PACKAGES)))
        for name, table in self._tables.items():
            known[table.need] = _names(document.get(name))
        packages = self._entries(document.pop(PACKAGES, {}), PACKAGES, self._package)
        tables = {
            name: self._entries(document.pop(name, {}), name, table.entry)
            for name, table in self._tables.items()
        }
        blueprints = self._entries(
            document.pop(BLUEPRINT, {}), BLUEPRINT, lambda n, v: self._blueprint(n, v, known)
        )
        for name in document:
            allowed = ", ".join([PACKAGES, BLUEPRINT, *self._tables])
            self._fault(name, None, f"{name!r} is no table of the manifest; there are {allowed}")
        faults = sorted(self._faults, key=lambda fault: fault.line)
        return Manifest(tuple(blueprints.values()), packages, tables, tuple(faults), self._whole)

    def _document(self) -> dict[str, Any]:
        """The tables of the text; each by itself where it is no TOML as a whole."""
        try:
            return tomllib.loads(self._text)
        except (tomllib.TOMLDecodeError, RecursionError):
            self._whole = False
        document: dict[str, Any] = {}
        lines = self._text.split("\n")
        starts = [n for n, line in enumerate(self._lines) if n and BEGINS_TABLE.match(line)]
        for start, end in zip([0, *starts], [*starts, len(lines)], strict=True):
            header = HEADER.fullmatch(self._lines[start])
            table = _bare(header["name"]) if header else ""
            error = self._part(document, lines[start:end], start)
            if error is None:
                continue
            if table != PACKAGES:
                self._no_toml(error, start, end, table)
                continue
            for number in range(start + 1, end):
                # Each line of the map is an entry by itself.
                entry = [f"[{PACKAGES}]", lines[number]]
                if (error := self._part(document, entry, number - 1)) is not None:
                    self._no_toml(error, number - 1, number + 1, table)
        return document

    def _part(
        self, document: dict[str, Any], lines: list[str], before: int
    ) -> tomllib.TOMLDecodeError | RecursionError | None:
        """Add what some lines say to the document, or why they say nothing."""
        try:
            part = tomllib.loads("\n".join(lines))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            return error
        self._merge(document, part, before + 1)
        return None

    def _no_toml(self, error: Exception, before: int, end: int, table: str) -> None:
        at = AT_LINE.search(str(error))
        line = before + int(at[1]) if at and at[1] else end
        reason = AT_LINE.sub("", str(error)) or "nested too deeply"
        what = "line" if table == PACKAGES else "table"
        message = f"no TOML ({reason[:1].lower()}{reason[1:]}); this {what} is left out"
        self._faults.append(ManifestFault(line, table, message))

    def _merge(self, document: dict[str, Any], part: Mapping[str, Any], line: int) -> None:
        for table, content in part.items():
            there = document.setdefault(table, {} if isinstance(content, dict) else content)
            if not (isinstance(there, dict) and isinstance(content, dict)):
                continue
            for name, value in content.items():
                if name in there and table != PACKAGES and isinstance(value, dict):
                    message = f"there are two tables {table}.{name}; the first one counts"
                    self._faults.append(ManifestFault(line, f"{table}.{name}", message))
                there.setdefault(name, value)

    def _entries(self, table: object, name: str, read: Callable[[str, Any], Any]) -> dict[str, Any]:
        """The entries of a table that can be used; each of the others is a fault."""
        if not isinstance(table, dict):
            self._fault(name, None, f"{name} has to be a table")
            return {}
        found = {}
        for entry, value in table.items():
            try:
                found[entry] = read(entry, value)
            except Unusable as unusable:
                place, key = f"{name}.{entry}", unusable.key
                line = self._line(name, entry) if name == PACKAGES else self._line(place, key)
                message = f"{place}{f'.{key}' if key else ''} {unusable}"
                self._faults.append(ManifestFault(line, place, message))
        return found

    def _package(self, name: str, value: Any) -> str:  # noqa: ANN401 - whatever a file holds
        if not (name.isidentifier() and name.isascii()):
            raise Unusable("is no import name: the key is what code imports")
        if not (isinstance(value, str) and REQUIREMENT.fullmatch(value.strip())):
            raise Unusable('has to be a requirement such as "redis>=5.0", without a URL')
        return value.strip()

    def _blueprint(self, name: str, value: Any, known: Mapping[str, frozenset[str]]) -> Blueprint:  # noqa: ANN401
        if not (isinstance(value, dict) and NAME.fullmatch(name)):
            raise Unusable("has to be a table with a plain name")
        if name in CORE_NAMES:
            raise Unusable("has the name of one of the service's own: choose another")
        given: dict[str, Any] = {"prefix": None, "paths": [], "critical": False, "gate": True}
        given |= {key: [] for key in known}
        for key in value:
            if key not in {"import", *given}:
                allowed = ", ".join(["import", *given])
                raise Unusable(f"is no key of a blueprint; there are {allowed}", key)
        given |= value
        found = IMPORT_PATH.fullmatch(str(given.get("import", "")))
        prefix, paths = given["prefix"], given["paths"]
        usable = {
            "import": (found is not None, 'has to be "package.module:attribute"'),
            "prefix": (prefix is None or _is_address(prefix), "has to be one such as /api/orders"),
            "paths": (_is_list(paths, _is_address), "has to be a list of addresses"),
            "critical": (isinstance(given["critical"], bool), "has to be true or false"),
            "gate": (isinstance(given["gate"], bool), "has to be true or false"),
        }
        for key in known:
            usable[key] = (_is_list(given[key], _is_name), "has to be a list of names")
        for key, (well, expected) in usable.items():
            if not well:
                raise Unusable(expected, key)
        place = f"{BLUEPRINT}.{name}"
        # Whether it can do without is found out when it is imported.
        for key in known if self._whole else ():
            for stranger in (each for each in given[key] if each not in known[key]):
                message = f"{place}.{key} names {stranger!r}, which no table describes"
                self._fault(place, key, message)
        return Blueprint(
            name,
            found["module"] if found else "",
            found["attribute"] if found else "",
            prefix.rstrip("/") or None if prefix else None,
            tuple(paths),
            given["critical"],
            {key: tuple(given[key]) for key in known if given[key] and key != OPTIONAL},
            tuple(given[OPTIONAL]),
            given["gate"],
            self._line(place, None),
        )

    def _fault(self, table: str, key: str | None, message: str) -> None:
        self._faults.append(ManifestFault(self._line(table, key), table, message))

    def _line(self, table: str, key: str | None) -> int:
        """The line of a key in a table, of its header, or of the key that holds it inline."""
        first = self._headers.get(_bare(table))
        if first is None:
            inline = re.compile(rf"\s*(?:\[\[?\s*)?{_spelled(table.rpartition('.')[2])}\s*[=.\]]")
            return next((n for n, line in enumerate(self._lines, 1) if inline.match(line)), 0)
        wanted = re.compile(rf"\s*{_spelled(key)}\s*[=.]") if key else None
        for number in range(first, len(self._lines)):
            if wanted is None or HEADER.fullmatch(self._lines[number]):
                break
            if wanted.match(self._lines[number]):
                return number + 1
        return first


def _is_list(value: object, wanted: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(wanted, value))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _names(table: object) -> frozenset[str]:
    return frozenset(table) if isinstance(table, dict) else frozenset()


def _is_address(value: object) -> bool:
    return isinstance(value, str) and ADDRESS.fullmatch(value) is not None


def _spelled(key: str | None) -> str:
    """A pattern for a key, bare or quoted."""
    return rf"""["']?{re.escape(key or "")}["']?"""


def _bare(table: str) -> str:
    """A table's dotted name however it is quoted and spaced."""
    return re.sub(r"[\s\"']", "", table)


def _emptied(match: re.Match[str]) -> str:
    """What looks like no key or header: nothing of a string of several lines but its lines."""
    found = match.group()
    return "\n" * found.count("\n") if found.startswith(('"""', "'''")) else found

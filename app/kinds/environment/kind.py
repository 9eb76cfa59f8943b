"""The kind of environment variables: what is declared is checked, followed, and put in force.

A repair is to read a source again, which happens by itself: a value that comes, or is corrected, is
put into the process's environment, and nothing that the process was given is ever overruled.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from enum import StrEnum
from pathlib import Path
from typing import Self

from app.healing.background import free_after_fork
from app.healing.kind import Fault, Fix, Outcome, Repair, Scope, Work
from app.kinds.environment.reads import variable_that_failed
from app.kinds.environment.sources import SOURCES, Found, Sources
from app.kinds.environment.variables import NEED, OF_THE_SERVICE, TABLE
from app.manifest import FILE, Manifest
from app.settings.declarations import VARIABLES, misspellings
from app.settings.sources import ENVIRONMENT_FOLLOWED, ENVIRONMENT_REPLACED, Environment
from app.settings.variable import DEFAULT, Syntax, Variable

KIND = "environment"


class Cause(StrEnum):
    """What can be wrong with a variable."""

    MISSING = "environment_missing"
    MISSPELT = "environment_misspelt"
    INVALID = "environment_invalid"
    PLACEHOLDER = "environment_placeholder"
    UNREADABLE_FILE = "environment_unreadable_file"
    CONTRADICTION = "environment_contradiction"
    UNDECLARED = "environment_undeclared"


#: The outcome of a setting of the service itself whose value cannot be used.
FALLBACK = "fallback"
#: What each cause means for somebody who only asked for a page.
MEANINGS: Mapping[str, str] = {
    Cause.MISSING: "A variable that this part needs is not set.",
    Cause.MISSPELT: "A variable that this part needs is set under another name.",
    Cause.INVALID: "A variable that this part needs holds what cannot be used.",
    Cause.PLACEHOLDER: "A variable that this part needs still holds its placeholder.",
    Cause.UNREADABLE_FILE: "The file of a variable that this part needs cannot be read.",
    Cause.CONTRADICTION: "A variable that this part needs is set in two ways.",
    Cause.UNDECLARED: "A variable that this part needs is in a file, and nothing declares it.",
}
#: What examples and templates hold in the place of a value.
PLACEHOLDER = re.compile(
    r"change[-_ ]?(me|this|it)\W*|(your|replace|fill)[-_ ].+|.+[-_ ]here|place[-_]?holder"
    r"|<[^<>]*>|x{3,}|\*{3,}|\.{3}|todo|tbd|fixme",
    re.IGNORECASE,
)
#: How alike, by difflib's measure, two names have to be for one to be a slip of the other.
ALIKE = 0.85
#: What Kubernetes and Docker's links set for every service that they know.
INJECTED = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+|ENV_\w+)")
_TEXT: Syntax[str | None] = Syntax(str, "text")


class EnvironmentKind:
    """Watches the declared variables of one process.

    Args:
        declared: the variables that the manifest declares, the same object until they change.
        environ: the process's environment, in which values from files are put in force.
        secrets: the directory of mounted secrets.
    """

    name = KIND
    scope = Scope.PROCESS
    need = NEED
    gates = False
    causes = MEANINGS
    outcomes: Mapping[str, str] = {FALLBACK: "mend it and start the service again"}
    refusals: frozenset[str] = frozenset({FALLBACK})

    def __init__(
        self,
        declared: Callable[[], Mapping[str, Variable[str | None]]],
        environ: MutableMapping[str, str],
        secrets: Path,
    ) -> None:
        self.needs: Mapping[str, tuple[str, ...]] = {}
        self._declared = declared
        self._environ = environ
        self._sources = Sources(environ, secrets)
        self._mutex = free_after_fork(threading.Lock())
        #: What the faults were read for.
        self._read_for: tuple[object, object] | None = None
        self._faults: dict[str, Fault] = {}
        self._fallbacks = tuple(_fallbacks(Environment.of({**environ})))
        self._in_force: set[str] = set()

    @classmethod
    def of(cls, manifest: Manifest, environ: Mapping[str, str], secrets: Path) -> Self:
        """The kind for who only looks at a manifest: values go into a copy of the environment."""
        declared = manifest.tables.get(TABLE, {})
        made = cls(lambda: declared, {**environ, **Environment.of(environ).marks}, secrets)
        made.needs = {name: () for one in manifest.blueprints for name in one.needs.get(NEED, ())}
        return made

    def subjects(self) -> Mapping[str, bool]:
        """The declared variables, and those that blueprints need."""
        return dict.fromkeys(sorted({*self._declared(), *self.needs}), False)

    def basis(self) -> str:
        """Nothing is attempted, so no failures are counted."""
        return ""

    def adopt(self) -> bool:
        """Put what the sources say now in force; True when they, or what is declared, changed."""
        with self._mutex:
            read_for = (self._declared(), self.needs)
            if not self._sources.refresh() and self._is_read_for(read_for):
                return False
            faults: dict[str, Fault] = {}
            for variable in self._variables().values():
                found = self._sources.find(variable.name)
                fault = self._fault(variable, found)
                if fault is not None:
                    faults[variable.name] = fault
                elif not found.given:
                    self._put(variable, found.text)
                else:
                    self._in_force.add(variable.name)
            # Replaced whole: other threads read it meanwhile, and half of it would say "met".
            self._faults = faults
            # Last, so that nobody takes the old ones for those of what is declared now.
            self._read_for = read_for
            return True

    def faults(self) -> Iterable[Fault]:
        """What is wrong with a variable that is needed, or set and of no use, settings included."""
        self._ensure_read()
        return (*self._fallbacks, *self._faults.values())

    def read(self, subject: str) -> tuple[str | None, str]:
        """The value of a declared variable, and the source that it comes from."""
        found = self._sources.find(subject)
        default = self._declared()[subject].default
        return (default, DEFAULT) if found.text is None else (found.text, found.source)

    def unmet(self, subject: str) -> Fault | None:
        """Why a variable has no value that can be used; one that it had before stays in force."""
        self._ensure_read()
        return None if subject in self._in_force else self._faults.get(subject)

    def explain(self, error: BaseException) -> Fault | None:
        """The variable for want of which code has failed, declared or not."""
        name = variable_that_failed(error)
        if name is None or self._environ.get(name, "").strip():
            return None
        self._ensure_read()
        if (known := self._faults.get(name)) is not None:
            return known
        variable = self._declared().get(name)
        with self._mutex:
            source = "" if variable is not None else self._sources.find(name).source
        if source:
            advice = f"{name} is set by {source}, which counts once {FILE} declares it: declare it"
            return _fault(name, Cause.UNDECLARED, advice)
        return self._missing(variable or _undeclared(name))

    def recheck(self, fault: Fault) -> Fault | None:
        """The fault as it is now."""
        self.adopt()
        return self._faults.get(fault.subject)

    def prepare(self) -> None:
        """Nothing has to be made."""

    def recover(self, subject: str) -> None:
        """Nothing is left behind."""

    def repair(self, fault: Fault, work: Work) -> Repair:  # noqa: ARG002 - the protocol's
        """Only whoever sets the variable can mend it; that is noticed by itself."""
        return Repair(outcome=Outcome.NOT_FIXABLE)

    def fixes(self) -> Iterable[Fix]:
        """Nothing runs only because it was healed."""
        return ()

    def _ensure_read(self) -> None:
        if not self._is_read_for((self._declared(), self.needs)):
            self.adopt()

    def _is_read_for(self, now: tuple[object, object]) -> bool:
        read_for = self._read_for
        return read_for is not None and all(a is b for a, b in zip(read_for, now, strict=True))

    def _variables(self) -> dict[str, Variable[str | None]]:
        undeclared = {name: _undeclared(name) for name in self.needs}
        return {**undeclared, **self._declared()}

    def _put(self, variable: Variable[str | None], text: str | None) -> None:
        """Put a value, or the default, into the process's environment."""
        value = variable.default if text is None else text
        if value is None:
            return
        self._in_force.add(variable.name)
        if self._environ.get(variable.name) == value:
            return
        self._environ[variable.name] = value
        # A process that this one becomes or begins knows by it that the value was not given.
        followed = {*self._environ.get(ENVIRONMENT_FOLLOWED, "").split(), variable.name}
        self._environ[ENVIRONMENT_FOLLOWED] = " ".join(sorted(followed))

    def _fault(self, variable: Variable[str | None], found: Found) -> Fault | None:
        name = variable.name
        if found.contradicts:
            advice = f"both {name} and {name}_FILE are set: remove one"
            return _fault(name, Cause.CONTRADICTION, advice)
        if found.unreadable:
            advice = f"{found.source} for {name} cannot be read as text: mend the file"
            return _fault(name, Cause.UNREADABLE_FILE, advice)
        if found.text is None:
            needed = variable.default is None and name in self.needs
            return self._missing(variable) if needed else None
        text = found.text.strip()
        cause = Cause.PLACEHOLDER if PLACEHOLDER.fullmatch(text) else None
        try:
            # Bytes that are no text can be given to a process, and fail where they are used.
            text.encode()
            value = variable.syntax.parse(text)
            # A number, a flag or a choice of the example's is as good as any other.
            if isinstance(value, str) and text == self._sources.examples.get(name, "").strip():
                cause = Cause.PLACEHOLDER
        except ValueError:
            cause = cause or Cause.INVALID
        if cause is None or text == variable.default:
            return None
        what = "not" if cause is Cause.INVALID else "a placeholder: set"
        return _fault(name, cause, f"{name} in {found.source} is {what} {_expected(variable)}")

    def _missing(self, variable: Variable[str | None]) -> Fault:
        # Imported here because hardly anything is missing.
        from difflib import get_close_matches

        name = variable.name
        strangers = {
            other
            for other in self._environ.keys() - OF_THE_SERVICE - self._declared().keys() - {name}
            if not INJECTED.fullmatch(other) and self._environ[other].strip()
        }
        for other in get_close_matches(name, sorted(strangers), 1, ALIKE):
            advice = f"{name} is not set, and {other} is, which nothing declares: rename it"
            return _fault(name, Cause.MISSPELT, advice)
        looked = SOURCES.format(name)
        advice = f"{name} is not set: set {_expected(variable)}; looked at {looked}"
        return _fault(name, Cause.MISSING, advice)


def _fallbacks(environ: Environment) -> Iterator[Fault]:
    """The settings of the service that were read at its start and could not be used, or found."""
    replaced = environ.get(ENVIRONMENT_REPLACED, "").split()
    for variable in VARIABLES:
        fault = variable.read(environ).fault
        if variable.name in replaced or (fault is not None and not fault.fatal):
            name, expected = variable.name, variable.syntax.expected
            default = variable.documented_default or "none"
            advice = f"{name} has to be {expected}; the default, {default}, is used"
            yield _fault(name, Cause.INVALID, advice, FALLBACK)
    for slip in misspellings(environ):
        yield _fault(slip.meant, Cause.MISSPELT, f"{slip}: rename it", FALLBACK)


def _undeclared(name: str) -> Variable[str | None]:
    return Variable(name, None, _TEXT, "")


def _expected(variable: Variable[str | None]) -> str:
    meaning = f" ({variable.meaning.rstrip('.')})" if variable.meaning else ""
    return f"{variable.syntax.expected}{meaning}"


def _fault(name: str, cause: Cause, advice: str, refusal: str = Outcome.NOT_FIXABLE) -> Fault:
    return Fault(kind=KIND, subject=name, cause=cause, advice=advice, refusal=refusal)

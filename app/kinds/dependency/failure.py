"""What an exception says about the import that it ended: its object first, its words last."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.kinds.dependency.names import check_module_name
from app.settings.errors import InvalidModuleName

NO_MODULE = re.compile(r"No module named (?:'([^']*)'|\"([^\"]*)\"|([^\s'\",;]+))")
CANNOT_IMPORT = re.compile(r"cannot import name ['\"]?(\w+)['\"]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed import, read from its exception.

    ``error`` is the innermost import error, or what was raised when there is none. ``chain`` holds
    the modules whose bodies were running, the requested one first. ``module`` is the one that the
    exception names, ``attribute`` the name that it lacks; None where the exception does not say.
    ``text`` is for pattern matching: it may hold paths and must not be shown.
    """

    error: BaseException
    text: str
    chain: tuple[str, ...]
    module: str | None
    attribute: str | None

    @property
    def unfinished(self) -> bool:
        """Whether the module that lacks something was still being imported."""
        return "partially initialized module" in self.text


def read_failure(error: BaseException, requested: str) -> Failure:
    """What ``error``, raised by importing ``requested``, says."""
    trail = _down_to_import_error(error)
    root = trail[-1]
    text = _text(root)
    return Failure(
        error=root,
        text=text,
        chain=_chain(trail, requested),
        module=_module(root, text),
        attribute=_attribute(root, text),
    )


def missing_module(message: str) -> str:
    """The module that an ``ImportError`` message names, ``""`` when it names none."""
    match = NO_MODULE.search(message)
    name = next(filter(None, match.groups()), "") if match else ""
    return _module_name(name.rstrip(".")) or ""


def _module_name(name: object) -> str | None:
    """The name when it is one: anybody can raise an ``ImportError`` with any ``name``."""
    try:
        return check_module_name(name) if isinstance(name, str) else None
    except InvalidModuleName:
        return None


def _down_to_import_error(error: BaseException) -> list[BaseException]:
    """The error and the ones it wraps, down to the innermost that is an import error."""
    trail = [error]
    while (inner := _wrapped(trail[-1])) and all(inner is not known for known in trail):
        trail.append(inner)
    while len(trail) > 1 and not isinstance(trail[-1], ImportError):
        trail.pop()
    return trail


def _wrapped(error: BaseException) -> BaseException | None:
    """The explicit cause; the implicit one only of an ``ImportError`` that names no module.

    ``except ImportError: raise ImportError("please install x")`` is how libraries say that.
    """
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    says_nothing = isinstance(error, ImportError) and not error.name
    return error.__context__ if says_nothing else None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a module may raise what cannot even be shown
        return ""


def _chain(trail: Sequence[BaseException], requested: str) -> tuple[str, ...]:
    names = [requested]
    for error in trail:
        names += [name for name in _bodies(error.__traceback__) if isinstance(name, str)]
    return tuple(dict.fromkeys(names))


def _bodies(trace: types.TracebackType | None) -> Iterator[object]:
    """The names of the modules whose bodies a traceback passes through, outermost first."""
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "<module>":
            yield trace.tb_frame.f_globals.get("__name__")
        trace = trace.tb_next


def _module(error: BaseException, text: str) -> str | None:
    if isinstance(error, ImportError):
        return _module_name(error.name) or missing_module(text) or None
    owner = getattr(error, "obj", None) if isinstance(error, AttributeError) else None
    return _module_name(owner.__name__) if isinstance(owner, types.ModuleType) else None


def _attribute(error: BaseException, text: str) -> str | None:
    """``name_from`` is there from Python 3.12 on."""
    if isinstance(error, AttributeError):
        return error.name
    match = CANNOT_IMPORT.search(text) if isinstance(error, ImportError) else None
    return getattr(error, "name_from", None) or (match[1] if match else None)

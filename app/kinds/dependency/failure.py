"""Imports that fail: what they leave behind is taken out, what their exception says is read.

Of an exception its object is read first, its words last.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from dataclasses import dataclass

from app.kinds.dependency.on_disk import is_hollow
from app.kinds.dependency.requirements import check_module_name
from app.settings.errors import InvalidModuleName

NO_MODULE = re.compile(r"No module named (?:'([^']*)'|\"([^\"]*)\"|([^\s'\",;]+))")
CANNOT_IMPORT = re.compile(r"cannot import name ['\"]?(\w+)['\"]?")
SHARED_LIBRARY = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")
BROKEN = re.compile(
    r"undefined symbol|shared object|\bELF\b|file too short|dynamic module does not define"
    r"|version `?GLIBC|DLL load failed|incompatible architecture|not a valid Win32"
)
EXTENSIONS = (".so", ".pyd", ".dylib")


def import_cleanly(name: str, package: str | None = None) -> types.ModuleType:
    """``importlib.import_module``; when it raises, what it left behind is taken out again.

    Python removes the module that failed but keeps the submodules that its body had imported by
    then. They would be mixed into the next try, so they go; what was loaded before stays, and so
    does every module that another thread has completed meanwhile. An emptied directory, which
    Python takes for a package, is no module here.
    """
    before = frozenset(sys.modules)
    try:
        module = importlib.import_module(name, package)
        if is_hollow(getattr(module, "__spec__", None)):
            message = f"No module named {module.__name__!r}"
            raise ModuleNotFoundError(message, name=module.__name__)  # noqa: TRY301 - cleaned up too
    except BaseException:
        for left, module in list(sys.modules.items()):
            parts = left.split(".")
            packages = [".".join(parts[:length]) for length in range(1, len(parts))]
            # A package that holds the module is gone when its body failed.
            is_orphan = any(package not in sys.modules for package in packages)
            if left not in before and (is_orphan or is_hollow(getattr(module, "__spec__", None))):
                sys.modules.pop(left, None)
        raise
    return module


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

    @property
    def shared_library(self) -> str | None:
        """The shared library that the system could not open, if that is what failed."""
        match = SHARED_LIBRARY.search(self.text)
        return match[1] if match else None

    @property
    def broken_binary(self) -> bool:
        """Whether compiled code could not be loaded."""
        if isinstance(self.error, OSError):
            # ``ctypes`` raises it for a library that it cannot load.
            return self.shared_library is not None
        if not isinstance(self.error, ImportError):
            return False
        return str(self.error.path).endswith(EXTENSIONS) or bool(BROKEN.search(self.text))


def read_failure(error: BaseException, requested: str) -> Failure:
    """What ``error``, raised by importing ``requested``, says."""
    trail = [error]
    while (inner := _wrapped(trail[-1])) and all(inner is not known for known in trail):
        trail.append(inner)
    while len(trail) > 1 and not isinstance(trail[-1], ImportError):
        trail.pop()
    chain = [requested]
    for raised in trail:
        trace = raised.__traceback__
        while trace is not None:
            running = trace.tb_frame.f_globals.get("__name__")
            if trace.tb_frame.f_code.co_name == "<module>" and isinstance(running, str):
                chain.append(running)
            trace = trace.tb_next
    root = trail[-1]
    try:
        text = str(root)
    except Exception:  # noqa: BLE001 - a module may raise what cannot even be shown
        text = ""
    module, attribute = _named(root, text)
    return Failure(
        error=root,
        text=text,
        chain=tuple(dict.fromkeys(chain)),
        module=module,
        attribute=attribute,
    )


def missing_module(message: str) -> str:
    """The module that an ``ImportError`` message names, ``""`` when it names none."""
    match = NO_MODULE.search(message)
    name = next(filter(None, match.groups()), "") if match else ""
    return _module_name(name.rstrip(".")) or ""


def _wrapped(error: BaseException) -> BaseException | None:
    """The explicit cause; the implicit one only of an ``ImportError`` that names no module.

    ``except ImportError: raise ImportError("please install x")`` is how libraries say that.
    """
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    says_nothing = isinstance(error, ImportError) and not error.name
    return error.__context__ if says_nothing else None


def _named(error: BaseException, text: str) -> tuple[str | None, str | None]:
    """The module that an exception names, and what it lacks."""
    if isinstance(error, ImportError):
        match = CANNOT_IMPORT.search(text)
        # ``name_from`` is there from Python 3.12 on.
        attribute = getattr(error, "name_from", None) or (match[1] if match else None)
        return _module_name(error.name) or missing_module(text) or None, attribute
    if isinstance(error, AttributeError):
        owner = getattr(error, "obj", None)
        name = owner.__name__ if isinstance(owner, types.ModuleType) else None
        return _module_name(name), error.name
    return None, None


def _module_name(name: object) -> str | None:
    """The name when it is one: anybody can raise an ``ImportError`` with any ``name``."""
    try:
        return check_module_name(name) if isinstance(name, str) else None
    except InvalidModuleName:
        return None

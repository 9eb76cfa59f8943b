"""Imports that fail: what they leave behind is taken out, what their exception says is read.

Of an exception its object is read first, its words last.
"""

from __future__ import annotations

import importlib
import linecache
import re
import sys
import types
from dataclasses import dataclass

from app.kinds.dependency.facts.binaries import BinaryTrouble, read_trouble
from app.kinds.dependency.on_disk import is_hollow, module_at
from app.kinds.dependency.requirements import check_module_name
from app.settings.errors import InvalidModuleName

NO_MODULE = re.compile(r"No module named (?:'([^']*)'|\"([^\"]*)\"|([^\s'\",;]+))")
CANNOT_IMPORT = re.compile(r"cannot import name ['\"]?(\w+)['\"]?")
IMPORT = re.compile(r"\s*(?:from\s+([\w.]+)\s+import\s+\(?(\w+)|import\s+([\w.]+))")
EXTENSIONS = (".so", ".pyd", ".dylib")
#: What Flask says of an ``async def`` view where ``asgiref`` is not installed.
NO_ASYNC = "Install Flask with the 'async' extra"


def import_cleanly(name: str, package: str | None = None) -> types.ModuleType:
    """``importlib.import_module``; when it raises, what it left behind is taken out again.

    Python removes the module that failed but keeps the submodules that its body had imported by
    then. They would be mixed into the next try, so they go; what was loaded before stays, and so
    does every module that another thread has completed meanwhile. An emptied directory, which
    Python takes for a package, is no module here.
    """
    before = frozenset(sys.modules)
    resolve_lazy_imports()
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


def resolve_lazy_imports() -> None:
    """Have Python 3.15 run ``lazy import`` at once, so that what is missing shows at the import.

    It counts for the whole process from then on: a module that is resolved by a request could
    fail there, with nobody to heal it before.
    """
    set_mode = getattr(sys, "set_lazy_imports", None)
    if set_mode is not None:
        set_mode("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed import, read from its exception.

    ``error`` is the innermost import error, or what was raised when there is none. ``chain`` holds
    the modules whose bodies were running, the requested one first. ``module`` is the one that the
    exception names, ``attribute`` the name that it lacks; None where the exception does not say.
    ``texts`` are what it and the errors that it was raised from say, for pattern matching: they
    may hold paths and must not be shown.
    """

    error: BaseException
    texts: tuple[str, ...]
    chain: tuple[str, ...]
    module: str | None
    attribute: str | None

    @property
    def absent(self) -> bool:
        """Whether the module that it names is not there."""
        return isinstance(self.error, ModuleNotFoundError) or lacks_asgiref(self.error)

    @property
    def wanted(self) -> str:
        """The longest name, below the missing module's, that the failing import asks for."""
        assert self.module  # noqa: S101 - asked of a missing module alone
        names = [self.chain[0]]
        trace = self.error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            line = linecache.getline(code.co_filename, trace.tb_lineno, trace.tb_frame.f_globals)
            if match := IMPORT.match(line):
                # What is imported from a module that is missing itself may be no module.
                names += filter(None, (f"{match[1]}.{match[2]}", match[1], match[3]))
            trace = trace.tb_next
        below = [name for name in names if name and name.startswith(f"{self.module}.")]
        return below[-1] if below and _module_name(below[-1]) else self.module

    @property
    def unreadable(self) -> str | None:
        """The module whose text is no Python, if that is what failed."""
        file = getattr(self.error, "filename", None)
        if not isinstance(self.error, SyntaxError) or not str(file).endswith(".py"):
            return None
        return _module_name(module_at(str(file)))

    @property
    def unfinished(self) -> bool:
        """Whether the module that lacks something was still being imported."""
        return "partially initialized module" in self.texts[0]

    @property
    def trouble(self) -> BinaryTrouble | None:
        """Why compiled code could not be loaded, if that is what failed."""
        if isinstance(self.error, ModuleNotFoundError | SyntaxError):
            return None
        is_extension = str(getattr(self.error, "path", None)).endswith(EXTENSIONS)
        return read_trouble(self.texts) or (BinaryTrouble() if is_extension else None)


def read_failure(error: BaseException, requested: str) -> Failure:
    """What ``error``, raised by importing ``requested``, says."""
    trail = [error]
    while (inner := _wrapped(trail[-1])) and all(inner is not known for known in trail):
        trail.append(inner)
    chain = [requested]
    for raised in trail:
        trace = raised.__traceback__
        while trace is not None:
            running = trace.tb_frame.f_globals.get("__name__")
            if trace.tb_frame.f_code.co_name == "<module>" and isinstance(running, str):
                chain.append(running)
            trace = trace.tb_next
    texts = {id(raised): _text(raised) for raised in trail}
    # The innermost import error that names a module, else the innermost import error. A lazy
    # import that fails (PEP 810) has one as its cause that names nothing.
    imports = [raised for raised in trail if isinstance(raised, ImportError)]
    naming = [raised for raised in imports if any(_named(raised, texts[id(raised)]))]
    root = (naming or imports or trail[:1])[-1]
    module, attribute = _named(root, texts[id(root)])
    return Failure(
        error=root,
        texts=(texts.pop(id(root)), *reversed(texts.values())),
        chain=tuple(dict.fromkeys(chain)),
        module=module,
        attribute=attribute,
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a module may raise what cannot even be shown
        return ""


def lacks_asgiref(error: BaseException) -> bool:
    """Whether Flask says that an ``async def`` view cannot be called for want of ``asgiref``."""
    return isinstance(error, RuntimeError) and NO_ASYNC in _text(error)


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
        # Compiled code calls objects modules that nobody can import, such as pyOpenSSL's ``lib``.
        if getattr(owner, "__spec__", None) is None and sys.modules.get(str(name)) is not owner:
            name = None
        return _module_name(name), error.name
    if lacks_asgiref(error):
        return "asgiref", None
    return None, None


def _module_name(name: object) -> str | None:
    """The name when it is one: anybody can raise an ``ImportError`` with any ``name``."""
    try:
        return check_module_name(name) if isinstance(name, str) else None
    except InvalidModuleName:
        return None

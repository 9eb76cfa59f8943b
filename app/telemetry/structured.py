"""structlog for those who write blueprints: its lines are the service's own.

``structlog.get_logger(__name__).info("order taken", number=7)`` ends in the same handler and the
same format as a standard-library record. Without structlog nothing here does anything, and while
nobody imports it, it is not loaded: that would cost each worker about 8 MiB.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping, MutableMapping
from types import ModuleType
from typing import Any

#: What the standard library's logging calls take beside the event.
_KEYWORDS = ("exc_info", "stack_info", "stacklevel")


def configure() -> None:
    """Configure structlog if somebody has imported it and nobody has configured it.

    Costs a dictionary lookup otherwise. Loggers that were made before follow, so it may come after
    the imports of those who use them.
    """
    structlog = _if_loaded("structlog")
    if structlog is None or structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.PositionalArgumentsFormatter(),
            hand_over,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=_factory(structlog),
        cache_logger_on_first_use=True,
    )


def forget_bound() -> None:
    """Forget what was bound in this context through ``structlog.contextvars``.

    A server's thread answers one request after another, and one's fields are not the next one's.
    """
    contextvars = _if_loaded("structlog.contextvars")
    if contextvars is not None:
        contextvars.clear_contextvars()


def hand_over(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any], Mapping[str, Any]]:
    """A last processor: the arguments of a standard-library call, the key values as fields."""
    arguments = {name: event.pop(name) for name in _KEYWORDS if name in event}
    return (event.pop("event", ""),), {**arguments, "extra": {"fields": dict(event)}}


def _if_loaded(name: str) -> ModuleType | None:
    """The module if somebody has imported it; waits for a thread that is about it."""
    if name not in sys.modules:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _factory(structlog: ModuleType) -> object:
    """The factory that names loggers after their modules.

    Making it replaces the class of all loggers by one that looks for callers outside of structlog.
    These lines name no caller, so nobody should pay for that.
    """
    ordinary = logging.getLoggerClass()
    factory = structlog.stdlib.LoggerFactory()
    logging.setLoggerClass(ordinary)
    return factory
